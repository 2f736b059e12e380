"""The client for model servers with OpenAI's chat completions, streamed or not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx

from service.coalescing import CoalescingWindow
from service.errors import (
    ContentFiltered,
    MissingKey,
    ServiceError,
    TokensUsedUp,
    UpstreamBroken,
    UpstreamEmpty,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnreachable,
    drop_tracebacks,
)
from service.llm.endpoints.admission import AdmittedCall
from service.llm.endpoints.endpoints import Endpoints
from service.llm.protocol import Call
from service.llm.reply import Reply
from service.llm.requests.head import find_endpoint, find_server, make_headers
from service.llm.requests.learned import LearnedTraits
from service.llm.resilience import Deadlines
from service.llm.response import OnPiece, ResponseReader
from service.llm.surrogates import replace_lone_surrogates
from service.llm.transport import TRANSPORT_ERRORS
from telemetry import AgentOperation, ChatOperation, redact, redact_value

_MAX_MESSAGE_CHARS = 500
_NOTICEABLE_WAIT_S = 0.05  # for a limit of the endpoint; shorter ones are only in the metrics


class LLMClient:
    """Calls models. Each call has its deadlines; every failure is an UpstreamError."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        coalescing: CoalescingWindow,
        max_response_bytes: int = 8_388_608,
        *,
        key_needed: bool = True,
        endpoints: Endpoints | None = None,
    ) -> None:
        self._transport = transport
        self.endpoints = endpoints or Endpoints()
        self._coalescing = coalescing
        self._key_needed = key_needed
        self.learned = LearnedTraits()
        self._max_response_bytes = max_response_bytes

    async def chat(
        self, call: Call, reply: Reply, on_piece: OnPiece, operation: AgentOperation, attempt: int
    ) -> None:
        """Make one attempt: fill `reply`, and pass each piece of the answer to `on_piece`.

        It waits for the limits of the endpoint first. Raises UpstreamError.
        """
        admission = await self._admit(call, operation)
        try:
            await self._attempt(admission, reply, on_piece, operation, attempt)
        except BaseException as error:
            admission.end(error, reply.usage)
            raise
        admission.end(None, reply.usage)

    async def _admit(self, call: Call, operation: AgentOperation) -> AdmittedCall:
        try:
            admission = await self.endpoints.admit(call)
        except UpstreamError as error:
            operation.record_refused_call(call.provider, error.code)
            drop_tracebacks(error)
            raise
        if admission.wait_reason and admission.waited_s >= _NOTICEABLE_WAIT_S:
            operation.record_limit_wait(admission.wait_reason, admission.waited_s)
        return admission

    async def _attempt(
        self,
        admission: AdmittedCall,
        reply: Reply,
        on_piece: OnPiece,
        operation: AgentOperation,
        attempt: int,
    ) -> None:
        call = admission.call
        server_address, server_port = find_server(call.base_url)
        span = operation.start_chat(
            model=call.model,
            provider=call.provider,
            server_address=server_address,
            server_port=server_port,
            stream=call.stream,
            attempt=attempt,
            is_hedge=call.is_hedge,
        )
        error_type, message, cancelled = ServiceError.code, "", False
        try:
            await self._call_model(admission, reply, on_piece, span)
            error_type = ""
        except UpstreamError as error:
            _redact_and_shorten(error, call.key)
            error_type, message = error.code, error.message
            drop_tracebacks(error)  # the frames of this package refer to the error
            raise
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            usage = reply.usage
            if span.captures_content:
                messages = ((each.role, each.content) for each in call.messages)
                span.record_content(messages, reply.text, reply.finish_reason)
            span.finish(
                error_type=error_type,
                message=message,
                cancelled=cancelled,
                response_id=reply.response_id,
                response_model=reply.response_model,
                finish_reason=reply.finish_reason,
                input_tokens=usage.input_tokens if usage else None,
                output_tokens=usage.output_tokens if usage else None,
                cached_tokens=usage.cached_tokens if usage else None,
                reasoning_tokens=usage.reasoning_tokens if usage else None,
                chunks=reply.token_chunks,
            )

    async def _call_model(
        self, admission: AdmittedCall, reply: Reply, on_piece: OnPiece, span: ChatOperation
    ) -> None:
        call = admission.call
        if self._key_needed and not call.key:
            raise MissingKey(
                f"No key is set for {call.model}: set {call.key_name}, or USE_LLM_MOCK=true to try "
                "the service without one. A server that needs no key accepts any value."
            )
        async with Deadlines(
            call.model,
            total_s=call.timeout_s,
            first_token_s=call.first_token_timeout_s if call.stream else None,
            idle_s=call.idle_timeout_s if call.stream else None,
            on_first_token=admission.confirm,
        ) as deadlines:
            reply.was_sent = True
            response = await self._send(call, span)
            admission.record_headers(response.headers)
            try:
                reader = ResponseReader(
                    call,
                    reply,
                    on_piece,
                    span,
                    deadlines,
                    self._coalescing,
                    self._max_response_bytes,
                )
                await reader.read(response)
            except TRANSPORT_ERRORS as error:
                raise UpstreamBroken(f"The connection to {call.model} was lost.") from error
            finally:
                await response.aclose()
        if not (reply.calls or reply.text.strip()):
            raise _make_empty_error(call, reply)

    async def _send(self, call: Call, span: ChatOperation) -> httpx.Response:
        try:
            # To the transport, not by httpx.AsyncClient: its redirects, cookies and authentication
            # are not wanted, and took a third of the CPU of a request. `stream` instead of
            # `content` adds no headers: the transport adds those that depend on the body.
            request = httpx.Request(
                "POST",
                find_endpoint(call.base_url),
                headers=make_headers(call.key, call.key_header),
                stream=httpx.ByteStream(call.body()),
            )
            with span.activate():
                return await self._transport.handle_async_request(request)
        except httpx.ProxyError as error:
            raise UpstreamUnreachable(
                f"{call.model}'s server could not be reached: {error}."
            ) from error
        except (*TRANSPORT_ERRORS, httpx.InvalidURL) as error:
            raise UpstreamUnreachable(f"{call.model}'s server could not be reached.") from error
        except ValueError:  # an invalid host or key; the text may contain the key
            raise UpstreamRefused(
                f"{call.model} cannot be called: check its base_url and {call.key_name}."
            ) from None


def _make_empty_error(call: Call, reply: Reply) -> UpstreamEmpty:
    """Return the error for a complete answer without text, with the advice for its reason."""
    if reply.finish_reason == "length":
        usage = reply.usage
        tokens = (usage.reasoning_tokens or usage.output_tokens) if usage else 0
        return TokensUsedUp(
            f"{call.model} used all of its {tokens or call.max_tokens} tokens before any text; "
            "raise MAX_TOKENS, or max_tokens of the agent or the request."
        )
    if reply.finish_reason == "content_filter":
        return ContentFiltered(f"{call.model} sent no text: a content filter removed it.")
    return UpstreamEmpty(f"{call.model} answered without any text.")


def _redact_and_shorten(error: UpstreamError, key: str | None) -> None:
    """Remove secrets from the message, then shorten it: part of a key is a secret too."""
    message = replace_lone_surrogates(_redact(error.message, key))
    error.message = message[:_MAX_MESSAGE_CHARS]
    error.args = (error.message,)
    error.report = replace(error.report, sentence=_redact(error.report.sentence, key))


def _redact(text: str, key: str | None) -> str:
    return redact(redact_value(text, key) if key else text)
