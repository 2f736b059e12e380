"""The examples and tables of docs/evaluation.md."""

from __future__ import annotations

import re

from service.evaluation.questions.line import parse_line
from service.evaluation.questions.reader import parse_questions
from service.evaluation.reports.document import make_document
from service.evaluation.results import Evaluation
from service.mock_llm.script import Script
from tests._support.evaluation.mock_evaluations import INPUTS
from tests._support.paths import ROOT

_PAGE = (ROOT / "docs" / "evaluation.md").read_text("utf-8")


def _section(title: str) -> str:
    return _PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_questions_of_the_page_are_read() -> None:
    lines = [line for line in _section("The questions").splitlines() if line.startswith("{")]
    questions, faults = parse_questions("\n".join(lines).encode())
    assert not faults
    assert len(questions) == len(lines) > 5


def test_the_page_lists_every_field_of_a_question_and_no_other() -> None:
    rows = re.findall(r"^\| (`.+?) \|", _section("The questions"), re.M)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    values: dict[str, str] = {"id": '"a"', "topic": '"t"', "exact": '"x"', "numeric": "1"}
    values |= {"json": "[]", "judged": '"x"', "tolerance": '1, "numeric": 1'}
    for name in listed - {"question"}:
        parse_line(f'{{"question": "x", "{name}": {values[name]}}}', "line-1")
    assert listed == {"question", *values}


def test_the_page_lists_every_field_of_the_json_report() -> None:
    rows = re.findall(r"^\| (`.+?) \|", _section("The JSON report"), re.M)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    document = make_document(Evaluation(inputs=INPUTS, questions=(), contestants=()))
    assert listed == set(document) - {"schema"}


def test_the_options_of_the_page_are_those_of_the_mock() -> None:
    rows = re.findall(r"^\| (`.+?) \|", _section("A mock with a known truth"), re.M)
    listed = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert listed <= set(Script.__struct_fields__)
    assert {"skill", "judge", "combine", "shared", "nonsense"} <= listed
