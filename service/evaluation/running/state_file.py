"""The state file of an evaluation, from which the same command continues after any end.

Each line is a JSON object: at first the inputs, then the start and the end of each run. Lines are
only appended, each with one write. A process that is killed, or a full disk, leaves at most a
part of the last line, which the next start removes. The runs themselves are in the store.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

FORMAT: Final = 1
EndState = Literal["answered", "degraded", "failed", "transient"]
"""The end of a run: with an answer, one of a substitute, none, or none because of an outage."""


class StateError(Exception):
    """The output folder cannot be used; the message names the reason and the remedy."""


class StartLine(msgspec.Struct, tag_field="event", tag="started", frozen=True):
    """A run that was started. `worst_nano` is the most that it may cost."""

    key: str
    run_id: str
    worst_nano: int = 0


class EndLine(msgspec.Struct, tag_field="event", tag="ended", frozen=True):
    """A run that has ended. `calls` is the number of its answers of models, 0 if it was reused."""

    key: str
    run_id: str
    state: EndState
    cost_nano: int = 0
    calls: int = 0


class CompletedLine(msgspec.Struct, tag_field="event", tag="completed", frozen=True):
    """The evaluation has all its results."""


class InputsLine(msgspec.Struct, tag_field="event", tag="inputs", frozen=True):
    """Everything that the evaluation depends on, by name; it must be the same when it continues."""

    values: dict[str, Any]
    started_at: str
    format: int = FORMAT


_FIRST_BYTES: Final = b'{"event":"inputs"'
_LINE = msgspec.json.Decoder(StartLine | EndLine | CompletedLine | InputsLine)


@dataclass(frozen=True, slots=True)
class OpenStart:
    """A run whose end the file does not have: the process ended before it."""

    key: str
    run_id: str
    worst_nano: int


class StateFile:
    """The state of one evaluation, locked for this process. Writing raises StateError."""

    def __init__(self, path: Path, inputs: Mapping[str, Any], now: str, *, restarts: bool) -> None:
        """Read the file, or create it. Raises StateError, also for other inputs.

        With `restarts` a completed evaluation starts again; an interrupted one continues.
        """
        self.path = path
        self.started_at = now
        self.is_completed = False
        self.ends: dict[str, EndLine] = {}
        self.open_starts: dict[str, OpenStart] = {}
        self.spent_nano = 0
        self.calls = 0
        self._file = _open_locked(path)
        try:
            self._load(inputs, restarts=restarts)
        except BaseException:
            self.close()
            raise

    def note_started(self, key: str, run_id: str, worst_nano: int) -> None:
        """Add the start of a run."""
        self._append(StartLine(key, run_id, worst_nano))

    def note_ended(self, end: EndLine) -> None:
        """Add the end of a run."""
        self._append(end)
        self._apply(end)

    def note_completed(self) -> None:
        """Add that the evaluation is complete."""
        if not self.is_completed:
            self._append(CompletedLine())
            self.is_completed = True

    def close(self) -> None:
        """Release the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _load(self, inputs: Mapping[str, Any], *, restarts: bool) -> None:
        lines = self._read_lines()
        first = lines[0] if lines else None
        if first is not None and not isinstance(first, InputsLine):
            raise StateError(f"{self.path} is not the state of an evaluation; use another --out.")
        if first is not None:
            self._check_inputs(first, inputs)
            for line in lines[1:]:
                self._apply(line)
        if first is None or (restarts and self.is_completed):
            self._start_again(inputs)
        else:
            self.started_at = first.started_at

    def _start_again(self, inputs: Mapping[str, Any]) -> None:
        self._truncate(0)
        self.is_completed, self.spent_nano, self.calls = False, 0, 0
        self.ends.clear()
        self.open_starts.clear()
        self._append(InputsLine(dict(inputs), self.started_at))

    def _read_lines(self) -> list[StartLine | EndLine | CompletedLine | InputsLine]:
        """Return the complete lines, after removing a part of a last one."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise StateError(f"{self.path} cannot be read: {error.strerror}.") from error
        complete = data[: data.rfind(b"\n") + 1]
        if not data.startswith(_FIRST_BYTES[: len(data)]):
            raise StateError(f"{self.path} is not the state of an evaluation; use another --out.")
        try:
            lines = [_LINE.decode(line) for line in complete.splitlines()]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateError(
                f"{self.path} is not the state of an evaluation: {error}. Use another --out."
            ) from error
        if len(complete) < len(data):
            self._truncate(len(complete))
        return lines

    def _check_inputs(self, stored: InputsLine, inputs: Mapping[str, Any]) -> None:
        if stored.format != FORMAT:
            raise StateError(f"{self.path} has the format {stored.format}, not {FORMAT}.")
        given = msgspec.to_builtins(dict(inputs))
        changed = [
            _describe_change(name, stored.values.get(name), given.get(name))
            for name in dict.fromkeys((*given, *stored.values))
            if stored.values.get(name) != given.get(name)
        ]
        if changed:
            raise StateError(
                f"{self.path.parent} has an evaluation with other inputs: {'; '.join(changed)}. "
                "Repeat its command to continue it, or choose another --out."
            )

    def _apply(self, line: StartLine | EndLine | CompletedLine | InputsLine) -> None:
        match line:
            case StartLine(key=key, run_id=run_id, worst_nano=worst_nano):
                self.open_starts[run_id] = OpenStart(key, run_id, worst_nano)
            case EndLine():
                self.open_starts.pop(line.run_id, None)
                self.ends[line.key] = line
                self.spent_nano += line.cost_nano
                self.calls += line.calls
            case CompletedLine():
                self.is_completed = True

    def _append(self, line: msgspec.Struct) -> None:
        data = msgspec.json.encode(line) + b"\n"
        try:
            written = os.write(self._file, data)
        except OSError as error:
            raise StateError(f"{self.path} cannot be written: {error.strerror}.") from error
        if written < len(data):
            raise StateError(f"{self.path} cannot be written: No space left on device.")

    def _truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._file, size)
        except OSError as error:
            raise StateError(f"{self.path} cannot be written: {error.strerror}.") from error


def _open_locked(path: Path) -> int:
    """Return the descriptor of the file, which no other process has open."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise StateError(f"{path.parent} is in use by another evaluation.") from error
    return file


def _describe_change(name: str, stored: Any, given: Any) -> str:
    """Return the difference of one input, of mappings and lists only the parts that differ."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        names = [
            each for each in dict.fromkeys((*given, *stored)) if stored.get(each) != given.get(each)
        ]
        return f"{name} differ in {', '.join(names)}"
    return f"{name} was {_shorten(stored)} and is {_shorten(given)}"


def _shorten(value: Any) -> str:
    text = "none" if value in (None, "") else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
