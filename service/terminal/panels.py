"""A run as panels of a terminal: the agents above, the answer below."""

from __future__ import annotations

from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.terminal.run_view import WatchedAgent, WatchedRun
from service.terminal.safe_text import make_line, make_printable

_COLOURS: Final = {
    "answered": "green", "failed": "red", "skipped": "yellow", "retrying": "yellow",
    "answering": "cyan", "thinking": "magenta", "waiting": "dim",
}  # fmt: skip
_MANY_AGENTS: Final = 12
_LEAST_ANSWER_LINES: Final = 3
_TAIL_CHARS: Final = 20_000  # more than any screen shows
_MARKDOWN_CHARS: Final = 100_000  # longer answers are printed as they are


class LivePanels:
    """The panels of a run, as high as the terminal; drawn anew for each picture."""

    def __init__(self, view: WatchedRun) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the state of this moment."""
        height = options.max_height
        agents = list_shown(self._view, max(1, min(_MANY_AGENTS, height - 8)))
        yield agents_table(agents, len(self._view.agents), options.max_width)
        room = max(_LEAST_ANSWER_LINES, height - len(agents) - 8)
        text = Text(make_printable(self._view.text[-_TAIL_CHARS:]))
        lines = text.wrap(console, max(10, options.max_width - 4))[-room:]
        yield Panel(Group(*lines), title=Text(describe(self._view)), title_align="left")


def list_shown(view: WatchedRun, limit: int) -> list[WatchedAgent]:
    """Return at most `limit` agents, those that work first."""
    agents = list(view.agents.values())
    if len(agents) <= limit:
        return agents
    return sorted(agents, key=lambda each: not each.is_working)[:limit]


def agents_table(agents: list[WatchedAgent], total: int, width: int) -> Table:
    """Return a table of agents: state, times, tokens, cost and the end of the text."""
    table = Table(box=None, expand=True, pad_edge=False, show_header=width >= 60)
    table.add_column("agent", no_wrap=True, ratio=2)
    table.add_column("state", no_wrap=True, min_width=9)
    if width >= 60:
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("tokens", justify="right", no_wrap=True)
        table.add_column("cost", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, ratio=4, overflow="ellipsis")
    for agent in agents:
        name, state = Text(make_line(agent.name)), Text(agent.state, _COLOURS[agent.state])
        if width < 60:
            table.add_row(name, state)
            continue
        detail = Text(make_line(agent.note or agent.text), "dim")
        detail.truncate(max(10, width // 3), overflow="ellipsis")
        cells = (_format_ms(agent.elapsed_ms), str(agent.tokens or ""), format_cost(agent.cost_usd))
        table.add_row(name, state, *cells, detail)
    if total > len(agents):
        table.add_row(Text(f"and {total - len(agents)} more", "dim"))
    return table


def describe(view: WatchedRun) -> str:
    """Return the phase of a run, its time and its cost in one line."""
    cost = f" · {format_cost(view.cost_usd)}" if view.cost_usd is not None else ""
    return f"{view.phase} · {view.elapsed_s:.1f} s{cost}"


def render_answer(text: str) -> Markdown | Text:
    """Return the complete answer as it remains on the terminal."""
    safe = make_printable(text)
    if len(safe) > _MARKDOWN_CHARS:
        return Text(safe)
    return Markdown(safe, hyperlinks=False)


def format_cost(cost_usd: float | None) -> str:
    """Return a price in dollars, with the digits that small ones need."""
    if cost_usd is None:
        return ""
    return f"${cost_usd:.2f}" if cost_usd >= 1 or not cost_usd else f"${cost_usd:.6f}".rstrip("0")


def _format_ms(elapsed_ms: float | None) -> str:
    return "" if elapsed_ms is None else f"{elapsed_ms / 1_000:.1f} s"
