"""JUnit XML of checks."""

from __future__ import annotations

from xml.etree import ElementTree

from gns3_minivm.labs.written.junit import TestCase, junit_xml

CASES = [
    TestCase(name="h1 pings h2", group="h1", outcome="passed", elapsed_s=1.5, output="2 packets"),
    TestCase(
        name="r1: show",
        group="r1",
        outcome="failed",
        elapsed_s=60.0004,
        message="no 'Full' in the output",
        output="\x1b[31mInit\x1b[0m <x>",
    ),
    TestCase(name="r2: show", group="r2", outcome="error", elapsed_s=0.0, message="the console has closed"),
]


def test_counts_and_times_are_those_of_the_cases() -> None:
    root = ElementTree.fromstring(junit_xml("lab", CASES, 61.5))
    (suite,) = root
    for element in (root, suite):
        assert element.attrib == {
            "name": "lab", "tests": "3", "failures": "1", "errors": "1", "skipped": "0", "time": "61.500",
        }  # fmt: skip
    assert [case.attrib for case in suite][:2] == [
        {"classname": "h1", "name": "h1 pings h2", "time": "1.500"},
        {"classname": "r1", "name": "r1: show", "time": "60.000"},
    ]


def test_each_outcome_has_its_element() -> None:
    (suite,) = ElementTree.fromstring(junit_xml("lab", CASES, 0))
    inner = [[child.tag for child in case] for case in suite]
    assert inner == [["system-out"], ["failure"], ["error"]]
    failure = suite[1][0]
    assert failure.get("message") == "no 'Full' in the output"
    # Colours of a terminal are no characters of XML.
    assert failure.text == "\N{REPLACEMENT CHARACTER}[31mInit\N{REPLACEMENT CHARACTER}[0m <x>"
