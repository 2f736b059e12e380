"""A collector for tests: takes what an exporter really sends, and can be unwell on demand."""

from tests._support.otlp.signals import LogRecord, Span
from tests._support.otlp.sink import (
    BLACK_HOLE,
    PARTIAL,
    REFUSING,
    UNAVAILABLE,
    WELL,
    Behaviour,
    Protocol,
    Sink,
    slow,
)
from tests._support.otlp.traces import Trace, assert_sound

__all__ = [
    "BLACK_HOLE",
    "PARTIAL",
    "REFUSING",
    "UNAVAILABLE",
    "WELL",
    "Behaviour",
    "LogRecord",
    "Protocol",
    "Sink",
    "Span",
    "Trace",
    "assert_sound",
    "slow",
]
