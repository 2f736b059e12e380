"""One call to a model: the `chat <model>` CLIENT span and the `gen_ai_client_*` metrics.

Each attempt has its own span, which lasts until the last chunk. Nothing is recorded per token.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind

from telemetry import semconv
from telemetry.spans.content import build_content_attributes
from telemetry.spans.operation import Attributes, Recorder, TimedSpan


class ChatOperation(TimedSpan):
    """One attempt to call a model."""

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
        """Make the span current while the request is sent, so that the HTTP span is its child.

        Do not use it around the `yield` of an async generator.
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
        """Record the arrival of the first chunk; later calls do nothing."""
        if self._first_chunk_at is None and not self._ended:
            self._first_chunk_at = perf_counter()

    @property
    def captures_content(self) -> bool:
        """Whether to call `record_content`."""
        return self._recorder.captures_content and self._span.is_recording()

    def record_content(
        self, messages: Iterable[tuple[str, str]], answer: str, finish_reason: str
    ) -> None:
        """Add prompts and answer to the span; `messages` holds pairs of role and text."""
        self._span.set_attributes(build_content_attributes(messages, answer, finish_reason))

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
        """End the call; later calls do nothing. A cancelled call is not an error."""
        if self._ended:
            return
        self._ended = True
        ended_at = perf_counter()
        error = "" if cancelled else error_type or ""
        succeeded = not (cancelled or error)
        self._measure(response_model, error, ended_at, chunks if succeeded else 0)
        self._count_tokens(response_model, input_tokens, output_tokens)
        final: Attributes = {
            semconv.RESPONSE_ID: response_id,
            semconv.RESPONSE_MODEL: response_model,
            semconv.FINISH_REASONS: [finish_reason] if finish_reason else None,
            semconv.TIME_TO_FIRST_CHUNK: self._time_to_first_chunk_s(),
            semconv.INPUT_TOKENS: input_tokens,
            semconv.OUTPUT_TOKENS: output_tokens,
            semconv.CACHED_TOKENS: cached_tokens,
            semconv.REASONING_TOKENS: reasoning_tokens,
            semconv.CHUNKS: chunks or None,
        }
        self._end(error=error, cancelled=cancelled, attributes=final, message=message)

    def _time_to_first_chunk_s(self) -> float | None:
        if self._first_chunk_at is None:
            return None
        return self._first_chunk_at - self._started

    def _build_labels(self, response_model: str) -> tuple[str, str, str, str]:
        return semconv.OPERATION_CHAT, self._provider, self._model, response_model

    def _measure(self, response_model: str, error: str, ended_at: float, chunks: int) -> None:
        metrics = self._recorder.metrics
        labels = self._build_labels(response_model)
        self._observe(metrics.call_duration.child(*labels, error), ended_at - self._started)
        to_first_chunk = self._time_to_first_chunk_s()
        if to_first_chunk is None or self._first_chunk_at is None:
            return
        self._observe(metrics.call_first_chunk.child(*labels), to_first_chunk)
        if chunks > 1:
            # The mean, observed once per call, since a stream has thousands of chunks.
            mean = (ended_at - self._first_chunk_at) / (chunks - 1)
            metrics.call_per_chunk.child(*labels).observe(mean)

    def _count_tokens(
        self, response_model: str, input_tokens: int | None, output_tokens: int | None
    ) -> None:
        family = self._recorder.metrics.token_usage
        labels = self._build_labels(response_model)
        for token_type, count in (
            (semconv.TYPE_INPUT, input_tokens),
            (semconv.TYPE_OUTPUT, output_tokens),
        ):
            if count is not None:
                family.child(*labels, token_type).observe(count)
