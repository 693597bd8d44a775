"""``medcnn convert``: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

Command = Callable[..., Any]
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
CORONAL = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]


def dicom(values: np.ndarray, **tags: Any) -> pydicom.Dataset:
    """A small valid CT image; ``None`` takes an element out."""
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    elements: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "SeriesInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "PatientAge": "041Y",
        "PatientSex": "F",
        "StudyDate": "20240131",
        "Modality": "CT",
        "SeriesNumber": 3,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesDescription": "thorax 1/2",
        "RepetitionTime": None,
        "KVP": 120,
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelSpacing": [0.5, 0.7],
        "SliceThickness": 2.5,
        "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [10.0, 20.0, 30.0],
        "PixelData": values.astype(np.int16).tobytes(),
    }
    for name, value in {**elements, **tags}.items():
        if value is not None:
            setattr(made, name, value)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2.3.4")
    return made


def save(path: Path, made: pydicom.Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, count: int = 4, *, skip: Sequence[int] = (), first: int = 0, **tags: Any) -> list[Path]:
    """The slices of a series, 2.5 mm apart."""
    paths = []
    normal = np.cross(*np.reshape(tags.get("ImageOrientationPatient", AXIAL), (2, 3)))
    size = tags.pop("size", (3, 4))
    for k in range(count):
        if k in skip:
            continue
        place = {"ImagePositionPatient": [float(v) for v in normal * 2.5 * k], "InstanceNumber": k + 1}
        values = np.full(size, 100 * k + first, np.int16)
        paths.append(save(folder / f"{k}.dcm", dicom(values, **{**place, **tags})))
    return paths


@pytest.fixture
def convert(medcnn_command: Command, tmp_path: Path) -> Command:
    """``convert(SOURCE, ...)`` writes into ``tmp_path / "out"``."""
    return lambda *arguments: medcnn_command("convert", *arguments, "--out", tmp_path / "out")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "conversion.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_series_becomes_one_file_with_a_side_file(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in")
    done = convert(tmp_path / "in")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{tmp_path / 'out'}: 1 image\n")
    assert written(tmp_path / "out") == ["003_thorax-1-2.json", "003_thorax-1-2.nii.gz", "conversion.csv"]
    image: Any = nibabel.load(tmp_path / "out" / "003_thorax-1-2.nii.gz")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj)[0, 0], [-1024, -924, -824, -724])
    np.testing.assert_allclose(image.affine, np.diag([-0.7, -0.5, 2.5, 1]), atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-6)
    side = json.loads((tmp_path / "out" / "003_thorax-1-2.json").read_text())
    expected = {
        "Modality": "CT", "SeriesDescription": "thorax 1/2", "SeriesNumber": 3, "KVP": 120, "SliceThickness": 2.5,
        "PatientID": "4711", "PatientAge": 41, "Units": "HU", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ConversionSoftware": "medcnn", "AcquisitionDateTime": "2024-01-31",
    }  # fmt: skip
    assert {key: side[key] for key in expected} == expected
    assert "Doe" not in json.dumps(side)
    (row,) = table(tmp_path / "out")
    assert (row["file"], row["patient"], row["slices"], row["reason"]) == ("003_thorax-1-2.nii.gz", "4711", "4", "")


def test_a_rescale_that_is_not_whole_gives_exact_floats(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in", RescaleSlope="0.37", RescaleIntercept="-1.5", Modality="PT")
    assert convert(tmp_path / "in").code == 0
    image: Any = nibabel.load(tmp_path / "out" / "003_thorax-1-2.nii.gz")
    assert image.get_data_dtype() == np.float32
    expected = (np.arange(4) * 100 * 0.37 - 1.5).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[0, 0], expected)


def test_whole_numbers_that_need_32_bits_have_them(convert: Command, tmp_path: Path) -> None:
    values = np.array([[-32000, 32000]])
    save(tmp_path / "in" / "0.dcm", dicom(values, RescaleIntercept=-32000))
    assert convert(tmp_path / "in").code == 0
    image: Any = nibabel.load(tmp_path / "out" / "003_thorax-1-2.nii.gz")
    assert image.get_data_dtype() == np.int32
    np.testing.assert_array_equal(np.asarray(image.dataobj)[:, 0, 0], [-64000, 0])


def test_a_tilted_stack_is_kept_sheared_or_straightened(
    convert: Command, medcnn_command: Command, tmp_path: Path
) -> None:
    for k in range(4):
        turned = [1.0, 0, 0, 0, float(np.cos(0.3)), float(-np.sin(0.3))]
        tags = {"ImageOrientationPatient": turned, "ImagePositionPatient": [0.0, 0.0, 5.0 * k]}
        save(tmp_path / "in" / f"{k}.dcm", dicom(np.full((6, 6), k), PixelSpacing=[1.0, 1.0], **tags))
    assert convert(tmp_path / "in").code == 0
    image: Any = nibabel.load(tmp_path / "out" / "003_thorax-1-2.nii.gz")
    np.testing.assert_allclose(image.affine[:3, 2], [0, 0, 5], atol=1e-6)
    np.testing.assert_allclose(image.affine[:3, 1], [0, -np.cos(0.3), -np.sin(0.3)], atol=1e-5)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    side = json.loads((tmp_path / "out" / "003_thorax-1-2.json").read_text())
    assert side["GantryTilt"] == pytest.approx(np.degrees(0.3), abs=0.01)
    done = medcnn_command("convert", tmp_path / "in", "--out", tmp_path / "straight", "--straighten")
    assert done.code == 0, done.err
    straight: Any = nibabel.load(tmp_path / "straight" / "003_thorax-1-2.nii.gz")
    assert int(straight.header["qform_code"]) == 1
    assert json.loads((tmp_path / "straight" / "003_thorax-1-2.json").read_text())["GantryTiltCorrected"]


def test_stacks_of_a_series_are_told_apart_by_name(convert: Command, tmp_path: Path) -> None:
    for echo in (1, 2):
        series(tmp_path / "in" / str(echo), EchoNumbers=echo, EchoTime=4.5 * echo, Modality="MR", first=echo)
    assert convert(tmp_path / "in").code == 0
    names = [n for n in written(tmp_path / "out") if n.endswith(".nii.gz")]
    assert names == ["003_thorax-1-2_e1_te4.5.nii.gz", "003_thorax-1-2_e2_te9.nii.gz"]
    side = json.loads((tmp_path / "out" / "003_thorax-1-2_e2_te9.json").read_text())
    assert (side["EchoNumber"], side["EchoTime"]) == (2, 0.009)


def test_patients_and_studies_have_folders_where_there_are_several(convert: Command, tmp_path: Path) -> None:
    for patient, study, day in (("a/b", "1.1", "20240301"), ("a/b", "1.2", "20240201"), ("", "1.3", "20240101")):
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.9", "StudyDate": day}
        series(tmp_path / "in" / study, 2, PatientID=patient, **uids)
    assert convert(tmp_path / "in").code == 0
    names = {row["file"]: row["study"] for row in table(tmp_path / "out")}
    assert names == {
        "a-b/study-2/003_thorax-1-2.nii.gz": "1.1",
        "a-b/study-1/003_thorax-1-2.nii.gz": "1.2",
        "unknown/003_thorax-1-2.nii.gz": "1.3",
    }


def test_a_rule_picks_and_the_rest_is_counted(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in" / "a")
    series(tmp_path / "in" / "b", SeriesInstanceUID="1.9", SeriesDescription="bone")
    series(tmp_path / "in" / "c", 1, SeriesInstanceUID="1.8", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "in" / "notes.txt").write_text("hello")
    done = convert(tmp_path / "in", "--rule", "description=^bone")
    assert done.code == 0, done.err
    assert "left aside: localizer (1); not a stack that the rule asks for (1); not an image (1)" in done.out
    assert [r["file"] for r in table(tmp_path / "out") if r["file"]] == ["003_bone.nii.gz"]
    assert sorted(r["reason"] for r in table(tmp_path / "out")) == [
        "", "localizer", "not a stack that the rule asks for",
    ]  # fmt: skip
    done = convert(tmp_path / "in", "--rule", "kind=localizer")
    assert done.code == 0
    assert sum(bool(r["file"]) for r in table(tmp_path / "out")) == 2
    done = convert(tmp_path / "in", "--rule", "planes=axial")
    assert done.code == 2
    assert "did you mean 'plane'?" in done.err


def test_files_that_are_there_are_refused_replaced_or_kept(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in")
    assert convert(tmp_path / "in").code == 0
    image = tmp_path / "out" / "003_thorax-1-2.nii.gz"
    before = image.read_bytes()
    image.write_bytes(b"mine")
    done = convert(tmp_path / "in")
    assert done.code == 2
    assert "the file is there already, and 1 more" in done.err
    assert image.read_bytes() == b"mine"
    assert convert(tmp_path / "in", "--resume").out.startswith(f"{tmp_path / 'out'}: 1 image, of which 1 were there")
    assert image.read_bytes() == b"mine"
    assert convert(tmp_path / "in", "--overwrite").code == 0
    assert image.read_bytes() == before
    (tmp_path / "out" / "003_thorax-1-2.json").write_text("{}")
    done = convert(tmp_path / "in", "--resume")
    assert done.code == 2
    assert "made from something else" in done.err
    assert convert(tmp_path / "in", "--resume", "--overwrite").code == 0
    assert "CT" in (tmp_path / "out" / "003_thorax-1-2.json").read_text()


def test_a_second_conversion_adds_to_the_table(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "a")
    series(tmp_path / "b", SeriesNumber=4)
    assert convert(tmp_path / "a").code == 0
    assert convert(tmp_path / "b").code == 0
    assert [r["file"] for r in table(tmp_path / "out")] == ["003_thorax-1-2.nii.gz", "004_thorax-1-2.nii.gz"]
    (tmp_path / "out" / "003_thorax-1-2.nii.gz").unlink()
    assert convert(tmp_path / "b", "--overwrite").code == 0
    assert [r["file"] for r in table(tmp_path / "out")] == ["004_thorax-1-2.nii.gz"]


def test_files_may_be_given_one_by_one(convert: Command, tmp_path: Path) -> None:
    paths = series(tmp_path / "in")
    assert convert(*paths[:3], paths[0]).code == 0
    assert table(tmp_path / "out")[0]["slices"] == "3"


def test_an_archive_is_converted_too(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in")
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "in")
    assert convert(archive).code == 0
    assert written(tmp_path / "out") == ["003_thorax-1-2.json", "003_thorax-1-2.nii.gz", "conversion.csv"]


# What is wrong, how it is made, and what is said.
def _truncated(folder: Path) -> None:
    paths = series(folder / "bad", SeriesInstanceUID="1.5")
    paths[1].write_bytes(paths[1].read_bytes()[:-10])


def _no_pixels(folder: Path) -> None:
    save(folder / "bad.dcm", dicom(np.zeros((3, 4)), SeriesInstanceUID="1.5", PixelData=None))


def _no_positions(folder: Path) -> None:
    series(folder / "bad", SeriesInstanceUID="1.5")
    for path in (folder / "bad").iterdir():
        found = pydicom.dcmread(path)
        del found.ImagePositionPatient
        found.save_as(path)


def _missing(folder: Path) -> None:
    series(folder / "bad", 6, skip=[2], SeriesInstanceUID="1.5")


def _two_in_one_place(folder: Path) -> None:
    series(folder / "bad" / "a", SeriesInstanceUID="1.5")
    series(folder / "bad" / "b", SeriesInstanceUID="1.5", first=7)


def _cut_header(folder: Path) -> None:
    path = save(folder / "bad.dcm", dicom(np.zeros((3, 4))))
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_truncated, "the pixel data are truncated"),
        (_no_pixels, "it holds no pixels (a truncated file?)"),
        (_no_positions, "no usable ImagePositionPatient"),
        (_missing, "1 slice is missing"),
        (_two_in_one_place, "hold more than one slice"),
        (_cut_header, "truncated"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_cannot_be_converted_is_listed_and_the_rest_is_converted(
    make: Callable[[Path], None], said: str, convert: Command, tmp_path: Path
) -> None:
    series(tmp_path / "in" / "good")
    make(tmp_path / "in")
    done = convert(tmp_path / "in")
    assert done.code == 2
    assert "not converted: 1" in done.out
    assert said in done.out
    assert "--max-unusable 0.05: 1 of 2 (50.0%) could not be converted" in done.err
    assert "Traceback" not in done.out + done.err
    rows = table(tmp_path / "out")
    assert [r["file"] for r in rows if r["file"]] == ["003_thorax-1-2.nii.gz"]
    (bad,) = [r for r in rows if not r["file"]]
    assert said in bad["reason"]
    assert "bad" in bad["source"]
    assert len(written(tmp_path / "out")) == 3
    assert convert(tmp_path / "in", "--overwrite", "--max-unusable", "0.5").code == 0
    done = convert(tmp_path / "in", "--overwrite", "--on-error", "stop")
    assert done.code == 2
    assert said in done.err
    assert "bad" in done.err


def test_what_belongs_apart_is_taken_apart(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in" / "a")
    series(tmp_path / "in" / "b", ImageOrientationPatient=CORONAL)
    series(tmp_path / "in" / "c", size=(5, 5))
    shutil.copy(tmp_path / "in" / "a" / "0.dcm", tmp_path / "in" / "a" / "again.dcm")
    assert convert(tmp_path / "in").code == 0
    rows = {row["file"]: row["slices"] for row in table(tmp_path / "out")}
    assert rows == {
        "003_thorax-1-2_4x3_axial.nii.gz": "4",
        "003_thorax-1-2_4x3_coronal.nii.gz": "4",
        "003_thorax-1-2_5x5_axial.nii.gz": "4",
    }


def test_without_uids_each_file_stands_for_itself(convert: Command, tmp_path: Path) -> None:
    for k in range(2):
        uids = dict.fromkeys(("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"))
        save(tmp_path / "in" / f"{k}.dcm", dicom(np.full((3, 4), k), **uids))
    assert convert(tmp_path / "in").code == 0
    names = [r["file"] for r in table(tmp_path / "out")]
    assert names == ["unknown/003_thorax-1-2.nii.gz", "unknown-2/003_thorax-1-2.nii.gz"]


def test_nothing_to_convert_is_an_error(convert: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "no DICOM file was found" in convert(tmp_path / "in").err
    (tmp_path / "in" / "a.txt").write_text("hello")
    done = convert(tmp_path / "in")
    assert done.code == 2
    assert "no DICOM file was found; 1: not an image" in done.err
    done = convert(tmp_path / "nowhere")
    assert done.code == 2
    assert "there is no such file or folder" in done.err
    assert convert(tmp_path / "in", "--pseudonymise").code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
    (tmp_path / "out").write_text("")
    done = convert(tmp_path / "in")
    assert "a file of this name, not a folder" in done.err


def test_strange_names_and_links_in_a_circle(convert: Command, tmp_path: Path) -> None:
    folder = tmp_path / "in" / 'it\'s "my" scan\n№ 1 日本'
    series(folder, SeriesDescription="../../日本 a\tb\x1b[31m <b>", PatientID="../x")
    (folder / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (folder / "gone").symlink_to(tmp_path / "nothing")
    done = convert(tmp_path / "in")
    assert done.code == 2, "the link that leads nowhere is one of two"
    assert "gone: a link that leads nowhere" in done.out
    assert "\x1b" not in done.out
    assert written(tmp_path / "out") == ["003_a-b-31m-b.json", "003_a-b-31m-b.nii.gz", "conversion.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_options_that_do_not_go_together(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in")
    for arguments, said in (
        (("--private", tmp_path / "p"), "go with --pseudonymise alone"),
        (("--allow-burned-in",), "go with --pseudonymise alone"),
        (("--on-error", "stopp"), "did you mean 'stop'?"),
        (("--one-per", "serie"), "did you mean 'series'?"),
        (("--pseudonymise", "--private", tmp_path / "out" / "key"), "may not lie among the converted files"),
    ):
        done = convert(tmp_path / "in", *arguments)
        assert done.code == 2
        assert said in done.err
    assert not (tmp_path / "out").exists()


# Pseudonyms.

TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
NEEDED = {
    "PhotometricInterpretation", "SOPClassUID", "NumberOfFrames", "PixelSpacing", "ImageOrientationPatient",
    "ImagePositionPatient", "RescaleSlope", "RescaleIntercept", "SpecificCharacterSet", "SliceThickness",
    "SpacingBetweenSlices", "PresentationLUTShape", "PixelAspectRatio", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "GridFrameOffsetVector",
}  # fmt: skip
MARK = "ZQXMARK"
DAY, TIME, NUMBER, ROOT = "19420317", "131719.75", "77665544", "1.2.826.0.1.998877665544"


def marked(dataset: pydicom.Dataset) -> None:
    """Give every element of text, of a date, a UID or a number that reading does not need a value to look for."""
    values = {"DA": DAY, "TM": TIME, "DT": DAY + TIME, "IS": NUMBER, "DS": NUMBER, "AS": "093Y", "UI": f"{ROOT}.1"}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        value = MARK if vr in TEXT else values.get(vr)
        if value is None or not keyword or keyword in NEEDED or tag >> 16 in (0x0000, 0x0002, 0x0004, 0x7FE0):
            continue
        dataset.add_new(tag, vr, value)


@pytest.fixture
def telling(tmp_path: Path) -> Path:
    """A series that says who it is wherever a text may stand, also in sequences, private elements and its path."""
    folder = tmp_path / MARK / DAY
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(3):
            made = dicom(np.full((3, 4), k), ImagePositionPatient=[0.0, 0.0, 2.5 * k])
            marked(made)
            made.SOPInstanceUID = f"{ROOT}.{k}"
            item = pydicom.Dataset()
            marked(item)
            made.RequestAttributesSequence = Items([item])
            block = made.private_block(0x0099, f"{MARK} MAKER", create=True)
            block.add_new(0x01, "PN", MARK)
            block.add_new(0x02, "SQ", Items([item]))
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            save(folder / f"{MARK}-{k}", made)
    return folder


def haystack(folder: Path) -> dict[str, bytes]:
    """All names and all bytes below a folder, unpacked."""
    found = {}
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        # Packed files are looked at in both forms: their headers may hold a name and a time.
        found[str(path.relative_to(folder))] = data + (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b"")
    return found


def needles() -> Iterator[bytes]:
    for text in (MARK, DAY, "1942", "131719", NUMBER, ROOT, "998877", "0317"):
        yield text.encode()
        yield text.encode("utf-16-le")


def test_nothing_that_tells_who_it_is_is_written(convert: Command, telling: Path, tmp_path: Path) -> None:
    done = convert(telling, "--pseudonymise")
    assert done.code == 0, done.out + done.err
    found = haystack(tmp_path / "out")
    assert sorted(found) == ["conversion.csv", "image.json", "image.nii.gz"]
    for name, data in found.items():
        for needle in needles():
            assert needle not in name.encode()
            assert needle.lower() not in data.lower(), (name, needle)
    side = json.loads(found["image.json"])
    assert side["PatientAge"] == "90+"
    assert side["PatientID"].startswith("P-")
    assert side["PatientIdentityRemoved"] == "YES"
    assert set(side) == {
        "PatientAge", "PatientID", "StudyID", "SliceThickness", "PatientIdentityRemoved", "DeidentificationMethod",
        "ConversionSoftware", "ConversionSoftwareVersion",
        # A dose that might be one: of numbers only those that are too large are known to be something else.
        "InjectedRadioactivity", "InjectedRadioactivityUnits",
    }  # fmt: skip
    header: Any = nibabel.load(tmp_path / "out" / "image.nii.gz").header
    assert {bytes(header[key].tobytes()).strip(b"\0") for key in ("aux_file", "intent_name", "db_name")} == {b""}
    assert not header.extensions


def test_without_pseudonyms_the_marks_are_there(convert: Command, telling: Path, tmp_path: Path) -> None:
    assert convert(telling).code == 0
    text = b"".join(haystack(tmp_path / "out").values())
    for needle in (MARK, ROOT, NUMBER):
        assert needle.encode() in text, "what the test above looks for would be found"


def test_what_may_be_told_stays(convert: Command, tmp_path: Path) -> None:
    tags = {"Manufacturer": "SIEMENS Healthineers", "BodyPartExamined": "CHEST", "ManufacturerModelName": "Somatom"}
    series(tmp_path / "in", ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "DOE"], **tags)
    assert convert(tmp_path / "in", "--pseudonymise").code == 0
    side = json.loads((tmp_path / "out" / "003_CT.json").read_text())
    expected = {
        "Modality": "CT", "Manufacturer": "Siemens", "BodyPart": "CHEST", "KVP": 120, "PatientSex": "F",
        "PatientAge": 41, "SeriesNumber": 3, "Units": "HU", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    }  # fmt: skip
    assert {key: side[key] for key in expected} == expected
    assert not {"ManufacturersModelName", "SeriesDescription", "AcquisitionDateTime"} & set(side)
    (row,) = table(tmp_path / "out")
    assert row["patient"] == side["PatientID"]
    assert {row[k] for k in ("series", "description", "source", "differing")} == {""}


def test_the_key_and_the_map_are_the_owners_alone_and_give_the_same_names_again(
    convert: Command, medcnn_command: Command, tmp_path: Path
) -> None:
    series(tmp_path / "in")
    assert convert(tmp_path / "in", "--pseudonymise").code == 0
    private = tmp_path / "out-private"
    assert written(private) == ["conversion.csv", "pseudonyms.json"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in private.iterdir()} == {0o600}
    side = json.loads((tmp_path / "out" / "003_CT.json").read_text())
    known = json.loads((private / "pseudonyms.json").read_text())
    assert known["patient"] == {side["PatientID"]: "patient 4711"}
    assert known["case"] == {side["StudyID"]: "1.2"}
    (row,) = table(private)
    assert (row["file"], row["patient"], row["description"]) == ("003_CT.nii.gz", "4711", "thorax 1/2")
    assert row["source"] == str(tmp_path / "in" / "0.dcm")
    assert convert(tmp_path / "in", "--pseudonymise", "--resume").code == 0
    again = ("convert", tmp_path / "in", "--pseudonymise", "--private", private)
    assert medcnn_command(*again, "--out", tmp_path / "second").code == 0
    assert json.loads((tmp_path / "second" / "003_CT.json").read_text()) == side
    assert medcnn_command("convert", tmp_path / "in", "--pseudonymise", "--out", tmp_path / "third").code == 0
    assert json.loads((tmp_path / "third" / "003_CT.json").read_text())["PatientID"] != side["PatientID"]


def test_folders_are_pseudonyms_too(convert: Command, tmp_path: Path) -> None:
    for patient in ("a", "b"):
        for study in ("1", "2"):
            uid = f"1.{ord(patient)}.{study}"
            series(tmp_path / "in" / uid, 2, PatientID=patient, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1")
    assert convert(tmp_path / "in", "--pseudonymise").code == 0
    files = [row["file"].split("/") for row in table(tmp_path / "out")]
    assert len({f[0] for f in files}) == 2
    assert len({tuple(f) for f in files}) == 4
    assert all(f[0].startswith("P-") and f[1].startswith("C-") and f[2] == "003_CT.nii.gz" for f in files)


def test_burned_in_text_is_refused_unless_it_is_allowed(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in", BurnedInAnnotation="YES")
    done = convert(tmp_path / "in", "--pseudonymise")
    assert done.code == 2
    assert "text is burned into its pixels (BurnedInAnnotation)" in done.out
    assert "--allow-burned-in" in done.out
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    assert convert(tmp_path / "in", "--pseudonymise", "--allow-burned-in").code == 0
    assert list((tmp_path / "out").glob("*.nii.gz"))


def test_screens_that_say_nothing_of_burned_in_text_are_told(convert: Command, tmp_path: Path) -> None:
    shot = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT", "ImageOrientationPatient": None}
    save(tmp_path / "in" / "a.dcm", dicom(np.zeros((3, 4)), **shot, ImagePositionPatient=None))
    done = convert(tmp_path / "in", "--pseudonymise", "--rule", "kind=secondary capture")
    assert done.code == 0, done.err
    assert "1 image shows a screen and does not say whether text is burned in" in done.out


def test_recognizable_features_are_told(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in", RecognizableVisualFeatures="YES", PatientAge="006M")
    done = convert(tmp_path / "in", "--pseudonymise")
    assert done.code == 0, done.err
    assert "1 image says that its person can be recognized by the pixels" in done.out
    assert json.loads((tmp_path / "out" / "003_CT.json").read_text())["PatientAge"] == 0


def test_pseudonymised_and_other_images_do_not_mix(convert: Command, tmp_path: Path) -> None:
    series(tmp_path / "in")
    assert convert(tmp_path / "in").code == 0
    done = convert(tmp_path / "in", "--pseudonymise", "--overwrite")
    assert done.code == 2
    assert "the folder holds files that were not pseudonymised" in done.err
    shutil.rmtree(tmp_path / "out")
    assert convert(tmp_path / "in", "--pseudonymise").code == 0
    done = convert(tmp_path / "in", "--overwrite")
    assert done.code == 2
    assert "the folder holds pseudonymised images" in done.err


def test_interrupted_it_leaves_whole_files_and_lists_them(
    convert: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path / "in" / "a")
    series(tmp_path / "in" / "b", SeriesInstanceUID="1.9", SeriesNumber=4)
    import medcnn.data.images.nifti_write as writing

    original, calls = writing.write_nifti, []

    def stopped(path: Path, *arguments: Any, **more: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(path, *arguments, **more)

    monkeypatch.setattr(writing, "write_nifti", stopped)
    done = convert(tmp_path / "in")
    assert done.code == 130
    assert "--resume" in done.err
    assert written(tmp_path / "out") == ["003_thorax-1-2.json", "003_thorax-1-2.nii.gz", "conversion.csv"]
    monkeypatch.setattr(writing, "write_nifti", original)
    done = convert(tmp_path / "in", "--resume")
    assert done.code == 0
    assert "2 images, of which 1 were there already" in done.out
    assert len([r for r in table(tmp_path / "out") if r["file"]]) == 2


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_file_that_changes_after_it_was_listed_is_named(
    convert: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcnn.workflow.convert_job import Job

    paths = series(tmp_path / "in")
    original = Job.run

    def changing(self: Job, progress: Any) -> Path:
        paths[1].write_bytes(paths[1].read_bytes() + b"\0\0")
        return original(self, progress)

    monkeypatch.setattr(Job, "run", changing)
    done = convert(tmp_path / "in")
    assert done.code == 2
    assert "changed since it was listed" in done.out
