"""A service in the process of a client command."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from service.app import Services, create_app
from service.cli.commands import FAULTS, load_configuration, prepare_database
from service.terminal.background_loop import BackgroundLoop
from service.terminal.feed import QuestionService
from service.terminal.local import LocalService
from telemetry import configure_logging

# In the folder of a service.
_SIGNS = (".env", "ensembles.toml", "data/service.db")
_EXPORT_S = 1.0


def use_standalone(loop: BackgroundLoop, use: Callable[[QuestionService], int]) -> int:
    """Start a service with the settings of `serve`, call `use` with it, and stop it."""
    try:
        _enter_data_folder()
    except (OSError, RuntimeError) as error:  # no home, or one that cannot be written
        print(f"There is no folder for the database: {error}", file=sys.stderr)
        return 2
    try:
        settings, variables, _ = load_configuration({})
        configure_logging(level="warning", json=settings.json_logs)
        prepare_database(settings)
        services = loop.run(_open(lambda: create_app(settings, variables)))
    except FAULTS as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return use(LocalService(services))
    finally:
        loop.run(_close(services))


def _enter_data_folder() -> None:
    """Use a folder of the user's own, unless the current one is that of a service.

    The command is typed anywhere, and must not leave a database in every folder.
    """
    if "DATABASE_URL" in os.environ or any(Path(each).exists() for each in _SIGNS):
        return
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    folder = Path(data) / "llm-sse"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)


async def _open(create: Callable[[], Services]) -> Services:
    services = create()
    await services.lifespan.start()
    return services


async def _close(services: Services) -> None:
    logging.getLogger("service").setLevel(logging.ERROR)  # the end of the worker is expected
    # The user waits for the prompt: shorter than the end of a service.
    await asyncio.to_thread(services.telemetry.shutdown, _EXPORT_S)
    await services.lifespan.stop_now()
