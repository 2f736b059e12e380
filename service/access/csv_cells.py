"""Tables as CSV that a spreadsheet program does not execute. No I/O."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

# A cell that starts with one of these is a formula.
# Source: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def encode_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a header in RFC 4180's format.

    A text that a spreadsheet would read as a formula gets an apostrophe in front; None is empty.
    """
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([_neutralize(value) for value in row] for row in rows)
    return written.getvalue()


def _neutralize(value: object) -> object:
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
