"""One call to a model: the `chat <model>` CLIENT span and the `gen_ai_client_*` metrics.

Lasts to the last chunk of the stream; one per attempt; nothing is recorded per token.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind

from telemetry import semconv
from telemetry.spans.content import content_attributes
from telemetry.spans.operation import Attributes, Recorder, TimedSpan


class ChatOperation(TimedSpan):
    """One attempt at one model."""

    __slots__ = ("_first_chunk_at", "_model", "_provider")

    def __init__(
        self,
        recorder: Recorder,
        parent: Context,
        model: str,
        provider: str,
        attributes: Attributes,
    ) -> None:
        name = f"{semconv.OPERATION_CHAT} {model}"
        super().__init__(recorder, name, parent, attributes, SpanKind.CLIENT)
        self._model = model
        self._provider = provider
        self._first_chunk_at: float | None = None

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Make the span current while the request is sent; never across a `yield`.

        The HTTP client's own span then nests under this one.
        """
        if not self._recorder.is_exporting:
            yield
            return
        token = attach(self._context)
        try:
            yield
        finally:
            detach(token)

    def record_first_chunk(self) -> None:
        """Note that the first chunk is there; only the first call counts."""
        if self._first_chunk_at is None and not self._ended:
            self._first_chunk_at = perf_counter()

    @property
    def captures_content(self) -> bool:
        """Whether to call `record_content`."""
        return self._recorder.captures_content and self._span.is_recording()

    def record_content(
        self, asked: Iterable[tuple[str, str]], answer: str, finish_reason: str
    ) -> None:
        """Put prompts and answer on the span; `asked` holds pairs of role and text."""
        self._span.set_attributes(content_attributes(asked, answer, finish_reason))

    def finish(
        self,
        *,
        error_type: str | None = None,
        message: str = "",
        cancelled: bool = False,
        response_id: str = "",
        response_model: str = "",
        finish_reason: str = "",
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        chunks: int = 0,
    ) -> None:
        """End the call; only the first call counts. Cancelled on purpose is never an error."""
        if self._ended:
            return
        self._ended = True
        ended_at = perf_counter()
        error = "" if cancelled else error_type or ""
        well = not (cancelled or error)
        self._measure(response_model, error, ended_at, chunks if well else 0)
        self._count_tokens(response_model, input_tokens, output_tokens)
        ends: Attributes = {
            semconv.RESPONSE_ID: response_id,
            semconv.RESPONSE_MODEL: response_model,
            semconv.FINISH_REASONS: [finish_reason] if finish_reason else None,
            semconv.TIME_TO_FIRST_CHUNK: self._to_first_chunk(),
            semconv.INPUT_TOKENS: input_tokens,
            semconv.OUTPUT_TOKENS: output_tokens,
            semconv.CACHED_TOKENS: cached_tokens,
            semconv.REASONING_TOKENS: reasoning_tokens,
            semconv.CHUNKS: chunks or None,
        }
        self._end(error=error, cancelled=cancelled, attributes=ends, message=message)

    def _to_first_chunk(self) -> float | None:
        if self._first_chunk_at is None:
            return None
        return self._first_chunk_at - self._started

    def _labels(self, response_model: str) -> tuple[str, str, str, str]:
        return semconv.OPERATION_CHAT, self._provider, self._model, response_model

    def _measure(self, response_model: str, error: str, ended_at: float, chunks: int) -> None:
        metrics = self._recorder.metrics
        labels = self._labels(response_model)
        self._observe(metrics.call_duration.child(*labels, error), ended_at - self._started)
        to_first_chunk = self._to_first_chunk()
        if to_first_chunk is None or self._first_chunk_at is None:
            return
        self._observe(metrics.call_first_chunk.child(*labels), to_first_chunk)
        if chunks > 1:
            # The mean, once a call: a stream has thousands of chunks.
            mean = (ended_at - self._first_chunk_at) / (chunks - 1)
            metrics.call_per_chunk.child(*labels).observe(mean)

    def _count_tokens(self, response_model: str, sent: int | None, received: int | None) -> None:
        family = self._recorder.metrics.token_usage
        labels = self._labels(response_model)
        for token_type, count in ((semconv.TYPE_INPUT, sent), (semconv.TYPE_OUTPUT, received)):
            if count is not None:
                family.child(*labels, token_type).observe(count)
