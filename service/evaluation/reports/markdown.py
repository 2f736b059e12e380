"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from service.evaluation.reports.plain_text import escape_markdown
from service.evaluation.reports.sections import Section, make_sections
from service.evaluation.results import Evaluation


def write_markdown(evaluation: Evaluation) -> str:
    """Return the report as a Markdown page. Texts of models cannot add markup or links."""
    lines = ["# Evaluation", ""]
    for section in make_sections(evaluation):
        lines += _write_section(section)
    return "\n".join(lines)


def _write_section(section: Section) -> Iterator[str]:
    yield from (f"## {escape_markdown(section.title)}", "")
    if len(section.sentences) > 1:
        yield from (f"- {escape_markdown(sentence)}" for sentence in section.sentences)
        yield ""
    elif section.sentences:
        yield from (escape_markdown(section.sentences[0]), "")
    if section.rows:
        yield _write_row(section.header)
        yield "|" + "---|" * len(section.header)
        yield from (_write_row(row) for row in section.rows)
        yield ""


def _write_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(escape_markdown(cell) or ' ' for cell in cells)} |"
