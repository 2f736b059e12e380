"""The parameters of a request that an ensemble supports, and those that its agents receive."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from service.domain import RunRequest
from service.ensembles.catalog import Ensemble

TOOL_PARAMETERS = ("tools", "tool_choice", "parallel_tool_calls")
# Options of sampling, which apply to every call, and those of the final answer.
COMMON_PARAMETERS = frozenset(
    {
        "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty",
        "reasoning_effort", "verbosity", "stop", "response_format",
    }
)  # fmt: skip


def find_unsupported(
    request: RunRequest, ensemble: Ensemble, honours: Collection[str] | None
) -> Iterator[str]:
    """Yield the parameters that an ensemble cannot honour. `honours` None: it supports all."""
    if honours is None:
        return
    tools = TOOL_PARAMETERS if ensemble.tools_policy else ()
    for name in request.options.parameters:
        if name not in honours and name not in tools:
            yield name


def wants_tools(request: RunRequest) -> bool:
    """Return whether the request offers tools to models."""
    return bool(request.options.parameters.get("tools"))


def without_tools(request: RunRequest) -> RunRequest:
    """Return the request without its tools."""
    for name in TOOL_PARAMETERS:
        request = request.without_parameter(name)
    return request


def for_agents(request: RunRequest) -> RunRequest:
    """Return the request for agents whose texts are not the answer: without its form and end."""
    return request.without_parameter("stop").without_parameter("response_format")
