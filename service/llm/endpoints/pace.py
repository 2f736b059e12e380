"""Recent pace of agents: first tokens, silences and lengths, per model and server."""

from __future__ import annotations

from collections import OrderedDict

from service.llm.endpoints.samples import RecentSamples

_MOST_PACES = 512
_PROBE_EVERY = 20  # suspect calls: one of them may take as long as the ensemble permits


class AgentPace:
    """The recent pace of one agent with one model of one server. Times are in seconds.

    A silence is the longest time between two pieces of an answer. Calls that are not streamed have
    only the time of their first token, which is that of the complete answer.
    """

    def __init__(self) -> None:
        self.first_token_s = RecentSamples()
        self.silence_s = RecentSamples()
        self.tokens = RecentSamples()
        self.token_s = RecentSamples()
        self._suspect_calls = 0

    def record_answer(
        self, *, first_s: float, end_s: float, silence_s: float | None, tokens: int
    ) -> None:
        """Record a complete answer of `tokens`; `silence_s` is None when it is not known."""
        self.first_token_s.record(first_s)
        if silence_s is not None:
            self.silence_s.record(silence_s)
        if tokens > 1:
            self.tokens.record(tokens)
            self.token_s.record((end_s - first_s) / (tokens - 1))

    @property
    def is_known(self) -> bool:
        """Whether anything has been recorded."""
        return len(self.first_token_s) > 0

    def start_probe(self) -> bool:
        """Return whether a call is to wait without a limit of its own.

        While a measure is suspect this is so for one of 20 calls, by which a server that has become
        slower is told apart from one that is silent.
        """
        measures = (self.first_token_s, self.silence_s, self.tokens)
        if not any(each.is_suspect for each in measures):
            self._suspect_calls = 0
            return False
        self._suspect_calls += 1
        return self._suspect_calls % _PROBE_EVERY == 1


class AgentPaces:
    """The paces of all agents. The least recently used of more than 512 is forgotten."""

    def __init__(self) -> None:
        self._paces: OrderedDict[tuple[str, str, str], AgentPace] = OrderedDict()

    def of(self, agent: str, base_url: str, model: str) -> AgentPace:
        """Return the pace of an agent; the repetitions `a#1`, `a#2` of one agent share it."""
        key = (agent.partition("#")[0], base_url, model)
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = AgentPace()
            if len(self._paces) > _MOST_PACES:
                self._paces.popitem(last=False)
        self._paces.move_to_end(key)
        return pace
