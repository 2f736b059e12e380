"""A service in the process of a client command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from service.app import Services, create_app
from service.cli.commands import FAULTS, load_configuration, prepare_database
from service.terminal.background_loop import BackgroundLoop
from service.terminal.feed import QuestionService
from service.terminal.local import LocalService
from telemetry import configure_logging


def use_standalone(loop: BackgroundLoop, use: Callable[[QuestionService], int]) -> int:
    """Start a service with the settings of `serve`, call `use` with it, and stop it."""
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


async def _open(create: Callable[[], Services]) -> Services:
    services = create()
    await services.lifespan.start()
    return services


async def _close(services: Services) -> None:
    logging.getLogger("service").setLevel(logging.ERROR)  # the end of the worker is expected
    await services.lifespan.__aexit__()
