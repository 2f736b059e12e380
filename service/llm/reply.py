"""The reply of OpenAI's chat protocol: chunks of a stream, or one JSON document.

Sans-IO. Strict about the fields that decide (text, tool calls, end and errors), lenient about all
others: `service.llm.decoding` has a module for each.
Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain import ToolCall, Usage
from service.errors import UpstreamBroken, UpstreamError
from service.llm.decoding.chunk import Choice, Delta, ReplyChunk
from service.llm.decoding.chunk_json import (
    LARGE_BYTES,
    decode_any,
    decode_chunk,
    decode_large_chunk,
    decode_other,
    find_chunks,
    is_end_marker,
)
from service.llm.decoding.content import Added, Content
from service.llm.decoding.finish import CUT_OFF, read_finish_reason
from service.llm.decoding.plain_chunks import PlainChunks
from service.llm.decoding.reasoning import read_content, read_reasoning
from service.llm.decoding.think_tags import ThinkTags, ThinkTagSplitter
from service.llm.decoding.usage import read_usage
from service.llm.failures import make_document_error, make_stream_error
from service.messages import join_tool_calls


@dataclass(slots=True)
class Reply:
    """The answer to one call so far.

    It fills while the answer arrives: an interrupted call leaves a part of it. It has ended with
    a `finish_reason`, OpenAI's or `error`, or when it is `done`: the end marker has arrived.
    """

    content: Content = field(default_factory=Content)
    was_sent: bool = False  # one that waits for a limit is not sent
    token_chunks: int = 0  # chunks with a token of the answer or of reasoning
    finish_reason: str = ""
    failure: UpstreamError | None = None  # that the reason for the end states
    response_id: str = ""
    response_model: str = ""
    done: bool = False
    has_message: bool = False  # a complete one, which needs no reason for its end
    plain: PlainChunks = field(default_factory=PlainChunks)
    _usage: Usage | None = None
    _document: tuple[int, Any] = (0, None)  # the last one without choices, and the tokens before
    _is_continued: bool = False  # output followed the reason for the end

    @classmethod
    def for_model(cls, think_tags: ThinkTags, model: str) -> Reply:
        """Return an empty reply of `model`; `think_tags` is the mode of its tags of reasoning."""
        return cls(Content(ThinkTagSplitter(think_tags, model)))

    @property
    def text(self) -> str:
        return "".join(self.content.parts)

    @property
    def reasoning(self) -> str:
        """The text of the model's reasoning, which is not a part of the answer."""
        return "".join(self.content.thoughts)

    @property
    def calls(self) -> Sequence[ToolCall]:
        """The pieces of tool calls."""
        return self.content.calls

    @property
    def has_ended(self) -> bool:
        """Whether the server has sent the reason for the end, or the end marker."""
        return self.done or bool(self.finish_reason)

    @property
    def usage(self) -> Usage | None:
        """The server's token counts; None without counts that can be true."""
        if self._usage and not self._usage.output_tokens and self.token_chunks:
            return None
        return self._usage

    def take(self, chunks: Sequence[bytes], model: str) -> Added:
        """Add the data of stream events, or an answer that is not streamed; return the difference.

        Stops at the first error: BadStream for damaged JSON, content that is no text and a too
        long answer, another UpstreamError for an error object. After the end they are ignored.
        """
        return self._collect(self._take_all, chunks, model)

    def take_plain(self, block: bytes) -> tuple[Added, int] | None:
        """Add the events at the start of `block` that are PlainChunks; return their bytes too."""
        found = self.plain.read(block)
        if found is None or not self.content.append_plain(found.text):
            return None
        self.token_chunks += found.chunks
        return Added(found.text, (), True, None), found.size

    def finish(self, model: str) -> Added:
        """Add the rest that waited for the end of the response.

        `error` is set unless the answer is complete.
        """
        return self._collect(self._finish, (), model)

    def _collect(
        self, add: Callable[[Sequence[bytes], str], None], chunks: Sequence[bytes], model: str
    ) -> Added:
        """Return what `add` adds."""
        content, tokens = self.content, self.token_chunks
        parts, calls, thoughts = len(content.parts), len(content.calls), len(content.thoughts)
        content.is_recalled, error = False, None
        try:
            add(chunks, model)
        except UpstreamError as failure:
            error = failure
        has_reasoning = len(content.thoughts) > thoughts
        return Added(
            "".join(content.parts[0 if content.is_recalled else parts :]),
            join_tool_calls(content.calls[calls:]) if len(content.calls) > calls else (),
            self.token_chunks > tokens,
            error,
            "".join(content.thoughts[thoughts:]) if has_reasoning else "",
            content.is_recalled and parts > 0,
        )

    def _take_all(self, chunks: Sequence[bytes], model: str) -> None:
        for data in chunks:
            try:
                self._take_data(data, model)
            except UpstreamError as error:
                if not self.has_ended or self._is_continued:
                    raise
                if self.failure:  # the server's sentence says more than its reason
                    self.failure = error
            if self.done:
                return

    def _take_data(self, data: bytes, model: str) -> None:
        try:
            decode = decode_chunk if len(data) <= LARGE_BYTES else decode_large_chunk
            chunk = decode(data)
        except (ValueError, RecursionError):
            self.done = is_end_marker(data)
            for chunk in () if self.done else decode_other(data, model):
                self._take_chunk(chunk, model)
            return
        tokens = self.token_chunks
        if tokens and not self.finish_reason and (text := chunk.get_plain_text()):
            self.token_chunks += 1
            self.content.add_text(text, model)
            self.plain.learn(data, text)
            return
        self._take_chunk(chunk, model)
        is_unusual = self.token_chunks == tokens and not self.finish_reason
        if (is_unusual or chunk.is_document) and len(data) <= LARGE_BYTES:
            self._take_unusual(data, model)

    def _take_unusual(self, data: bytes, model: str) -> None:
        """Take reasoning under other names, and errors in another form than OpenAI's."""
        value = decode_any(data)
        for chunk in find_chunks(value):
            if not chunk.choices:
                self._document = (self.token_chunks, value)
            if chunk.error:
                raise make_stream_error(chunk.error, model)
            for choice in (chunk.choices or ())[:1]:
                if choice.delta and choice.delta.reasoning_text:
                    self._take_message(choice.delta, model)
                elif choice.message and not self.content.thoughts:
                    self.content.add_reasoning(read_reasoning(choice.message.find_reasoning()))

    def _take_chunk(self, chunk: ReplyChunk, model: str) -> None:
        if chunk.usage is not None:
            self._take_usage(chunk.usage)
        if isinstance(chunk.x_groq, dict):
            self._take_usage(chunk.x_groq.get("usage"))
        if chunk.choices:
            self._take_choice(chunk.choices[0], model)
            if not self.response_id:
                self.response_id, self.response_model = chunk.read_identity()
        if chunk.error:
            raise make_stream_error(chunk.error, model)

    def _take_usage(self, value: Any) -> None:
        usage = read_usage(value)
        if usage and (usage.output_tokens or not self._usage):
            self._usage = usage

    def _take_choice(self, choice: Choice, model: str) -> None:
        if choice.delta is not None:
            self._take_message(choice.delta, model)
        elif choice.message is not None and (self.has_message or not self.token_chunks):
            self.has_message = True
            self._take_message(choice.message, model)
        if choice.usage is not None:
            self._take_usage(choice.usage)
        if choice.finish_reason is not None:
            self._take_finish(choice.finish_reason, model)
        if choice.error:
            raise make_stream_error(choice.error, model)

    def _take_finish(self, value: Any, model: str) -> None:
        finish = read_finish_reason(value)
        if finish and (not self.finish_reason or self._is_continued):
            self.finish_reason, self._is_continued = finish.reason, False
            sentence = f"{model} broke off its answer with the reason {finish.native}."
            self.failure = finish.failure(sentence) if finish.failure else None

    def _take_message(self, delta: Delta, model: str) -> None:
        """Add the message or the piece of one."""
        content = delta.content or delta.find_refusal()
        thoughts = delta.find_reasoning()
        calls = delta.tool_calls or delta.function_call
        if type(content) is not str and content:
            content, inner = read_content(content)
            thoughts = [thoughts, inner] if inner else thoughts
        if not (content or thoughts or calls):
            return
        self.token_chunks += 1
        self._is_continued = self._is_continued or self.has_ended
        if thoughts:
            self.content.add_reasoning(read_reasoning(thoughts))
        if content:
            self.content.add_text(content, model)
        if calls:
            self.content.add_calls(delta.tool_calls, delta.function_call, model)

    def _finish(self, _chunks: Sequence[bytes], model: str) -> None:
        is_complete, is_cut_off = self.has_ended or self.has_message, self.finish_reason in CUT_OFF
        self.content.finish(model, is_cut_off=is_cut_off, is_complete=is_complete)
        if self.failure:
            failure, self.failure = self.failure, None  # its frames refer to this
            raise failure
        if not is_complete:
            tokens, document = self._document
            document = document if tokens == self.token_chunks else None
            error = make_document_error(document, model, is_all=not tokens)
            raise error or UpstreamBroken(f"{model} ended its answer before it was complete.")
        if self.finish_reason not in CUT_OFF:
            self.finish_reason = "tool_calls" if self.calls else "stop"
            self.content.accept_open_reasoning()
