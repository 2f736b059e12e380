"""Request bodies and the headers that come with them: read, limited and validated."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails
from quart import current_app, request

from service.api.http.body_limits import turn_of
from service.api.http.body_size import check_structure, check_text_size
from service.api.http.surrogates import replace_lone_surrogates
from service.errors import FieldError, RequestError
from service.runs.settings import IdempotencyKey

_NAMED_FAULTS = 8  # in the sentence of an error; `details` has more
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_POSITION = re.compile(r"(?P<run>[A-Za-z0-9_]{1,64})-(?P<seq>\d{1,9})")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


AnyText = Annotated[
    str, AfterValidator(_no_nul), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})
]


def _not_dots(text: str) -> str:
    if text in {".", ".."}:
        raise ValueError("must not be . or ..")
    return text


def _integral(number: Any) -> Any:
    return int(number) if isinstance(number, float) and number.is_integer() else number


# The same rule as a pattern, for the description of the API.
TEXT_PATTERN = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
Text = Annotated[
    str,
    AfterValidator(_no_nul),
    AfterValidator(_not_blank),
    Field(json_schema_extra={"pattern": TEXT_PATTERN}),
]
Label = Annotated[Text, StringConstraints(max_length=256)]
# Is sent in headers and paths.
# `.` and `..` are removed from paths by clients, so a resource of that name has no address.
IDENTIFIER_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,128}$"
Identifier = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$"),
    AfterValidator(_not_dots),
    Field(json_schema_extra={"pattern": IDENTIFIER_PATTERN}),
]
# An ensemble, or one agent as `agent/<name>`.
EnsembleName = Annotated[
    str,
    StringConstraints(pattern=r"^(agent/)?[A-Za-z0-9._:-]{1,128}$"),
    AfterValidator(_not_dots),
    Field(json_schema_extra={"pattern": r"^(?!\.{1,2}$)(agent/)?[A-Za-z0-9._:-]{1,128}$"}),
]
# JSON has one kind of number: 5.0 equals 5.
Tokens = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_integral)]


class Body(BaseModel):
    """A request body: strict types, no unknown fields."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True
    )

    @property
    def media_bytes(self) -> int:
        """The size of its images and other media, which the limit for text does not count."""
        return 0


BodyT = TypeVar("BodyT", bound=Body)


async def read_body(model: type[BodyT]) -> BodyT:
    """Return the JSON body as `model`.

    Raises RequestError 415 for another media type and for a compressed body, 400 for a body that
    does not validate, 413 for too much text; Quart raises 413 past the limit of the address and
    408 past BODY_TIMEOUT.
    """
    _check_content_coding()
    kind = request.mimetype
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise RequestError(
            "unsupported_media_type", "Send JSON with Content-Type: application/json."
        )
    data = await request.get_data(as_text=False)
    if _is_cancelled():
        # Quart reads bodies with wait_for, which on Python 3.11 loses a cancellation that arrives
        # together with the body: the handler of a disconnected client would never end.
        raise asyncio.CancelledError
    limit_bytes: int = current_app.config["MAX_CONTENT_LENGTH"]
    async with turn_of(len(data)):
        body = parse_body(model, data, limit_bytes)
    check_text_size(len(data) - body.media_bytes, limit_bytes)
    return body


def _is_cancelled() -> bool:
    # A function, because the task's error refers to the frames that it passed.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def parse_body(model: type[BodyT], data: str | bytes, limit_bytes: int | None = None) -> BodyT:
    """Return JSON text as `model`. Raises RequestError 400, and 413 as `check_structure` does."""
    encoded = data.encode() if isinstance(data, str) else data.removeprefix(b"\xef\xbb\xbf")
    check_structure(encoded, limit_bytes)
    try:
        return model.model_validate_json(replace_lone_surrogates(encoded))
    except ValidationError as error:
        raise _request_error(error) from None


def _check_content_coding() -> None:
    """Raise RequestError 415 for a compressed body: only its sender knows its size.

    Source: RFC 9110, 15.5.16
    """
    codings = [each.strip() for each in request.headers.get("Content-Encoding", "").split(",")]
    unsupported = [each for each in codings if each and each.lower() != "identity"]
    if unsupported:
        shown = ", ".join(unsupported).encode("ascii", "backslashreplace").decode()[:64]
        raise RequestError(
            "unsupported_media_type",
            f"The body has the Content-Encoding {shown}, which is not supported: "
            "send it uncompressed.",
            headers={"Accept-Encoding": "identity"},
        )


def idempotency_key(body: Body, *format_fields: str) -> IdempotencyKey | None:
    """Return the request's Idempotency-Key with a fingerprint of `body`, if it has one.

    `format_fields` of the body select the format of the response; the fingerprint omits them.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise RequestError(
            "bad_idempotency_key", "Idempotency-Key must be 1 to 255 visible ASCII characters."
        )
    question = body.model_dump_json(exclude=set(format_fields))
    fingerprint = hashlib.sha256(question.encode()).digest()
    return IdempotencyKey(key, fingerprint)


def parse_event_id(event_id: str) -> tuple[str, int]:
    """Return run id and sequence number of an event id such as `run_0190…-7`.

    Raises RequestError 400.
    """
    match = _POSITION.fullmatch(event_id.strip())
    if not match:
        raise RequestError(
            "bad_last_event_id", "Last-Event-ID must be the id of an event of a run."
        )
    return match["run"], int(match["seq"])


def _request_error(error: ValidationError) -> RequestError:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        why = str(faults[0]["msg"]).removeprefix("Invalid JSON: ")
        return RequestError("bad_json", f"The body is not valid JSON: {why}.")
    details = [FieldError(_path(fault["loc"]), _describe(fault)) for fault in faults[:20]]
    return invalid_request(details)


def invalid_request(details: Sequence[FieldError], code: str = "bad_request") -> RequestError:
    """Return the error for a request with errors in these fields, each of which it names."""
    faults = [f"{each.field}: {each.message}" if each.field else each.message for each in details]
    more = f"; {len(faults) - _NAMED_FAULTS} more" if len(faults) > _NAMED_FAULTS else ""
    return RequestError(
        code, f"The request is not valid: {'; '.join(faults[:_NAMED_FAULTS])}{more}.", details
    )


def _path(loc: tuple[Any, ...]) -> str:
    # Parts in brackets name the alternatives of a type, which mean nothing to a caller.
    path = ".".join(str(part) for part in loc if not str(part).startswith("["))
    # The name of an unknown field is the caller's text: return it short and printable.
    return path.encode("ascii", "backslashreplace").decode()[:128]


def _describe(fault: ErrorDetails) -> str:
    if fault["type"].startswith(("datetime", "timezone")):
        return "must be a time with its offset from UTC, such as 2027-01-31T12:00:00Z"
    sentence = fault["msg"].removeprefix("Value error, ")
    if sentence == "Extra inputs are not permitted":
        return "this field is not known"
    if sentence == "Field required":
        return "this field is required"
    return sentence[:1].lower() + sentence[1:]
