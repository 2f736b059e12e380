"""Request bodies of OpenAI's chat completions; invalid ones are refused as OpenAI refuses them.

Defines the fields and their rules; tools and response formats are in `tools.py`.
Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from service.mock_llm.text import Prompt, count_tokens
from service.mock_llm.tools import CalledTool, MockTool, NamedTool, ResponseFormat

_PositiveInt = Annotated[int, Meta(ge=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_STARTS = ("https://", "http://", "data:image/")


class BadRequestError(Exception):
    """A request that OpenAI refuses with 400; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class MockTextPart(Struct, tag="text", tag_field="type"):
    """Text in a message."""

    text: str


class RefusalPart(Struct, tag="refusal", tag_field="type"):
    """A refusal in an assistant's message."""

    refusal: str


class _ImageUrl(Struct):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Struct, tag="image_url", tag_field="type"):
    """An image in a user's message; the mock only counts images."""

    image_url: _ImageUrl


class AudioPart(Struct, tag="input_audio", tag_field="type"):
    """Audio in a user's message, which the mock ignores."""

    input_audio: dict[str, str]


class FilePart(Struct, tag="file", tag_field="type"):
    """A file in a user's message, which the mock ignores."""

    file: dict[str, str]


Part = MockTextPart | RefusalPart | ImagePart | AudioPart | FilePart


class ChatMessage(Struct):
    """One message in OpenAI's format."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: list[CalledTool] = []
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The joined text of all parts."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if isinstance(part, MockTextPart))
        return self.content or ""

    @property
    def images(self) -> Sequence[str]:
        """The URLs of the images."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.image_url.url for part in parts if isinstance(part, ImagePart)]


class MockStreamOptions(Struct):
    """The options that the mock supports; as in all classes here, other fields are ignored."""

    include_usage: bool = False


class MockRequest(Struct):
    """A body of `POST /chat/completions`."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: MockStreamOptions | None = None
    max_tokens: _PositiveInt | None = None
    max_completion_tokens: _PositiveInt | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    # OpenAI allows up to 128 choices; the mock supports one.
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    seed: int | None = None
    tools: Annotated[list[MockTool], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    @property
    def question(self) -> str:
        """The last message of the user."""
        return self._users()[-1] if self._users() else ""

    @property
    def prompt_tokens(self) -> int:
        """The number of words in all messages."""
        return sum(count_tokens(message.text) for message in self.messages)

    @property
    def token_limit(self) -> int | None:
        """The requested limit, under its new or its old name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """True if a stream must end with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> Sequence[str]:
        """The texts that end the answer before them."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def tool_results(self) -> Sequence[ChatMessage]:
        """The tool results after the last message of the user."""
        results: list[ChatMessage] = []
        for message in self.messages:
            if message.role == "tool":
                results.append(message)
            elif message.role == "user":
                results.clear()
        return results

    def prompt(self, seed: int) -> Prompt:
        """Return the input for the text of the answer."""
        system = "\n".join(m.text for m in self.messages if m.role in ("system", "developer"))
        users = self._users()
        earlier = users[-2] if len(users) > 1 else ""
        return Prompt(system, self.question, earlier, base_name(self.model), seed)

    @property
    def started_text(self) -> str:
        """The start of the answer that is to be continued: the last message of the assistant."""
        ends = self.messages[-2:]
        if ends[-1].role == "assistant":
            return ends[-1].text
        return ends[0].text if self._asks_for_rest else ""

    @property
    def _asks_for_rest(self) -> bool:
        roles = [message.role for message in self.messages[-2:]]
        return roles == ["assistant", "user"] and "broke off" in self.messages[-1].text

    def _users(self) -> Sequence[str]:
        asked = self.messages[:-1] if self._asks_for_rest else self.messages
        return [message.text for message in asked if message.role == "user"]


_decoder = msgspec.json.Decoder(MockRequest)


def parse_request(body: bytes) -> MockRequest:
    """Return the request in `body`. Raises BadRequestError if OpenAI would refuse it with 400."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        sentence, _, path = str(error).partition(" - at `$")
        raise BadRequestError(f"{sentence}.", path.strip(".`") or None) from error
    for need, field, value in (
        ("stream", "stream_options", request.stream_options),
        ("tools", "tool_choice", request.tool_choice),
        ("tools", "parallel_tool_calls", request.parallel_tool_calls),
    ):
        if value is not None and not getattr(request, need):
            raise BadRequestError(f"'{field}' is only allowed with '{need}'.", field)
    _check_choice(request)
    _check_messages(request.messages)
    return request


def base_name(model: str) -> str:
    """Return `model` without its options."""
    return model.partition("?")[0]


def _check_choice(request: MockRequest) -> None:
    if isinstance(request.tool_choice, NamedTool):
        name = request.tool_choice.function.name
        if name not in [tool.function.name for tool in request.tools or []]:
            raise BadRequestError(f"Tool choice '{name}' not found in 'tools'.", "tool_choice")


def _check_messages(messages: Sequence[ChatMessage]) -> None:
    """Require a result for each tool call, and a tool call for each result."""
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        path = f"messages[{number}]"
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                raise BadRequestError("A tool's message must answer a call before it.", path)
            open_calls.discard(message.tool_call_id)
        elif open_calls:
            raise BadRequestError(f"Tool calls without an answer: {sorted(open_calls)}.", path)
        open_calls |= {call.id for call in message.tool_calls}
        _check_content(message, path)
    if open_calls:
        raise BadRequestError(f"Tool calls without an answer: {sorted(open_calls)}.", "messages")


def _check_content(message: ChatMessage, path: str) -> None:
    field = f"{path}.content"
    if message.content is None and message.role != "assistant":
        raise BadRequestError("Expected a string or parts, got null.", field)
    parts: Sequence[Any] = message.content if isinstance(message.content, list) else []
    refused_parts = {"user": (RefusalPart,), "assistant": (ImagePart, AudioPart, FilePart)}
    refused = refused_parts.get(message.role, (RefusalPart, ImagePart, AudioPart, FilePart))
    if any(isinstance(part, refused) for part in parts):
        raise BadRequestError(f"A part is not allowed from the role '{message.role}'.", field)
    if not all(url.startswith(_STARTS) for url in message.images):
        raise BadRequestError("An image is neither http(s) nor a data: address.", field)
