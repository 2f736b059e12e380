"""The report as plain text for a terminal."""

from __future__ import annotations

from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.evaluation.reports.plain_text import flatten
from service.evaluation.reports.sections import Section, make_sections
from service.evaluation.results import Evaluation

LEAST_WIDTH = 60


def write_terminal_report(evaluation: Evaluation, width: int = 120) -> str:
    """Return the report for a terminal of `width` columns, without any escape sequence."""
    output = StringIO()
    console = Console(
        file=output, width=max(width, LEAST_WIDTH), color_system=None, force_terminal=False
    )
    for section in make_sections(evaluation):
        _print_section(console, section)
    return output.getvalue()


def _print_section(console: Console, section: Section) -> None:
    console.print(Text(f"== {flatten(section.title)} =="))
    for sentence in section.sentences:
        console.print(Text(flatten(sentence)))
    if section.rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in section.header:
            table.add_column(Text(flatten(name)), overflow="fold")
        for row in section.rows:
            table.add_row(*(Text(flatten(cell)) for cell in row))
        console.print(table)
    console.print()
