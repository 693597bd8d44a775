"""The audit: what there is to know of a dataset before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcnn.data.audit_boxes import BoxFacts, box_table
from medcnn.data.audit_headers import HeaderFacts, header_table, identity_findings
from medcnn.data.audit_images import exclusion_table, identical_images, identical_sets, image_tables, surplus
from medcnn.data.audit_labels import attribute_tables, label_tables, patient_tables
from medcnn.data.audit_near import near_table
from medcnn.data.audit_targets import MaskFacts, mask_table
from medcnn.data.facts import ImageFacts
from medcnn.data.finding import SEVERITIES, Finding, Severity, examples
from medcnn.data.grouping import plural, printable
from medcnn.data.near_duplicates import NearDuplicates
from medcnn.data.split import Split
from medcnn.files import write_json
from medcnn.types import Boxes, Dataset, Exclusion

__all__ = ["Audit", "Finding", "audit", "identical_sets", "surplus", "write_audit"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in a dataset.

    Attributes:
        dataset: Its name.
        cases: Number of usable cases.
        findings: Errors first, then cautions, then what is good to know.
        tables: ``patients``, ``identical``, ``images``, ``labels``, ``attributes``, ``exclusions``, plain values;
            with boxes ``boxes``, with a split ``parts``, and where it was looked for ``near_duplicates``, ``headers``
            and ``masks``.
    """

    dataset: str
    cases: int
    findings: tuple[Finding, ...]
    tables: Mapping[str, Any]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(f for f in self.findings if f.severity == severity)

    def headline(self) -> list[str]:
        """Lines for the terminal: the dataset in one line, then every error and caution, then copies."""
        copies = ("identical-images", "near-duplicates")
        shown = [f for f in self.findings if f.severity != "info" or f.id in copies]
        return [self._summary(), *(f.what if f.severity == "info" else f"{f.severity}: {f.what}" for f in shown)]

    def _summary(self) -> str:
        classes = self.tables["labels"].get("classes", [])
        texts = [f"{row['class']} {row['present']:,}" for row in classes]
        if len(texts) > 8:
            texts = [*texts[:8], f"{len(texts) - 8} more classes"]
        patients = self.tables["patients"]
        who = f", {plural(patients['patients'], 'patient', 'patients')}" if patients["known"] else ""
        return f"{self.dataset}: {plural(self.cases, 'case', 'cases')}{who}" + (
            f" ({', '.join(texts)})" if texts else ""
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``audit.json`` holds them."""
        return {
            "schema_version": SCHEMA_VERSION,
            "dataset": printable(self.dataset),
            "cases": self.cases,
            "headline": [printable(line) for line in self.headline()],
            "findings": [f.to_json() for f in self.findings],
            **self.tables,
        }


def audit(
    dataset: Dataset,
    facts: Sequence[ImageFacts],
    exclusions: Sequence[Exclusion] = (),
    split: Split | None = None,
    *,
    near: NearDuplicates | None = None,
    headers: Sequence[HeaderFacts] | None = None,
    masks: Sequence[MaskFacts] | None = None,
    boxes: Sequence[BoxFacts] = (),
) -> Audit:
    """Look at a dataset as a whole.

    Args:
        dataset: Its cases and labels.
        facts: One entry for each case that was read; of cases without one nothing is said about pixels.
        exclusions: What was left out after the adapter; what the adapter itself left out is added.
        split: With a split, identical images in more than one of its parts are an error.
        near: Verified near-duplicates, where they were looked for.
        headers: What the DICOM headers say of persons, where they were looked at.
        masks: What the masks hold, where they were read.
        boxes: What lies in the boxes, where it was looked at.
    """
    known = {case.id for case in dataset.cases}
    facts = [f for f in facts if f.case in known]
    dataset = _usable(dataset, facts, exclusions)
    left_out = tuple(dict.fromkeys([*dataset.exclusions, *exclusions]))
    found: dict[str, tuple[Any, list[Finding]]] = {
        "labels": label_tables(dataset),
        "patients": patient_tables(dataset),
        "attributes": attribute_tables(dataset),
        "images": image_tables(facts),
        "identical": identical_images(dataset, facts, split),
        "exclusions": exclusion_table(left_out, known),
    }
    if near is not None:
        found["near_duplicates"] = near_table(dataset, near, split)
    if headers is not None:
        found["headers"] = header_table(headers)
    if masks and "mask" in dataset.labels:
        found["masks"] = mask_table(dataset.labels["mask"], masks)
    if any(case.target(Boxes) is not None for case in dataset.cases):
        found["boxes"] = box_table(dataset, facts, boxes)
    if split is not None:
        found["parts"] = dict(split.facts.get("counts", {})), []
    findings = [f for _, some in found.values() for f in some]
    findings += [*identity_findings(dataset, headers or ()), *_unread(dataset, facts, left_out)]
    # What the adapter has to say of the data, such as labels that a program made.
    findings += [Finding("dataset-note", "info", str(note), 1) for note in dataset.facts.get("notes", ())]
    findings.sort(key=lambda f: SEVERITIES.index(f.severity))
    return Audit(dataset.name, len(dataset.cases), tuple(findings), {name: table for name, (table, _) in found.items()})


def _usable(dataset: Dataset, facts: Sequence[ImageFacts], exclusions: Sequence[Exclusion]) -> Dataset:
    """What turned out to be unusable is no case any more."""
    unusable = {e.case for e in exclusions} - {f.case for f in facts}
    return replace(dataset, cases=tuple(c for c in dataset.cases if c.id not in unusable))


def _unread(dataset: Dataset, facts: Sequence[ImageFacts], exclusions: Sequence[Exclusion]) -> list[Finding]:
    """Cases whose pixels nobody looked at and that nobody excluded; none after a whole reading."""
    seen = {f.case for f in facts} | {e.case for e in exclusions}
    missing = [case.id for case in dataset.cases if case.id not in seen]
    if not facts or not missing:
        return []
    text = plural(len(missing), "case was", "cases were") + " not read: nothing is known of the pixels"
    return [Finding("not-read", "caution", text, len(missing), examples(missing))]


def write_audit(folder: Path | str, audit: Audit) -> Path:
    """Write ``audit.json``; returns its path.

    Raises:
        RunError: If the folder cannot be written to.
    """
    path = Path(folder) / "audit.json"
    write_json(path, audit.to_json())
    return path
