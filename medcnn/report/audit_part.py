"""The audit as a part of a report: its headline, its findings, and what it counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.report.document import Block, Cell, LinesBlock, PairsBlock, Section, TableBlock
from medcnn.report.formatting import number, plural
from medcnn.report.privacy import Shown, is_local

_MOST_EXAMPLES = 5
_MOST_FACTS = 20
# The parts stand in the section on the split, what was left out in the flow of cases.
_ELSEWHERE = ("findings", "headline", "parts", "exclusions")
_SEVERITIES = ("error", "caution", "warning", "info")
_TITLES = {
    "identical": "Identical images",
    "near_duplicates": "Near-duplicates",
    "headers": "DICOM headers",
}
_WORDS = {
    "dtypes": "stored types",
    "surplus": "surplus copies",
    "unlabelled": "without a label",
    "known": "patients are known",
    "too_plain_to_compare": "images that show too little",
    "compared": "images compared",
    "pairs_between_groups": "pairs of two groups",
    "largest_chain": "cases in the longest chain",
}


def audit_section(audit: Mapping[str, Any] | None, shown: Shown) -> Section | None:
    """What the audit of the data found."""
    if audit is None:
        return None
    blocks: list[Block] = []
    findings = [f for f in audit.get("findings", ()) if isinstance(f, Mapping)]
    lines = [shown.text(str(line)) for line in audit.get("headline", ())]
    if lines:
        # All but the first stand in the table of findings.
        blocks.append(LinesBlock(lines[:1] if findings else lines))
    findings.sort(key=lambda f: _rank(str(f.get("severity", "info"))))
    if findings:
        columns = ["Severity", "Finding", "Examples"]
        blocks.append(TableBlock("Findings", columns, [_finding(f, shown) for f in findings]))
    tables = [(key, value) for key, value in audit.items() if key not in _ELSEWHERE and isinstance(value, Mapping)]
    for key, value in tables:
        facts = _facts(value, shown)
        if facts:
            rest = len(facts) - _MOST_FACTS
            caption = f"{plural(rest, 'further entry is', 'further entries are')} in audit.json." if rest > 0 else ""
            title = _TITLES.get(key) or shown.text(key).replace("_", " ").capitalize()
            blocks.append(PairsBlock(title, facts[:_MOST_FACTS], caption))
    if not findings:
        blocks.append(LinesBlock(["The audit found nothing to remark."]))
    return Section("audit", "Audit of the data", blocks)


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _finding(finding: Mapping[str, Any], shown: Shown) -> list[Cell]:
    severity = str(finding.get("severity", "info"))
    named = list(_leaves(finding.get("examples") or finding.get("cases") or ()))
    text = ", ".join(shown.identifier(e) for e in named[:_MOST_EXAMPLES])
    if len(named) > _MOST_EXAMPLES:
        text += ", …"
    return [
        Cell(severity, tag=severity if severity in _SEVERITIES else "info"),
        Cell(shown.text(str(finding.get("what", "")))),
        Cell(text),
    ]


def _leaves(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [leaf for v in value.values() for leaf in _leaves(v)]
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in _leaves(v)]
    return [str(value)]


def _facts(value: Mapping[str, Any], shown: Shown, prefix: str = "") -> list[tuple[str, str]]:
    """Numbers that are not 0, and short texts; lists of texts are left out, for they name cases."""
    pairs: list[tuple[str, str]] = []
    for key, item in value.items():
        title = prefix + (_WORDS.get(str(key)) or shown.text(str(key)).replace("_", " "))
        if is_local(str(key)) or item is None or key in ("examples", "cases") or (item == 0 and item is not False):
            continue
        if isinstance(item, Mapping):
            pairs += _facts(item, shown, f"{title}: ")
        elif isinstance(item, (list, tuple)):
            if item and all(isinstance(v, (int, float)) for v in item) and len(item) <= 8:
                pairs.append((title, " x ".join(_number(v) for v in item)))
        elif isinstance(item, str):
            pairs.append((title, shown.text(item)))
        else:
            pairs.append((title, _number(item)))
    return pairs


def _number(value: float) -> str:
    return number(int(value) if isinstance(value, float) and value.is_integer() else value)
