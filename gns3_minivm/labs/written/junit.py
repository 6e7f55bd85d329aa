"""Results of checks as JUnit XML, as CI systems read it.

There is no standard; this is the common part of what Jenkins, GitLab and GitHub's actions take: ``testsuites``,
``testsuite`` with counts and times, ``testcase`` with ``failure``, ``error`` and ``system-out``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

Outcome = Literal["passed", "failed", "error"]

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class TestCase:
    """``message`` says in a line why it has not passed; ``output`` is what was seen."""

    __test__ = False  # for pytest, which would take the name for that of a test

    name: str
    group: str
    outcome: Outcome
    elapsed_s: float
    message: str = ""
    output: str = ""


def junit_xml(suite: str, cases: Sequence[TestCase], elapsed_s: float) -> bytes:
    """The document, in UTF-8."""
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome == "failed" for case in cases)),
        "errors": str(sum(case.outcome == "error" for case in cases)),
        "skipped": "0",
        "time": f"{elapsed_s:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": _clean(suite), **counts})
    element = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite), **counts})
    for case in cases:
        _add(element, case)
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _add(suite: ElementTree.Element, case: TestCase) -> None:
    attributes = {"classname": _clean(case.group), "name": _clean(case.name), "time": f"{case.elapsed_s:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", attributes)
    if case.outcome != "passed":
        kind = "failure" if case.outcome == "failed" else "error"
        ElementTree.SubElement(element, kind, {"message": _clean(case.message)}).text = _clean(
            case.output or case.message
        )
    elif case.output:
        ElementTree.SubElement(element, "system-out").text = _clean(case.output)


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot carry, such as a guest's colours."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
