"""The same as JUnit XML, in the form that Jenkins, GitLab and GitHub's actions read: suites, cases, failures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from headrace.ruletests.outcome import Outcome
from headrace.ruletests.report import FileOutcome

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(files: Sequence[FileOutcome]) -> bytes:
    """The document; a file that cannot be run is one case with an error."""
    root = Element("testsuites", name="headrace test")
    for file in files:
        suite = SubElement(root, "testsuite", name=_clean(file.path))
        for outcome in file.outcomes:
            _case(suite, file.path, outcome)
        if file.errors:
            case = SubElement(suite, "testcase", name="can be run", classname=_clean(file.path), time="0.000")
            SubElement(case, "error", message="cannot be run", type="ConfigError").text = _clean("\n".join(file.errors))
        _count(suite, [suite])
    _count(root, list(root))
    indent(root)
    document: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + document + b"\n"


def _case(suite: Element, path: str, outcome: Outcome) -> None:
    case = SubElement(
        suite,
        "testcase",
        name=_clean(outcome.name),
        classname=_clean(path),
        file=_clean(path),
        line=str(outcome.line),
        time=f"{outcome.seconds:.3f}",
    )
    if not outcome.problems:
        return
    text: list[str] = []
    for problem in outcome.problems:
        text.append(f"{path}:{problem.line}: {problem.title}")
        text += [f"  {mark} {line}" for mark, line in problem.lines]
    failure = SubElement(case, "failure", message=_clean(outcome.problems[0].title), type="failure")
    failure.text = _clean("\n".join(text))


def _count(element: Element, suites: Sequence[Element]) -> None:
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", str(sum(case.find("error") is not None for case in cases)))
    element.set("skipped", "0")
    element.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")


def _clean(text: str) -> str:
    """``text`` with what XML cannot hold as ``\\x..``."""
    return _NOT_XML.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)
