"""A trace assembled from exported spans, and checks that hold for every trace."""

from __future__ import annotations

from dataclasses import dataclass

from tests._support.otlp.signals import Span

Tree = tuple[str, list["Tree"]]


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace, in the order of their arrival."""

    spans: tuple[Span, ...]

    @property
    def root(self) -> Span:
        """The one span without a parent in this trace."""
        ids = {span.span_id for span in self.spans}
        (root,) = [span for span in self.spans if span.parent_id not in ids]
        return root

    @property
    def tree(self) -> Tree:
        """The names, each level sorted."""
        return self._tree(self.root)

    def span(self, name: str) -> Span:
        """Return the one span of this name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def below(self, parent: Span) -> list[Span]:
        """Return a span's children by the time of their start."""
        children = [span for span in self.spans if span.parent_id == parent.span_id]
        return sorted(children, key=lambda span: span.start_ns)

    def _tree(self, span: Span) -> Tree:
        return span.name, sorted(self._tree(child) for child in self.below(span))


def assert_sound(trace: Trace, remote_parent: str = "") -> None:
    """Check the rules that hold for every trace, also after failures.

    There is one root, every parent is present, children start while their parent is open, times
    are in order, and `error.type` is set exactly on the spans with the status ERROR.
    """
    by_id = {span.span_id: span for span in trace.spans}
    assert len(by_id) == len(trace.spans), "a span was exported twice"
    assert len({span.trace_id for span in trace.spans}) == 1
    assert len({span.resource["service.instance.id"] for span in trace.spans}) == 1
    assert trace.root.parent_id == remote_parent
    for span in trace.spans:
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.dropped == 0, span
        assert ("error.type" in span.attributes) == (span.status == "ERROR"), span
        if span.attributes.get("app.cancelled"):
            assert span.status == "UNSET", span
        for event in span.events:
            assert span.start_ns <= event.time_ns <= span.end_ns, span
        _assert_first_chunk_in_time(span)
        if span is not trace.root:
            parent = by_id[span.parent_id]
            assert parent.start_ns <= span.start_ns <= parent.end_ns, (span, parent)


_CLOCK_SET_S = 0.05


def _assert_first_chunk_in_time(span: Span) -> None:
    first_chunk_s = span.attributes.get("gen_ai.response.time_to_first_chunk")
    if first_chunk_s is None:
        return
    # A span's ends are read off the wall clock, which may be set meanwhile; this is not. An agent's
    # comes from the event loop's clock, which counts whole milliseconds.
    least_s = 0.0 if span.name.startswith("invoke_agent ") else 1e-9
    assert least_s <= first_chunk_s <= span.duration_s + _CLOCK_SET_S, span


def failed(trace: Trace) -> set[str]:
    """Return the names of the spans that ended in an error."""
    return {span.name for span in trace.spans if span.status == "ERROR"}
