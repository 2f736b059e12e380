"""The text that `serve` prints at its start: its address, its models, and the first steps."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Mapping

from service.cli.administration.accounts import create_code
from service.cli.warnings import collect_warnings, netloc_of
from service.ensembles.catalog import Catalog
from service.errors import StorageUnavailable
from service.limits.file import LimitsFile
from service.server.sockets import base_url
from service.settings import Settings
from service.store.connections.urls import parse_url
from service.version import VERSION

_log = logging.getLogger(__name__)


def print_first_admin_code(settings: Settings, url: str) -> None:
    """Print a code with which a visitor becomes the first administrator; it is in no log record."""
    try:
        code = asyncio.run(create_code(settings))
    except StorageUnavailable as error:
        _log.warning("no code for the first administrator: %s", error)
        return
    if code:
        print(
            f"There is no administrator yet. Register the first one at {url}/web/register\n"
            f"with the code {code}, which works once; or run\n"
            "  python -m service users add <name> --admin\n",
            file=sys.stderr,
            flush=True,
        )


def print_banner(
    settings: Settings, variables: Mapping[str, str], catalog: Catalog, sock: socket.socket
) -> None:
    """Print the service's address, its models and database, and an example command."""
    url = base_url(sock)
    rules = LimitsFile(settings.limits_file).rules
    for warning in collect_warnings(settings, variables, catalog, rules):
        print(f"Warning: {warning}", file=sys.stderr)
    models = ", ".join(sorted(catalog.models))
    hosts = ", ".join(sorted({netloc_of(each) for each in catalog.agents.values()}))
    answers = (
        "the mock LLM (USE_LLM_MOCK=false and LLM_KEY=… for a real one)"
        if settings.use_llm_mock
        else f"{models} at {hosts}"
    )
    key = '    -H "Authorization: Bearer $KEY" \\\n' if settings.requires_auth else ""
    many = f" with {settings.workers} workers" if settings.workers > 1 else ""
    print(
        f"LLM SSE Service {VERSION} on {url}{many}\n"
        f"Answers come from {answers}\n"
        f"Every request can be tried on {url}/docs\n"
        f"Conversations are stored in {parse_url(settings.database).display_name}\n\n"
        f'  curl -N -X POST {url}/api/process -H "Content-Type: application/json" \\\n'
        f"{key}"
        f"""    -d '{{"message":"Explain gravity like I am 5", "message_id":"message_123"}}'\n""",
        flush=True,
    )
