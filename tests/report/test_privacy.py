from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcnn.errors import RunError
from medcnn.report.findings import command_line, provenance_section
from medcnn.report.privacy import Shown, basename, is_local, mask, names_age, pool_age, pool_ages, reduce_paths
from medcnn.report.pseudonyms import Pseudonyms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read /data/a b", "cannot read a b"),
        ("at '/home/jane/x/y.png': broken", "at 'y.png': broken"),
        ("root=/srv/data/set", "root=set"),
        ("from ~/data/set now", "from set now"),
        (r"in C:\Users\jane\x.dcm here", "in x.dcm here"),
        (r"on \\server\share\x.dcm", "on x.dcm"),
        ("the folder /home/jane", "the folder ~"),
        ("study 1.2.840.113619.2.55.3 of", "study [UID] of"),
        ("file 1.2.840.113619.2.55.3.dcm", "file [UID].dcm"),
        ("on 2021-03-14T10:00:00Z.", "on [date]."),
        ("acquired 20210314", "acquired [date]"),
        ("born 14.03.1931", "born [date]"),
        ("aged 93", "aged 90+"),
        ("age: 85-95", "age: 85-90+"),
        ("age 90–99 years", "age 90+ years"),
        ("a patient of 104 years", "a patient of 90+ years"),
        ("a 91-year-old", "a 90+-year-old"),
        ("093Y", "90+"),
    ],
)
def test_masks(text: str, expected: str) -> None:
    assert mask(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Wilson on the effective n",
        "torch 2.14.0+cpu",
        "and/or 1/255",
        "ages above 89 are pooled",
        "aged 45",
        "0.997 (0.991–0.999)",
        "address 10.0.0.1",
        "5,895 cases, 2,000 resamples",
        "image 95 of 100",
        "F1 = 2tp / (2tp + fp + fn)",
    ],
)
def test_leaves_the_rest_alone(text: str) -> None:
    assert mask(text) == text


@given(
    st.lists(st.text(alphabet="abcxyz_-^0", min_size=3, max_size=8), min_size=2, max_size=5),
    st.sampled_from(["", "see ", "'", "root=", "(", "a: "]),
    st.sampled_from(["/", "~/", "C:\\", "\\\\"]),
)
def test_of_a_path_the_last_part_alone_survives(parts: list[str], before: str, root: str) -> None:
    joint = "\\" if "\\" in root else "/"
    masked = mask(before + root + joint.join(parts))
    assert masked in (before + parts[-1], before + "~")


def test_ages_are_pooled() -> None:
    assert [pool_age(a) for a in (12, 89, 90, 104)] == ["12", "89", "90+", "90+"]
    assert pool_ages("80–95") == "80–90+"
    assert pool_ages("[90, 100)") == "[90+, 90+)"
    assert names_age("patient_age")
    assert names_age("age")
    assert not names_age("image")
    assert not names_age("stage")


@pytest.mark.parametrize("key", ["hostname", "user", "cwd", "data_path", "root", "started", "study_date", "home"])
def test_local_keys(key: str) -> None:
    assert is_local(key)


@pytest.mark.parametrize("key", ["torch", "device", "training_seconds", "memory_gb", "pathology", "profile", "update"])
def test_keys_that_are_shown(key: str) -> None:
    assert not is_local(key)


def test_basename_hides_the_owner_of_a_home() -> None:
    assert basename("/home/jane") == "~"
    assert basename(r"C:\Users\jane") == "~"
    assert basename("/home/jane/data") == "data"


def test_a_recipe_keeps_its_numbers_and_loses_its_paths() -> None:
    recipe = {"seed": 20210314, "data": {"root": "/data/My Set", "list": ["/a/b", "c"]}, "x": None}
    assert reduce_paths(recipe) == {"seed": 20210314, "data": {"root": "My Set", "list": ["b", "c"]}, "x": None}


def test_command_line() -> None:
    assert command_line(["/usr/bin/medcnn", "run", "r.yaml", "data.root=/x/y"]) == "medcnn run r.yaml data.root=y"
    assert command_line("/usr/bin/medcnn run '/a b/c.yaml'") == "medcnn run c.yaml"
    assert command_line(None) == ""


def test_provenance_counts_what_it_keeps_back() -> None:
    section = provenance_section({"hardware": {"host": "h", "cpu": "Xeon"}, "user": "u", "times": {"x": "2021-03-14"}})
    assert section is not None
    assert "Xeon" in str(section)
    assert "3 entries stay in provenance.json alone" in str(section)


def rows(*cases: str) -> list[dict[str, str]]:
    return [{"case": c, "patient": f"p-{c}", "paths": f"/d/{c}.png|/d/{c}-2.png"} for c in cases]


def test_identifiers_in_sentences(tmp_path: Path) -> None:
    shown = Shown(Pseudonyms(tmp_path), rows("img-0001", "two words", "12", "nodule"), keep=["nodule"])
    one = shown.case("img-0001")
    assert shown.text("img-0001 and '/d/img-0001.png' are equal.") == f"{one} and '{one}' are equal."
    assert shown.text("see img-0001-2.png.") == f"see {one}."
    assert shown.text("two words is blank") == f"{shown.case('two words')} is blank"
    assert shown.text("12 images of class nodule") == "12 images of class nodule"
    assert "p-img" not in shown.text("patient p-img-0001")


def test_paths_written_as_json_are_known(tmp_path: Path) -> None:
    row = {"case": "scan-9", "paths": '[["dicom", ["/d/one.dcm", "/d/two.dcm"], null, null]]', "study": "study-77"}
    shown = Shown(Pseudonyms(tmp_path), [row])
    assert shown.text("two.dcm differs") == f"{shown.case('scan-9')} differs"
    assert shown.text("study-77").startswith("P-")
    assert shown.text("read by dicom") == "read by dicom"


def test_pseudonyms_are_stable_and_private(tmp_path: Path) -> None:
    first = Pseudonyms(tmp_path)
    names = [first.name("case", f"c{i}") for i in range(50)]
    assert len(set(names)) == 50
    assert first.name("patient", "c0") != first.name("case", "c0")
    first.save()
    file = tmp_path / "pseudonyms.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = Pseudonyms(tmp_path)
    assert [again.name("case", f"c{i}") for i in reversed(range(50))] == names[::-1]
    assert Pseudonyms(tmp_path).name("case", "new") == again.name("case", "new")


def test_another_run_has_other_pseudonyms(tmp_path: Path) -> None:
    assert Pseudonyms(tmp_path / "a").name("case", "c") != Pseudonyms(tmp_path / "b").name("case", "c")


def test_a_mode_that_is_too_open_is_mended(tmp_path: Path) -> None:
    Pseudonyms(tmp_path).save()
    file = tmp_path / "pseudonyms.json"
    file.chmod(0o644)
    Pseudonyms(tmp_path).save()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["[]", "{}", '{"key": "xyz"}', '{"key": "00", "case": []}'])
def test_a_broken_map_is_an_error_with_a_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "pseudonyms.json").write_text(content)
    with pytest.raises(RunError, match="delete it"):
        Pseudonyms(tmp_path)


def test_two_codes_that_begin_alike_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcnn.report.pseudonyms._LENGTH", 1)
    names = Pseudonyms(tmp_path)
    made = [names.name("case", f"c{i}") for i in range(200)]
    assert len(set(made)) == 200
    names.save()
    assert len(json.loads((tmp_path / "pseudonyms.json").read_text())["case"]) == 200
