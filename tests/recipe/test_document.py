"""Reading YAML with lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medcnn.errors import MedcnnError
from medcnn.recipe.document import parse_document, parse_value, read_document, write_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=12)
    | st.sampled_from(["no", "yes", "off", "1e-3", "0012", "12:30", "2020-01-01", "0x1f", "null", "~", "1_000", "<<"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_reads_back_equal(value: object) -> None:
    text = write_yaml({"key": value})
    assert parse_document(text, "f").data == {"key": value}


@given(st.sampled_from(["no", "yes", "off", "1e-3", "0012", "12:30", "2020-01-01", "null", "~", "1_000"]))
def test_other_readers_of_yaml_read_text_as_text_too(text: str) -> None:
    assert yaml.safe_load(write_yaml({"key": text})) == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("0.01", 0.01),
        ("-4", -4),
        ("no", "no"),
        ("0012", "0012"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("", None),
        ("~", None),
        ("[64, 64]", [64, 64]),
        ("{name: sgd, momentum: 0.9}", {"name": "sgd", "momentum": 0.9}),
        ("a=b", "a=b"),
        (".inf", float("inf")),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_each_key_knows_its_line_through_lists_aliases_and_merges() -> None:
    document = parse_document("a: 1\nb: &x\n  c: [1,\n   2]\nd:\n  <<: *x\n  e: 3\n", "f.yaml")
    assert document.place(("a",)) == "f.yaml:1"
    assert document.place(("b", "c")) == "f.yaml:3"
    assert document.place(("b", "c", 1)) == "f.yaml:4"
    assert document.place(("d", "c")) == "f.yaml:3"
    assert document.place(("d", "e")) == "f.yaml:7"


def test_a_missing_key_has_the_place_of_its_section() -> None:
    assert parse_document("a: 1\nb:\n  c: 2\n", "f.yaml").place(("b", "x", "y")) == "f.yaml:2"


def test_a_key_that_stands_twice_is_a_problem_with_both_lines() -> None:
    document = parse_document("a:\n  b: 1\n  c: 2\n  b: 3\n", "f")
    assert document.problems == [(4, "a.b: stands twice (first in line 2)")]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1\n", "f.yaml:2"),
        ("a: 1\n\tb: 2\n", "f.yaml:2"),
        ("a: *nowhere\n", "f.yaml:1"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yaml:1"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2"),
        ("a: &x [*x]\n", "f.yaml:1"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text: str, where: str) -> None:
    with pytest.raises(MedcnnError) as caught:
        parse_document(text, "f.yaml")
    assert caught.value.where == where


def test_aliases_of_aliases_do_not_grow_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(MedcnnError, match="too many"):
        parse_document("\n".join(lines), "f")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(MedcnnError, match="does not exist"):
        read_document(tmp_path / "absent.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(MedcnnError, match="UTF-8"):
        read_document(tmp_path / "picture.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes("﻿task: x\n".encode())
    assert read_document(tmp_path / "r.yaml").data == {"task": "x"}
