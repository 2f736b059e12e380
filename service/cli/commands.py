"""The commands that use the settings and the parts of the service.

Each start of a service imports this module, so the modules of the largest other commands are
imported where they run.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from socket import socket

import uvloop

from service.app import open_ensembles
from service.cli.administration.accounts import AccountTools, open_accounts
from service.cli.administration.keys import run_keys
from service.cli.administration.reports import run_audit, run_usage
from service.cli.administration.users import run_users
from service.cli.arguments import parse_arguments
from service.cli.banner import print_banner, print_first_admin_code
from service.cli.output import CommandOutput
from service.ensembles.catalog import Catalog, EnsemblesError
from service.errors import RequestError, StorageUnavailable
from service.limits.file import LimitsFile
from service.limits.parsing import LimitsError
from service.llm.proxies import read_proxies
from service.mock_llm.server import serve_mock
from service.mock_llm.transport import MockLLM
from service.server.process import serve
from service.server.sockets import base_url, listen, raise_open_file_limit
from service.server.supervisor import Supervisor
from service.settings import (
    Settings,
    SettingsError,
    check_env_file,
    load_settings,
    read_variables,
)
from service.store.migrate import check, migrate
from telemetry import TelemetryError, check_otel_variables, configure_logging

_log = logging.getLogger(__name__)

ENV_FILE = Path(".env")
FAULTS = (SettingsError, EnsemblesError, LimitsError, TelemetryError, StorageUnavailable)


def run_command(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; each error of the user is one line on stderr."""
    options = parse_arguments(arguments)
    try:
        return _COMMANDS[options.command](options)
    except RequestError as error:
        print(error, file=sys.stderr)
        return 1
    except FAULTS as error:
        print(error, file=sys.stderr)
        return 2


def load_configuration(
    overrides: Mapping[str, object],
) -> tuple[Settings, Mapping[str, str], Catalog]:
    """Return the settings, with the command line's overrides, the variables and the catalog."""
    for name, value in overrides.items():
        if value is not None:
            os.environ[name.upper()] = str(value)  # for the worker processes too
    settings = load_settings(ENV_FILE)
    variables = read_variables(ENV_FILE)
    for name, value in variables.items():
        if name.startswith("OTEL_"):
            os.environ.setdefault(name, value)  # OpenTelemetry reads only the environment
    check_otel_variables()
    catalog = open_ensembles(settings).catalog
    LimitsFile(settings.limits_file)
    if not settings.use_llm_mock:
        read_proxies(variables)  # an unusable one is an error at the start, not of every call
    keys = (agent.key_env for agent in catalog.targets)
    check_env_file(ENV_FILE, frozenset(key for key in keys if key))
    return settings, variables, catalog


def _serve(options: argparse.Namespace) -> int:
    overrides = {"workers": options.workers, "host": options.host, "port": options.port}
    settings, variables, catalog = load_configuration(overrides)
    configure_logging(level=settings.log_level, json=settings.json_logs)
    raise_open_file_limit()
    host, port = settings.address
    try:
        sock = listen(host, port)
    except OSError as error:
        print(f"HTTP_ADDR: cannot listen on {host}:{port}: {error}", file=sys.stderr)
        return 1
    prepare_database(
        settings
    )  # after listening: another service at this port may use the same tables
    print_first_admin_code(settings, base_url(sock))
    print_banner(settings, variables, catalog, sock)
    if settings.workers > 1:
        work = partial(_serve_as_worker, sock)
        return Supervisor(work, settings.workers, settings.drain_s).run()
    serve(settings, variables, sock)
    return 0


def _serve_as_worker(sock: socket, parent: int) -> None:
    """Serve with the present configuration, which may have changed since the supervisor started."""
    try:
        settings, variables, _ = load_configuration({})
    except FAULTS as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    configure_logging(level=settings.log_level, json=settings.json_logs)
    serve(settings, variables, sock, parent=parent)


def prepare_database(settings: Settings) -> None:
    """Migrate the database if MIGRATE_ON_START, else raise SettingsError if that is needed.

    An unreachable database does not prevent the start: it may be available later.
    """
    try:
        if settings.migrates_on_start:
            applied = asyncio.run(migrate(settings.database))
            if applied:
                _log.info("the database was migrated", extra={"applied": applied})
        elif fault := asyncio.run(check(settings.database, settings.store_timeout_s)):
            raise SettingsError(fault)
    except StorageUnavailable as error:
        if error.reason == "schema":
            raise
        _log.warning("starting without the database: %s", error)


def _migrate(options: argparse.Namespace) -> int:
    settings, _, _ = load_configuration({})
    if options.check:
        fault = asyncio.run(check(settings.database, settings.store_timeout_s))
        print(fault or "The database is at this version.")
        return 1 if fault else 0
    applied = asyncio.run(migrate(settings.database, options.down_to))
    verb = "Reverted" if options.down_to else "Applied"
    print(f"{verb} {', '.join(applied)}." if applied else "There was nothing to do.")
    return 0


def _manage(run: AccountCommand, options: argparse.Namespace) -> int:
    settings = load_settings(ENV_FILE)

    async def work() -> CommandOutput:
        tools = await open_accounts(settings)
        try:
            return await run(options, tools)
        finally:
            await tools.close()

    output = asyncio.run(work())
    print(output.render(as_json=options.json))
    if output.note and not options.json:
        print(output.note, file=sys.stderr)
    return output.exit_code


def _report_agents(options: argparse.Namespace) -> int:
    from service.cli.administration.agents import run_agents

    return _manage(run_agents, options)


def _export(options: argparse.Namespace) -> int:
    from service.cli.replay import run_export

    return run_export(options)


def _replay(options: argparse.Namespace) -> int:
    from service.cli.replay import run_replay

    return run_replay(options)


def _evaluate(options: argparse.Namespace) -> int:
    from service.cli.evaluation.command import evaluate
    from service.cli.evaluation.plan import find_own_ensembles

    own_file = find_own_ensembles(options, load_settings(ENV_FILE))
    settings, variables, catalog = load_configuration({"ensembles_file": own_file})
    configure_logging(level="warning", json=False)
    return evaluate(options, settings, variables, catalog)


def _mock(options: argparse.Namespace) -> int:
    raise_open_file_limit()

    def ready(url: str) -> None:
        print(f"The mock LLM answers at {url} (LLM_BASE_URL={url})", flush=True)

    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        suppress(KeyboardInterrupt),
    ):
        runner.run(serve_mock(options.host, options.port, MockLLM(seed=options.seed), ready=ready))
    return 0


def _check(_options: argparse.Namespace) -> int:
    from service.cli.check import run_check

    return run_check(*load_configuration({}))


AccountCommand = Callable[[argparse.Namespace, AccountTools], Awaitable[CommandOutput]]

_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "serve": _serve,
    "migrate": _migrate,
    "users": partial(_manage, run_users),
    "keys": partial(_manage, run_keys),
    "usage": partial(_manage, run_usage),
    "agents": _report_agents,
    "audit": partial(_manage, run_audit),
    "evaluate": _evaluate,
    "export": _export,
    "replay": _replay,
    "mock": _mock,
    "check": _check,
}
