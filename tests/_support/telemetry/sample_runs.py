"""Recorded runs: one model call, and a run of two agents."""

from __future__ import annotations

import asyncio

from telemetry import ChatOperation, Telemetry, Workflow
from tests._support.telemetry.capture import start


def chat_of(workflow: Workflow, agent: str = "llm-1", provider: str = "openai") -> ChatOperation:
    return workflow.start_agent(agent, "gpt-4o-mini").start_chat(
        model="gpt-4o-mini",
        provider=provider,
        server_address="api.openai.com",
        server_port=443,
        stream=True,
        attempt=1,
    )


async def fan_out(telemetry: Telemetry) -> None:
    """Record a run: the first agent answers at its second attempt, the second agent fails."""
    workflow = start(telemetry)

    async def ask(name: str, error: str | None) -> None:
        agent = workflow.start_agent(name, "gpt-4o-mini")
        for attempt in (1, 2):
            chat = agent.start_chat(
                model="gpt-4o-mini",
                provider="openai",
                server_address="api.openai.com",
                server_port=443,
                stream=True,
                attempt=attempt,
            )
            with chat.activate():
                await asyncio.sleep(0)
            if attempt == 1:
                chat.finish(error_type="timeout")
                agent.record_retry("timeout", 0.5)
                continue
            await asyncio.sleep(0.002)
            chat.record_first_chunk()
            await asyncio.sleep(0.002)
            chat.finish(
                error_type=error,
                response_id="resp_1",
                response_model="gpt-4o-mini-2024-07-18",
                finish_reason="stop",
                input_tokens=10,
                output_tokens=20,
                cached_tokens=0,
                reasoning_tokens=5,
                chunks=3,
            )
        agent.finish("failed" if error else "answered", error_type=error, cost_usd=0.25)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("llm-1", None))
        group.create_task(ask("llm-2", "http_500"))
    workflow.record_first_output()
    workflow.finish("completed", input_tokens=20, output_tokens=40, cost_usd=0.5)
