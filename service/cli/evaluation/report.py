"""The report of an evaluation: its files in the folder of the results, and its output."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from service.evaluation.reports.document import write_json
from service.evaluation.reports.markdown import write_markdown
from service.evaluation.reports.plot import write_svg
from service.evaluation.reports.terminal import write_terminal_report
from service.evaluation.results import Evaluation

FILES: Final[Mapping[str, Callable[[Evaluation], str]]] = {
    "report.json": write_json,
    "report.md": write_markdown,
    "plot.svg": write_svg,
}


def write_files(evaluation: Evaluation, folder: Path) -> None:
    """Write the report in each form; a file is complete or as it was before. Raises OSError."""
    for name, write in FILES.items():
        new = folder / f".{name}.new"
        new.write_text(write(evaluation), "utf-8")
        new.replace(folder / name)


def format_report(evaluation: Evaluation, form: str) -> str:
    """Return the report for the standard output: as a table, Markdown or JSON."""
    if form == "json":
        return write_json(evaluation)
    if form == "markdown":
        return write_markdown(evaluation)
    return write_terminal_report(evaluation, shutil.get_terminal_size((120, 0)).columns)
