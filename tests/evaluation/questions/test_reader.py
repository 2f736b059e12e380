"""Files of questions: kinds of references, and every broken line with its number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.evaluation.questions.question import (
    ExactReference,
    JsonReference,
    JudgedReference,
    NumericReference,
    Question,
    Selection,
    hash_questions,
)
from service.evaluation.questions.reader import (
    QuestionsFileError,
    parse_questions,
    read_questions,
)

GOOD = b'{"question": "How many legs has a spider?", "numeric": 8}'


def _fault(line: bytes | str) -> str:
    """Return the fault of a line that is the third of a file."""
    raw = line.encode() if isinstance(line, str) else line
    other = b'{"question": "Another one?", "exact": "yes"}'
    _, faults = parse_questions(b"\n".join([GOOD, other, raw, GOOD.replace(b"legs", b"eyes")]))
    assert [fault.line for fault in faults] == [3], faults
    return str(faults[0])


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"exact": " Paris "}, ExactReference(("Paris",))),
        ({"exact": ["Paris", "City of Light"]}, ExactReference(("Paris", "City of Light"))),
        ({"numeric": 8}, NumericReference(8.0)),
        ({"numeric": 3.14, "tolerance": 0.01}, NumericReference(3.14, 0.01)),
        ({"numeric": 0}, NumericReference(0.0)),
        ({"json": {"a": [1, None]}}, JsonReference({"a": [1, None]})),
        ({"json": []}, JsonReference([])),
        ({"judged": "Because of gravity."}, JudgedReference("Because of gravity.")),
        ({}, JudgedReference()),
    ],
)
def test_each_kind_of_reference_is_read(fields: dict[str, object], reference: object) -> None:
    questions, faults = parse_questions(json.dumps({"question": "A question?", **fields}).encode())
    assert not faults
    assert questions[0].reference == reference


def test_an_id_defaults_to_the_line_and_a_topic_to_general() -> None:
    (question,), _ = parse_questions(GOOD)
    assert (question.id, question.topic) == ("line-1", "general")


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbf" + GOOD, GOOD + b"\r\n", GOOD + b"\n\n \t\r\n\n", b"  " + GOOD + b"  "],
    ids=["byte order mark", "CRLF", "blank lines at the end", "spaces around"],
)
def test_common_forms_of_files_are_accepted(data: bytes) -> None:
    assert len(parse_questions(data)[0]) == 1


def test_a_line_separator_inside_a_string_ends_no_line() -> None:
    line = json.dumps({"question": "one\u2028two\u0085three"}, ensure_ascii=False)
    (question,), _ = parse_questions(line.encode())
    assert question.text == "one\u2028two\u0085three"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "blank"),
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"question": "x"} {"question": "y"}', "not valid JSON"),
        (b'{"question": "\xff"}', "not valid UTF-8 at byte 15"),
        ('{"question": "a\\u0000b"}', "U+0000"),
        ('{"question": "a\\ud800b"}', "surrogate"),
        ('{"question": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"question": "x", "numeric": NaN}', "NaN"),
        ('{"question": "x", "numeric": 1e999}', "too large"),
        ('{"question": "x", "numeric": ' + "9" * 400 + "}", "too large"),
        ('{"question": "x", "json": {"a": 1e999}}', "too large"),
        ('{"question": "x", "question": "y"}', "`question` is in one object twice"),
        ('{"question": "x", "json": {"a": 1, "a": 2}}', "`a` is in one object twice"),
        ('{"exact": "x"}', "question"),
        ('{"question": "  "}', "`question` is empty"),
        ('{"question": 5}', "`question`: expected `str`"),
        ('{"question": "x", "answer": "y"}', "unknown field `answer`"),
        ('{"question": "x", "exact": 5}', "`exact`: expected"),
        ('{"question": "x", "exact": ""}', "`exact` is empty"),
        ('{"question": "x", "exact": []}', "`exact` is empty"),
        ('{"question": "x", "exact": "?!"}', "letter or a digit"),
        ('{"question": "x", "exact": null}', "`exact` is null"),
        ('{"question": "x", "numeric": "5"}', "`numeric`: expected"),
        ('{"question": "x", "numeric": true}', "`numeric`: expected"),
        ('{"question": "x", "json": "5"}', "`json`: expected"),
        ('{"question": "x", "exact": "a", "numeric": 1}', "several reference answers"),
        ('{"question": "x", "exact": "a", "tolerance": 1}', "`tolerance` needs `numeric`"),
        ('{"question": "x", "numeric": 1, "tolerance": -1}', "negative"),
        ('{"question": "x", "judged": ""}', "`judged` is empty"),
        ('{"question": "x", "id": ""}', "`id` must be"),
        ('{"question": "x", "id": "a\\u001b[31m"}', "`id` must be"),
        ('{"question": "x", "topic": "' + "t" * 101 + '"}', "`topic` must be"),
        ('{"question": "x", "id": "line-1"}', "its id `line-1` is that of line 1"),
        ('{"question": "How many  legs has a spider?"}', "its question is that of line 1"),
        (json.dumps({"question": "x" * 100_001}), "longer than"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_line_is_refused_with_its_number(line: bytes | str, reason: str) -> None:
    fault = _fault(line)
    assert fault.startswith("line 3: ")
    assert reason in fault


def test_all_broken_lines_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_bytes(b"\n".join([b"oops", GOOD, b"[]"]))
    with pytest.raises(QuestionsFileError) as refused:
        read_questions(file)
    assert [fault.line for fault in refused.value.faults] == [1, 3]
    assert f"{file}: line 1: " in str(refused.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "no question"), (b"\n \n", "no question"), (GOOD.decode().encode("utf-16"), "UTF-16")],
)
def test_a_file_without_lines_of_questions_is_refused(data: bytes, reason: str) -> None:
    assert reason in str(parse_questions(data)[1][0])


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(QuestionsFileError, match="cannot be read"):
            read_questions(path)


def _questions(count: int) -> list[Question]:
    return [
        Question(id=str(n), text=f"{n}?", topic="ab"[n % 2], reference=JudgedReference())
        for n in range(count)
    ]


def test_a_limit_chooses_the_same_questions_for_the_same_seed_in_the_files_order() -> None:
    questions = _questions(40)
    chosen = Selection(limit=10, seed=3).choose(questions)
    assert chosen == Selection(limit=10, seed=3).choose(questions)
    assert list(chosen) == sorted(chosen, key=lambda each: int(each.id))
    assert chosen != Selection(limit=10, seed=4).choose(questions)


def test_topics_restrict_the_questions_before_the_limit() -> None:
    chosen = Selection(topics=frozenset("a"), limit=20).choose(_questions(40))
    assert {each.topic for each in chosen} == {"a"}
    assert len(chosen) == 20


def test_the_hash_changes_with_every_field_of_a_question() -> None:
    base = Question(id="1", text="x", reference=NumericReference(1.0))
    others = [
        Question(id="2", text="x", reference=NumericReference(1.0)),
        Question(id="1", text="y", reference=NumericReference(1.0)),
        Question(id="1", text="x", topic="t", reference=NumericReference(1.0)),
        Question(id="1", text="x", reference=NumericReference(1.0, 0.1)),
        Question(id="1", text="x", reference=ExactReference(("1",))),
    ]
    assert len({hash_questions([each]) for each in [base, *others]}) == 6
