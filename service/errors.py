"""Every expected failure as a type, with the code and sentence a user sees.

ServiceError
├── RequestError              the caller's mistake, or a state of the service that refuses it
├── StorageUnavailable        the database cannot be used for now
├── RunError                  a run that cannot give an answer
└── UpstreamError             a model's server let us down
    ├── MissingKey            no credential is configured for it
    ├── UpstreamUnreachable   no connection, or lost before the response began
    ├── UpstreamTimeout       a deadline of ours passed
    ├── UpstreamRefused       it answered 4xx: asking again cannot help
    ├── UpstreamBusy          it answered 429 or asked us to come back later
    ├── UpstreamFailed        it answered 5xx or sent an error object
    ├── UpstreamBroken        the response broke off or ended before it was complete
    ├── UpstreamEmpty         it was complete and had no text
    └── BadStream             it sent something that is not the protocol

Raised where they happen; turned into an event or an HTTP response in one place. What is not
one of these is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from telemetry import UnavailableReason


class ServiceError(Exception):
    """A failure the user can be told about: `code` is a slug, `str()` a sentence."""

    code: str = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request; `field` is a dotted path."""

    field: str
    message: str


class RequestError(ServiceError):
    """A request that is refused. `service/api/http/errors.py` maps `code` to a status."""

    def __init__(
        self,
        code: str,
        message: str,
        details: Sequence[FieldError] = (),
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.headers = headers or {}


class StorageUnavailable(ServiceError):
    """The database cannot be used for now. `reason` is locked, down, slow, full or schema."""

    code = "storage_unavailable"

    def __init__(
        self, message: str, *, reason: UnavailableReason = "slow", retry_after_s: float = 2.0
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class RunError(ServiceError):
    """A run that ends without a whole answer. `source` names who failed."""

    def __init__(self, code: str, message: str, source: str = "service") -> None:
        super().__init__(message)
        self.code = code
        self.source = source


class UpstreamError(ServiceError):
    """A model's server let us down. `retryable` only ever matters before the first token."""

    code = "upstream_failed"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MissingKey(UpstreamError):
    code = "missing_key"


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    retryable = True


class UpstreamTimeout(UpstreamError):
    code = "upstream_timeout"


class UpstreamRefused(UpstreamError):
    code = "upstream_refused"


class UpstreamBusy(UpstreamError):
    code = "upstream_busy"
    retryable = True


class UpstreamFailed(UpstreamError):
    code = "upstream_failed"
    retryable = True


class UpstreamBroken(UpstreamError):
    code = "upstream_incomplete"
    retryable = True


class UpstreamEmpty(UpstreamError):
    code = "upstream_empty"


class BadStream(UpstreamError):
    code = "upstream_bad_stream"
