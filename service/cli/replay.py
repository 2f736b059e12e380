"""The commands `export` and `replay`: a stored run as a file, as a model server and as a stream."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvloop

from service.api.http.pieces import PiecewiseBody
from service.api.runs.export import make_parts
from service.app import open_ensembles
from service.cli.administration.accounts import open_accounts
from service.errors import RequestError
from service.mock_llm.server import serve_mock
from service.replay.document import MAX_BYTES, ReplayError, RunRecord, read_document
from service.replay.ensembles import write_ensembles
from service.replay.server import ReplayServer
from service.replay.stream import list_steps
from service.runs.run import Run
from service.runs.transport.database import StoredRuns
from service.settings import Settings, load_settings
from service.store.accounts.ownership import Ownership
from service.store.runs import RunStore

_RUN_ID = re.compile(r"run_[0-9a-f]{32}")
_ENV_FILE = Path(".env")
_STDIN = "-"
_QUESTION_CHARS = 60


def run_export(options: argparse.Namespace) -> int:
    """Write a run of the configured database to a file, or to the standard output."""
    try:
        data = asyncio.run(_export(options.run, load_settings(_ENV_FILE)))
        if options.out:
            Path(options.out).write_bytes(data)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except OSError as error:
        return _refuse(f"{options.out or 'standard output'}: {error.strerror or error}")
    return 0


def run_replay(options: argparse.Namespace) -> int:
    """Serve stored runs as a model server, or print the event stream of one."""
    if len(options.sources) > 1 and (options.events or options.write_ensembles):
        return _refuse("--events and --write-ensembles take one run.")
    try:
        records = [_load(source) for source in options.sources]
        if options.events:
            _print_events(records[0], options.speed)
            return 0
        if options.write_ensembles:
            write_ensembles(records[0], "")  # its errors, before the server starts
        return _serve(records, options)
    except ReplayError as error:
        return _refuse(str(error))


def _serve(records: Sequence[RunRecord], options: argparse.Namespace) -> int:
    def ready(url: str) -> None:
        root = url.removesuffix("/v1")
        print(f"The replay answers at {url} (LLM_BASE_URL={url})")
        for record in records:
            question = json.dumps(record.question[:_QUESTION_CHARS])
            print(f"  {root}/runs/{record.run_id}/v1: {question}")
        print(f"Their event streams: POST {root}/api/process")
        if options.write_ensembles:
            file = Path(options.write_ensembles)
            file.write_text(write_ensembles(records[0], root), "utf-8")
            print(f"Repeat the run: ENSEMBLES_FILE={file} USE_LLM_MOCK=false LLM_KEY=none")
        sys.stdout.flush()

    server = ReplayServer(records, speed=options.speed, is_strict=options.strict)
    try:
        with (
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            suppress(KeyboardInterrupt),
        ):
            runner.run(serve_mock(options.host, options.port, server, ready=ready))
    except OSError as error:
        return _refuse(f"{error.filename or f'{options.host}:{options.port}'}: {error.strerror}")
    return 0


def _print_events(record: RunRecord, speed: float) -> None:
    """Write the event stream of a run to the standard output, each event at its time."""
    due = time.monotonic()
    with suppress(BrokenPipeError, KeyboardInterrupt):
        for step in list_steps(record, speed):
            due += step.delay_s
            time.sleep(max(0.0, due - time.monotonic()))
            sys.stdout.buffer.write(step.data)
            sys.stdout.buffer.flush()


def _load(source: str) -> RunRecord:
    """Return the run of a file, of the standard input ("-"), or of the configured database.

    Raises ReplayError.
    """
    try:
        if source == _STDIN:
            return read_document(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input")
        if not Path(source).exists() and _RUN_ID.fullmatch(source):
            data = asyncio.run(_export(source, load_settings(_ENV_FILE)))
            return read_document(data, source)
        with Path(source).open("rb") as file:
            return read_document(file.read(MAX_BYTES + 1), source)
    except (OSError, ValueError) as error:  # a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ReplayError(
            f"{json.dumps(source)[1:-1]}: {reason}; or name the id of a run."
        ) from error


async def _export(run_id: str, settings: Settings) -> bytes:
    """Return the document of a run of any owner. Raises RequestError and StorageUnavailable."""
    tools = await open_accounts(settings)
    try:
        store = RunStore(tools.database)
        owner = await Ownership(tools.database).find_owner_of_run(run_id)
        stored = await store.get(owner, run_id) if owner is not None else None
        if stored is None:
            raise RequestError("run_not_found", "There is no such run in this database.")
        run = await StoredRuns(store).load(stored)
        if not isinstance(run, Run):
            raise RequestError("run_expired", "The events of this run have expired.")
        parts = await make_parts(store, open_ensembles(settings).catalog, run)
        return b"".join([block async for block in PiecewiseBody(parts)])
    finally:
        await tools.close()


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
