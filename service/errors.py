"""The expected failures, each with the code and the sentence that a client receives.

ServiceError
├── RequestError              the request is invalid, or refused in the current state
├── StorageUnavailable        the database cannot be used at present
├── RunError                  a run ends without a complete answer
├── RequestCorrected          a refused request is repeated in another form
└── UpstreamError             a model's server failed
    ├── MissingKey            no API key is configured for it
    ├── BudgetExceeded        not called: it could cost more than a budget has left
    ├── UpstreamUnreachable   no connection, or lost before the response started
    ├── UpstreamTimeout       a time limit of the agent passed
    ├── UpstreamRefused       status 4xx: a retry cannot succeed
    │   ├── UpstreamInvalidRequest   the content of the request is at fault
    │   └── UpstreamContextExceeded  the messages are too long for the model
    ├── UpstreamBusy          status 429, or another request to retry later
    ├── UpstreamFailed        status 5xx, or an error object in the stream
    ├── UpstreamBroken        the response ended before it was complete
    ├── UpstreamEmpty         the response was complete and had no text
    │   ├── TokensUsedUp      all its tokens were used before any text
    │   └── ContentFiltered   the server's filter removed all text
    ├── BadStream             the response violates the protocol
    ├── CircuitOpen           not called: its server has failed several times in a row
    └── EndpointLimited       not called: a limit of its endpoint is used up

Each becomes an event or an HTTP response in one place. Any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from telemetry import UnavailableReason


def end_sentence(text: str) -> str:
    """Return `text` with a full stop unless it has an end: many servers send none."""
    return text if text.rstrip()[-1:] in (*".!?:;。！？", "") else f"{text.rstrip()}."


class ServiceError(Exception):
    """A failure that clients may see: `code` is a slug, `str()` a sentence."""

    code: str = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def append(self, sentence: str) -> None:
        """Add a sentence to the message."""
        self.message = f"{end_sentence(self.message)} {sentence}"
        self.args = (self.message,)


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error in one field of a request; `field` is a dotted path."""

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
    """The database cannot be used at present. `reason` is locked, down, slow, full or schema."""

    code = "storage_unavailable"

    def __init__(
        self, message: str, *, reason: UnavailableReason = "slow", retry_after_s: float = 2.0
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RetryAdvice:
    """Whether a client that repeats a failed question can get an answer.

    It is useless after a permanent failure, and after retries by the service: those of the client
    would multiply them. `after_s` is the delay that the model server requests.
    """

    is_useful: bool = True
    after_s: float | None = None


class RunError(ServiceError):
    """A run ends without a complete answer. `source` is the name of the agent that failed."""

    def __init__(
        self,
        code: str,
        message: str,
        source: str = "service",
        *,
        retry: RetryAdvice = RetryAdvice(),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.source = source
        self.retry = retry


@dataclass(frozen=True, slots=True)
class ServerReport:
    """An error that a model's server reported; `has_status`: `status` is that of the response.

    `sentence` is its reason ("": none); `codes` and `fields` are those that it names. A refusal of
    too long messages may state the model's window and their tokens.
    """

    status: int | None = None
    sentence: str = ""
    fields: tuple[str, ...] = ()
    window_tokens: int | None = None
    prompt_tokens: int | None = None
    has_status: bool = False
    codes: tuple[str, ...] = ()


class RequestCorrected(ServiceError):
    """A model's server refused the form of a request, which is repeated in another; no failure."""

    code = "request_corrected"


class UpstreamError(ServiceError):
    """A model's server failed. `retryable` applies only before the first token."""

    code = "upstream_failed"
    retryable: ClassVar[bool] = False
    is_permanent: ClassVar[bool] = False  # another call of the same content fails the same way

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        report: ServerReport | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.report = report or ServerReport()


def drop_tracebacks(error: BaseException) -> None:
    """Remove the tracebacks of `error` and of the errors before it.

    A traceback holds the frames that the error passed, with all their variables. An error that
    stays in an object or a task after it was handled keeps them alive, and often is itself among
    them: then only the garbage collector can free both.
    """
    before: BaseException | None = error
    while before is not None:
        before.__traceback__ = None
        before = before.__cause__ or before.__context__


class MissingKey(UpstreamError):
    code = "missing_key"
    is_permanent = True


class BudgetExceeded(UpstreamError):
    code = "budget_exceeded"
    is_permanent = True


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    retryable = True


class UpstreamTimeout(UpstreamError):
    code = "upstream_timeout"


class UpstreamRefused(UpstreamError):
    code = "upstream_refused"
    is_permanent = True


class UpstreamInvalidRequest(UpstreamRefused):
    code = "upstream_invalid_request"


class UpstreamContextExceeded(UpstreamRefused):
    code = "context_length_exceeded"


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
    is_permanent = True


class TokensUsedUp(UpstreamEmpty):
    code = "tokens_used_up"


class ContentFiltered(UpstreamEmpty):
    code = "content_filtered"


class BadStream(UpstreamError):
    code = "upstream_bad_stream"


class CircuitOpen(UpstreamError):
    code = "circuit_open"


class EndpointLimited(UpstreamError):
    code = "endpoint_limited"
    is_shared = True  # with all models of the endpoint
