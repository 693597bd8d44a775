"""The sealed file: what is written comes back, and what was changed is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medcnn.data.split import Split, make_split, read_split, write_split
from medcnn.errors import RunError
from medcnn.files import digest
from medcnn.recipe.schema import SplitSection
from medcnn.types import PARTS, Case, Part


def made(by: str = "fractions", **options: Any) -> Split:
    cases = [
        Case(f"c{i:02d}", (), patient=f"P{i // 2}", attributes={"site": "AB"[i % 4 // 2] if i else None})
        for i in range(40)
    ]
    return make_split(cases, SplitSection(by=by, **options), stratum=lambda c: c.id[-1], identical={}, seed=3)


@pytest.mark.parametrize(
    "options", [{}, {"by": "folds", "folds": 4}, {"by": "attribute", "attribute": "site"}, {"validation": 0}]
)
def test_a_split_comes_back_as_it_was_written(tmp_path: Path, options: dict[str, Any]) -> None:
    split = made(**options)
    write_split(tmp_path, split)
    back = read_split(tmp_path)
    assert back.folds == split.folds
    assert [list(f) for f in back.folds] == [list(f) for f in split.folds]
    assert back.groups == split.groups
    assert back.facts == json.loads(json.dumps(dict(split.facts)))
    assert back.part(0, "test") == split.part(0, "test")
    assert back.facts["digest"] == digest((tmp_path / "split.csv").read_bytes())


def test_the_table_has_the_documented_columns(tmp_path: Path) -> None:
    write_split(tmp_path, made())
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[0] == "case,group,part"
    assert len(lines) == 41
    assert lines[1].startswith("c00,P0,")
    write_split(tmp_path, made(by="folds", folds=3))
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "case,group,part_0,part_1,part_2"
    facts = json.loads((tmp_path / "split.json").read_text())
    assert {"digest", "by", "seed", "counts", "folds", "notes"} <= set(facts)
    assert set(facts["counts"]) == {"part_0", "part_1", "part_2"}


def test_a_case_that_a_fold_does_not_use_has_a_blank(tmp_path: Path) -> None:
    write_split(tmp_path, made(by="attribute", attribute="site"))
    assert (tmp_path / "split.csv").read_text().splitlines()[1] == "c00,P0,,"
    assert "c00" not in read_split(tmp_path).folds[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    write_split(tmp_path, made())
    table = bytearray((tmp_path / "split.csv").read_bytes())
    position = data.draw(st.integers(0, len(table) - 1))
    kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
    if kind == "change":
        table[position] = (table[position] + data.draw(st.integers(1, 255))) % 256
    elif kind == "cut":
        del table[position:]
    else:
        table.insert(position, data.draw(st.integers(0, 255)))
    (tmp_path / "split.csv").write_bytes(table)
    with pytest.raises(RunError, match="changed after it was sealed") as error:
        read_split(tmp_path)
    assert "start a new run" in error.value.todo


names = st.text(min_size=1, max_size=8)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, st.tuples(names, st.sampled_from(PARTS)), min_size=1, max_size=8))
def test_any_name_of_a_case_survives(tmp_path: Path, table: dict[str, tuple[str, Part]]) -> None:
    parts: dict[str, Part] = {"first": "training"}
    groups = {"first": "first"} | {case: f"{group}|{part}" for case, (group, part) in table.items()}
    parts |= {case: part for case, (_, part) in table.items()}
    if "training" not in parts.values():
        return
    write_split(tmp_path, Split(groups, (parts,), {}))
    back = read_split(tmp_path)
    assert back.groups == groups
    assert back.folds == (parts,)


def test_file_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    cases = [Case(name, (), patient=name), *(Case(f"c{i}", (), patient=name if i < 3 else None) for i in range(9))]
    split = make_split(cases, SplitSection(), stratum=lambda c: "a", identical={}, seed=0)
    write_split(tmp_path, split)
    assert read_split(tmp_path).groups == split.groups


def sealed(folder: Path, text: str, **facts: Any) -> None:
    """A table with a seal that fits it, as someone would make who recomputes the digest."""
    (folder / "split.csv").write_text(text)
    (folder / "split.json").write_text(json.dumps({"digest": digest(text.encode()), "folds": 1, **facts}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,group,part\na,g,training\nb,g,test\n", "1 group is in more than one part: 'g'"),
        ("case,group,part\na,g,test\n", "no case is in the training part"),
        ("case,group,part\na,g,training\na,h,test\n", "row 3: case 'a' occurs twice"),
        ("case,group,part\na,g,train\n", "'train' is not one of training, validation, test"),
        ("case,group\na,g\n", "the columns are"),
        ("case,group,part\na,g\n", "row 2 has 2 fields, not 3"),
        ('case,group,part\n"a,g,training\n', "broken"),
        ("", "the columns are"),
    ],
)
def test_a_broken_table_is_refused_even_with_a_fitting_seal(tmp_path: Path, text: str, message: str) -> None:
    sealed(tmp_path, text)
    with pytest.raises(RunError, match=message):
        read_split(tmp_path)


def test_a_missing_or_broken_seal_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, made())
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(RunError, match="holds no digest"):
        read_split(tmp_path)
    (tmp_path / "split.json").unlink()
    with pytest.raises(RunError, match="missing"):
        read_split(tmp_path)
    sealed(tmp_path, "case,group,part\na,g,training\n", folds="two")
    with pytest.raises(RunError, match="how many folds"):
        read_split(tmp_path)
    (tmp_path / "split.csv").unlink()
    with pytest.raises(RunError, match="cannot be read"):
        read_split(tmp_path)


def test_a_write_that_breaks_off_leaves_no_false_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_split(tmp_path, made())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match="No space left"):
        write_split(tmp_path, made(by="folds", folds=4))
    monkeypatch.undo()
    with pytest.raises(RunError, match="missing"):
        read_split(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["split.csv"]
