"""Query parameters of reports, and CSV that a spreadsheet does not execute."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime

import pytest
from quart import Quart

from service.access.csv_cells import encode_csv
from service.api.usage.parameters import DayParam, DimensionsParam, MomentParam, wants_csv
from service.errors import RequestError

_DAY = DayParam("from", "A day.")
_MOMENT = MomentParam("from", "A moment.")
_BY = DimensionsParam("by", "Dimensions.")
_INVALID_DAYS = (
    "", "2026-13-01", "2026-02-30", "20261126", "2026-W01-1", "1969-12-31", "9999-12-31",
    " 2026-11-26", "2026-11-26\n", "२०२६-११-२६", "2026-11-26T00:00:00Z",
)  # fmt: skip


async def _read(query: dict[str, str], param: DayParam | MomentParam) -> object:
    app = Quart(__name__)
    async with app.test_request_context("/", query_string=query):
        return param.read_optional()


@pytest.mark.parametrize("value", _INVALID_DAYS)
async def test_an_invalid_day_is_refused(value: str) -> None:
    with pytest.raises(RequestError):
        await _read({"from": value}, _DAY)


async def test_a_day_and_a_moment_are_read_in_utc() -> None:
    assert await _read({"from": "2026-02-28"}, _DAY) == date(2026, 2, 28)
    assert await _read({}, _DAY) is None
    noon = datetime(2026, 2, 28, 12, tzinfo=UTC)
    for value in ("2026-02-28T12:00Z", "2026-02-28T14:00:00+02:00", "2026-02-28T12:00:00.0"):
        assert await _read({"from": value}, _MOMENT) == noon


@pytest.mark.parametrize(
    "value", ["yesterday", "2026-02-28T25:00Z", "2026-02-28 12:00", "2026-02-28T12:00:00+99:00"]
)
async def test_an_invalid_moment_is_refused(value: str) -> None:
    with pytest.raises(RequestError):
        await _read({"from": value}, _MOMENT)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", ()), ("day", ("day",)), ("user,day", ("user", "day"))],
)
async def test_dimensions_are_read_in_their_order(value: str, expected: tuple[str, ...]) -> None:
    async with Quart(__name__).test_request_context("/", query_string={"by": value}):
        assert _BY.read() == expected


@pytest.mark.parametrize("value", ["week", "day,day", "day,", ",", "owner; DROP TABLE runs"])
async def test_unknown_and_repeated_dimensions_are_refused(value: str) -> None:
    async with Quart(__name__).test_request_context("/", query_string={"by": value}):
        with pytest.raises(RequestError):
            _BY.read()


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("text/csv", {}, True),
        ("*/*", {}, False),
        ("text/csv", {"format": "json"}, False),
        ("", {"format": "csv"}, True),
    ],
)
async def test_csv_is_selected_by_the_query_or_the_header(
    accept: str, query: dict[str, str], expected: bool
) -> None:
    app = Quart(__name__)
    async with app.test_request_context("/", headers={"Accept": accept}, query_string=query):
        assert wants_csv() is expected


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", " =", "＝"])
def test_a_cell_that_a_spreadsheet_would_execute_is_text(start: str) -> None:
    formula = f'{start}HYPERLINK("http://x";"y")'
    ((cell, number),) = list(csv.reader(io.StringIO(encode_csv(["a", "b"], [[formula, -1]]))))[1:]
    assert cell == f"'{formula}".replace("\r\n", "\n")
    assert number == "-1"
