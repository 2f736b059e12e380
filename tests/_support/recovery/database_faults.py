"""Database faults that last as long as a block: locked, full, frozen, stopped."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests._support.servers.databases import Postgres


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, as a backup or a forgotten shell would."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave not a byte free on the disk that holds `folder`."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (b"x" * 65536, b"x"):
            with contextlib.suppress(OSError):
                while True:
                    file.write(block)
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def frozen(postgres: Postgres) -> Iterator[None]:
    """Let PostgreSQL hang with its connections open."""
    postgres.stop_the_world()
    try:
        yield
    finally:
        postgres.resume()


@contextlib.contextmanager
def down(postgres: Postgres) -> Iterator[None]:
    """Stop PostgreSQL: its connections break, and new ones are refused."""
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a disk of `size` on `folder`; skips the test when that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"NOT TESTED, cannot mount a small disk here: {error}")
    try:
        yield
    finally:
        # Lazily: the service may still have its files open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
