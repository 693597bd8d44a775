"""``medcnn data series``: the table, the page and the CSV."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.cli.main import main
from medcnn.data.slice_pictures import SIDE, slice_picture
from medcnn.errors import DataError
from medcnn.progress import Silent
from medcnn.report.series_sheet import SheetFacts, SheetStack, write_series_sheet
from medcnn.types import Image
from medcnn.workflow.series import list_series, rule_of, write_list, write_sheet


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ward(tree: Any) -> Any:
    """Two patients: a scan with a localizer and two echoes, a film, a screen shot, and what is no DICOM."""
    one = {"PatientID": "P1", "StudyInstanceUID": "1.4.1", "PatientBirthDate": "19500101"}
    tree.series("Doe/ct", SeriesDescription="<b>T1<i> ax post 1.2.840.113619.2.55", **one)
    tree.series("Doe/echo1", EchoNumbers=1, SeriesInstanceUID="1.6", **one)
    tree.series("Doe/echo2", EchoNumbers=2, SeriesInstanceUID="1.6", **one)
    tree.series("Doe/scout", (1,), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **one)
    two = {"PatientID": "P2", "StudyInstanceUID": "1.4.2", "PatientName": None}
    tree.film("Roe/film.dcm", SeriesInstanceUID="1.7", BurnedInAnnotation="NO", SeriesDescription="\x1b[31mred", **two)
    tree.series("Roe/shot", (0,), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **two)
    tree.series("Roe/marked", (0,), BurnedInAnnotation="YES", **two)
    tree.series("Roe/gap", (0, 3, 9, 12), **two)
    (tree.root / "README").write_text("hello")
    (tree.root / "broken.dcm").write_bytes(b"")
    return tree


def test_every_stack_is_listed_and_the_rule_marks_its_own(ward: Any) -> None:
    found = list_series(ward.root, rule_of(["description=t1.*post"]), "series", Silent(), workers=0)
    listed = {s.path.split("/")[1]: s for s in found.stacks}
    assert {n: (s.kind, s.slices, s.mark) for n, s in listed.items()} == {
        "ct": ("image", 3, "picked"),
        "echo1": ("image", 3, ""),
        "echo2": ("image", 3, ""),
        "scout": ("localizer", 1, ""),
        "film.dcm": ("image", 1, ""),
        "shot": ("secondary capture", 1, ""),
        "marked": ("image", 1, ""),
        "gap": ("image", 4, "problem"),
    }
    assert [s.number for s in found.stacks] == list(range(1, 9))
    assert {(s.patient, s.study) for s in found.stacks} == {(1, 1), (2, 2)}
    assert (listed["ct"].plane, listed["ct"].matrix, listed["ct"].spacing) == ("axial", "4x3", "0.7x0.5x3")
    assert listed["echo2"].differing == "EchoNumbers=2"
    assert "1 slice is missing" in listed["gap"].problem
    assert found.identifying["PatientBirthDate"] == 10
    assert found.identifying["PatientName"] == 10
    assert found.identifying["BurnedInAnnotation"] == 1
    assert found.silent == 15
    assert list(found.unread.values()) == [1]
    assert list(found.left_aside.values()) == [1]


def test_stacks_that_fit_as_others_do_are_marked(ward: Any) -> None:
    by_series = list_series(ward.root, rule_of(["modality=CT"]), "series", Silent(), workers=0)
    assert [s.path for s in by_series.stacks if s.mark == "several"] == ["Doe/echo1/0.dcm", "Doe/echo2/0.dcm"]
    by_patient = list_series(ward.root, rule_of(["echo=2"]), "patient", Silent(), workers=0)
    assert [s.path for s in by_patient.stacks if s.mark == "picked"] == ["Doe/echo2/0.dcm"]
    several = list_series(ward.root, rule_of(["plane=axial"]), "patient", Silent(), workers=0)
    # Of the second patient a scan and the one with a gap.
    assert several.marked("several") == 4
    assert several.marked("picked") == 0


def test_the_page_shows_no_person_and_escapes_what_headers_say(ward: Any, tmp_path: Path) -> None:
    rule = ["description=t1.*post"]
    found = list_series(ward.root, rule_of(rule), "series", Silent(), workers=0)
    page = write_sheet(tmp_path / "s.html", found, rule, Silent(), workers=0).read_text(encoding="utf-8")
    for secret in ("Secret", "Doe", "Roe", "P1", "19500101", "1.4.1", "1.2.840", str(tmp_path), "\x1b"):
        assert secret not in page, secret
    assert "&lt;b&gt;T1&lt;i&gt; ax post [UID]" in page
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    # The screen shot and the marked image are withheld.
    assert page.count("data:image/png") == 6
    assert page.count("not shown: it may hold a name") == 1
    assert page.count("not shown: it says that it shows who it is") == 1
    everything = write_sheet(tmp_path / "a.html", found, rule, Silent(), workers=0, all_pictures=True)
    assert everything.read_text(encoding="utf-8").count("data:image/png") == 8


def test_what_has_no_pixels_stands_in_the_table_alone(tmp_path: Path) -> None:
    image = SheetStack(1, 1, 1, "CT", "axial", "4x3", 1, "", "image", "scan", "", "")
    report = replace(image, number=2, modality="SR", slices=0, kind="structured report", description="the report")
    facts = SheetFacts(2, None, "series", (), 0, (), ())
    page = write_series_sheet(tmp_path / "s.html", [image, report], facts).read_text(encoding="utf-8")
    assert "1 object has no pixels: in the table below." in page
    assert (page.count("1 · patient 1"), page.count("2 · patient 1")) == (1, 0)
    assert "the report" in page


def test_the_csv_is_for_its_owner_alone(ward: Any, tmp_path: Path) -> None:
    found = list_series(ward.root, None, "series", Silent(), workers=0)
    write_list(tmp_path / "s.csv", found)
    assert (tmp_path / "s.csv").stat().st_mode & 0o777 == 0o600
    with open(tmp_path / "s.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[0]["PatientID"] == "P1"
    assert rows[0]["path"] == "Doe/ct/0.dcm"
    assert rows[0]["identifying"] == "PatientName PatientBirthDate"


def test_the_command(ward: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "series", str(ward.root), "--rule", "modality=CT", "--rule", "description=t1.*post"]
    assert main([*arguments, "--out", str(tmp_path / "s.html"), "--csv", str(tmp_path / "s.csv")]) == 0
    shown = capsys.readouterr().out
    assert "8 stacks in 17 DICOM files, of 2 patients in 2 studies" in shown
    assert "the rule picks 1 stack" in shown
    assert "headers that name or show a person: " in shown
    assert "1 slice is missing" in shown
    assert "\x1b[31m" not in shown
    assert (tmp_path / "s.html").is_file()
    assert (tmp_path / "s.csv").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rule", "plain=axial"], "did you mean 'plane'"),
        (["--rule", "plane"], "not KEY=VALUE"),
        (["--rule", "plane=axial", "--rule", "plane=coronal"], "given twice"),
        (["--rule", "echo=two"], "no value for echo"),
        (["--rule", "description=("], "no regular expression"),
        (["--one-per", "image"], "no unit"),
        (["--out", "film.dcm"], "'film.dcm' does not end in .html"),
        (["--csv", "film.dcm"], "'film.dcm' does not end in .csv"),
    ],
)
def test_mistakes_on_the_command_line(
    ward: Any, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(["data", "series", str(ward.root), *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_folder_without_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.txt").write_text("hello")
    assert main(["data", "series", str(tmp_path / "x")]) == 2
    assert "no DICOM file was found; 1: not an image: the file is a text file" in capsys.readouterr().err
    assert main(["data", "series", str(tmp_path / "none")]) == 2


def test_values_of_a_rule_are_typed() -> None:
    rule = rule_of(["description=5", "echo=2", "b_value=800", "derived=false", "kind=null", "image_type=ADC"])
    assert rule is not None
    assert (rule.description, rule.echo, rule.b_value, rule.derived, rule.kind) == ("5", 2, 800, False, None)
    assert rule_of([]) is None
    with pytest.raises(DataError, match="no value"):
        rule_of(["echo=[1"])


def test_pictures_have_the_proportions_of_the_body() -> None:
    values = np.linspace(-1000, 1000, 40 * 20).reshape(1, 40, 20).astype(np.float32)
    flat = slice_picture(Image(values, None, (1.0, 4.0), {}))
    assert flat.shape == (1, SIDE // 2, SIDE)
    assert flat.dtype == np.uint8
    assert (flat.min(), flat.max()) == (0, 255)
    window = slice_picture(Image(values, None, None, {"modality": "CT", "window": (0.0, 100.0)}))
    assert np.isin(window, (0, 255)).mean() > 0.8
    colour = np.zeros((3, 8, 8), np.uint8)
    colour[0] = 200
    assert slice_picture(Image(colour)).max(axis=(1, 2)).tolist() == [200, 0, 0]


def test_the_command_imports_no_torch(ward: Any) -> None:
    code = (
        "import sys; from medcnn.cli.main import main; "
        f"main(['data', 'series', {str(ward.root)!r}]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
