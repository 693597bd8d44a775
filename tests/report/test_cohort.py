from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medcnn.report.cohort import attribute_levels, exclusion_reasons, flow_section, split_section
from medcnn.report.document import Document
from medcnn.report.markdown import to_markdown
from medcnn.report.privacy import Shown
from medcnn.report.pseudonyms import Pseudonyms
from medcnn.report.runfiles import RunFiles


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(Pseudonyms(tmp_path))


def run(folder: Path, cases: list[dict[str, str]], parts: str, **more: Any) -> RunFiles:
    split = [
        {"case": c["case"], "group": c.get("group", c["case"]), "part": p}
        for c, p in zip(cases, parts.split(), strict=False)
    ]
    return RunFiles(folder, cases=cases, split=split, **more)


def written(section: Any) -> str:
    return to_markdown(Document("t", "", (), [section]))


def test_a_patient_in_two_parts_is_counted(tmp_path: Path, shown: Shown) -> None:
    cases = [
        {"case": "a", "patient": "p", "group": "g1", "label": "x"},
        {"case": "b", "patient": "p", "group": "g2", "label": "y"},
    ]
    text = written(split_section(run(tmp_path, cases, "training test"), shown))
    assert "Groups found in more than one part: 0. Known patients found in more than one part: 1." in text
    assert "| x | 1<br>100.0 % | 0<br>0.0 % |" in text


def test_unknown_patients_are_a_dash_with_a_note(tmp_path: Path, shown: Shown) -> None:
    text = written(split_section(run(tmp_path, [{"case": "a"}, {"case": "b"}], "training test"), shown))
    assert "| Training | 1 | 1 | – (a) |" in text
    assert "(a) The patients of these cases are not known." in text


def test_several_labels_count_what_is_known(tmp_path: Path, shown: Shown) -> None:
    cases = [{"case": c, "label_edema": s} for c, s in zip("abcd", ["1", "0", "", "1"], strict=True)]
    text = written(split_section(run(tmp_path, cases, "training training training training"), shown))
    assert "| edema | 2<br>66.7 %<br>of 3 known |" in text


def test_values_are_summarised(tmp_path: Path, shown: Shown) -> None:
    cases = [{"case": c, "value": v} for c, v in zip("abc", ["10", "20", "40"], strict=True)]
    text = written(split_section(run(tmp_path, cases, "training training training"), shown))
    assert "20 (15–30)<br>n = 3" in text


def test_ages_above_89_are_pooled(tmp_path: Path, shown: Shown) -> None:
    cases = [{"case": str(i), "attr_age": str(85 + i)} for i in range(10)]
    text = written(split_section(run(tmp_path, cases, "test " * 10), shown))
    assert "90+ (87–90+)" in text
    assert "94" not in text


def test_attributes_that_identify_are_not_shown() -> None:
    cases = [
        {"case": str(i), "attr_sex": "FM"[i % 2], "attr_date": "2020", "attr_mrn": "1", "attr_note": f"free {i}",
         "attr_weight": str(50 + i), "attr_site": "A", "attr_patient_name": "X"}
        for i in range(20)
    ]  # fmt: skip
    assert attribute_levels(cases) == {"sex": ["F", "M"], "weight": [], "site": ["A"]}


def test_reasons_that_differ_in_the_file_alone_are_one(shown: Shown) -> None:
    rows = [{"case": f"c{i:05d}", "path": f"/d/x{i}.png", "reason": f"/d/x{i}.png: broken"} for i in range(4)]
    assert exclusion_reasons(rows, shown) == [("the file: broken", 4)]


def test_copies_of_different_cases_are_one_reason(tmp_path: Path) -> None:
    cases = [{"case": f"scan-{i}"} for i in range(4)]
    rows = [{"case": f"copy-{i}", "path": "", "reason": f"identical to scan-{i}"} for i in range(4)]
    assert exclusion_reasons(rows, Shown(Pseudonyms(tmp_path), cases)) == [("identical to another one", 4)]


def test_many_reasons_are_joined_and_none_is_lost(shown: Shown) -> None:
    rows = [{"case": str(i), "path": "", "reason": f"reason {chr(97 + i)}"} for i in range(20)]
    reasons = exclusion_reasons(rows, shown)
    assert len(reasons) == 8
    assert sum(n for _, n in reasons) == 20
    assert reasons[-1] == ("13 other reasons (exclusions.csv lists them)", 13)


def test_an_excluded_case_that_is_listed_too_counts_once(tmp_path: Path, shown: Shown) -> None:
    exclusions = [{"case": "b", "path": "", "reason": "no label"}]
    cases = [{"case": "a"}, {"case": "b"}]
    section = flow_section(run(tmp_path, cases, "test", exclusions=exclusions), shown)
    text = written(section)
    assert "- Found: 2 cases" in text
    assert "- Left out: 1" in text
    assert "- Analysed: 1 case (1 group)" in text
