"""The reader of questions files: JSON Lines in UTF-8; every broken line is reported.

Source of the format: https://jsonlines.org
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.evaluation.questions.line import parse_line
from service.evaluation.questions.question import Question

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_QUESTIONS = 100_000
_MOST_LISTED = 20  # faults in a message

SAMPLE_FILE = Path(__file__).parent.parent / "sample" / "questions.jsonl"


@dataclass(frozen=True, slots=True)
class LineFault:
    """The reason why a line is refused; `line` counts from 1, and is 0 for the file itself."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}." if self.line else f"{self.reason}."


class QuestionsFileError(Exception):
    """A questions file that is refused, with all of its broken lines."""

    def __init__(self, path: Path, faults: Sequence[LineFault]) -> None:
        listed = [f"{path}: {fault}" for fault in faults[:_MOST_LISTED]]
        if len(faults) > _MOST_LISTED:
            listed.append(f"{path}: {len(faults) - _MOST_LISTED} more broken lines.")
        super().__init__("\n".join(listed))
        self.faults = tuple(faults)


def read_questions(path: Path) -> tuple[Question, ...]:
    """Return the questions of a file. Raises QuestionsFileError, also if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror or error}"
        raise QuestionsFileError(path, [LineFault(0, reason)]) from error
    questions, faults = parse_questions(data)
    if faults:
        raise QuestionsFileError(path, faults)
    return questions


def parse_questions(data: bytes) -> tuple[tuple[Question, ...], Sequence[LineFault]]:
    """Return the questions in the content of a file, and the faults of its broken lines."""
    if fault := _find_file_fault(data):
        return (), [LineFault(0, fault)]
    questions: dict[int, Question] = {}
    faults: list[LineFault] = []
    for number, line in _split_lines(data):
        try:
            questions[number] = _parse_bytes(line, number)
        except ValueError as error:
            faults.append(LineFault(number, str(error)))
    faults += _find_repetitions(questions)
    return tuple(questions.values()), sorted(faults, key=lambda fault: fault.line)


def _find_file_fault(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        return f"the file is larger than {MAX_FILE_BYTES:,} bytes"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "the file is UTF-16; store it as UTF-8"
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        return "the file has no question"
    if data.count(b"\n") > MAX_QUESTIONS:
        return f"the file has more than {MAX_QUESTIONS:,} lines"
    return ""


def _split_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, without a byte order mark and blank lines at the end.

    Only LF and CRLF end a line: JSON strings may contain U+2028.
    """
    yield from enumerate(data.removeprefix(b"\xef\xbb\xbf").rstrip(b" \t\r\n").split(b"\n"), 1)


def _parse_bytes(line: bytes, number: int) -> Question:
    line = line.strip(b" \t\r")
    if not line:
        raise ValueError("it is blank")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not valid UTF-8 at byte {error.start + 1}") from error
    return parse_line(text, default_id=f"line-{number}")


def _find_repetitions(questions: dict[int, Question]) -> Iterator[LineFault]:
    """Yield a fault for each id and each text that an earlier line has: each counts once."""
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    for number, question in questions.items():
        first = ids.setdefault(question.id, number)
        same = texts.setdefault(" ".join(question.text.split()), number)
        if first != number:
            yield LineFault(number, f"its id `{question.id}` is that of line {first}")
        elif same != number:
            yield LineFault(number, f"its question is that of line {same}")
