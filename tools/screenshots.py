"""Pictures of the pages for the documentation, in `docs/images/`: `make screenshots`.

Usage: python -m tools.screenshots [--to FOLDER] [--only PAGE …]

Starts the service with the mock and accounts on a temporary database, asks questions, and takes
each page in light, in dark, and in the window of a phone. The browser is the system's Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.async_api import Browser, Page, async_playwright

from service.settings import KNOWN
from tools.png import reduce_colours

FOLDER: Final = Path("docs/images")
LOOKS: Final[Mapping[str, dict[str, Any]]] = {
    "light": {"viewport": {"width": 1024, "height": 768}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1024, "height": 768}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 780}, "color_scheme": "light"},
}

_NAME: Final = "alice"
_PASSWORD: Final = "correct horse battery"
_QUESTIONS: Final = (
    "Which planets have rings?",
    "How does a heat pump work?",
    "Explain gravity to a child of five years.",
)
_LIVE_QUESTION: Final = "Why is the sky blue, and red in the evening?"
_PAST_DAYS: Final = (1, 2, 3, 5, 4, 0, 0, 3, 6, 4, 2, 5, 0, 1, 4, 7, 3, 2)  # runs, backwards
_LIMITS: Final = """
[[rules]]
name = "everyone"
requests = "60/minute"
streams = 10
tokens = "500000/day"
cost_usd = "5/month"
"""
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_WAIT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Site:
    """A running service: its address, and the ids of a run and a conversation that it has."""

    url: str
    folder: Path
    run_id: str = ""
    conversation_id: str = ""


Show = Callable[[Page, Site], Awaitable[None]]


async def _show_login(page: Page, site: Site) -> None:
    await page.context.clear_cookies()
    await page.goto(f"{site.url}/web/login")


async def _show_start(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/")


async def _show_live_chat(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/chat")
    await page.get_by_role("textbox", name="Question").fill(_LIVE_QUESTION)
    await page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.get_by_role("region", name="Answer")
    await answer.get_by_text(re.compile(r"\w{3,}(\W+\w+){15}")).first.wait_for()


async def _show_chat(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/chat/{site.conversation_id}")


async def _show_run(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/runs/{site.run_id}")


async def _show_conversations(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/conversations")


async def _show_account(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/account")


async def _show_keys(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/account")
    await page.get_by_role("heading", name="API keys").scroll_into_view_if_needed()
    await page.evaluate("document.getElementById('keys-title').scrollIntoView()")


async def _show_admin(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}/web/admin")


PAGES: Final[Mapping[str, Show]] = {
    "start": _show_start,
    "chat-live": _show_live_chat,
    "chat": _show_chat,
    "run": _show_run,
    "conversations": _show_conversations,
    "account": _show_account,
    "keys": _show_keys,
    "admin": _show_admin,
    "login": _show_login,
}


def main() -> None:
    """Take the pictures that the arguments name, by default all."""
    parser = argparse.ArgumentParser(description="Take pictures of the pages.")
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=PAGES, default=list(PAGES), help="pages")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _serve(Path(folder)) as site:
        asyncio.run(_take_all(_fill(site), options.to, options.only))


@contextmanager
def _serve(folder: Path) -> Iterator[Site]:
    """Run the service with the mock, on an empty database in `folder`."""
    (folder / "limits.toml").write_text(_LIMITS)
    shutil.copy("ensembles.toml", folder)
    variables = {name: value for name, value in os.environ.items() if name.upper() not in KNOWN}
    variables |= {
        "PYTHONPATH": str(Path.cwd()),
        "AUTH": "required",
        "DATABASE_URL": f"sqlite:///{folder}/service.db",
        "SPOOL_DIR": str(folder / "spool"),
        "DRAIN_S": "1",
    }
    command = [sys.executable, "-m", "service", "serve", "--port", "0"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        found = _wait_for(log, process, r" on (http://\S+)")
        yield Site(found, folder)
    finally:
        process.terminate()
        process.wait()


def _wait_for(log: Path, process: subprocess.Popen[bytes], pattern: str) -> str:
    """Return the first group of `pattern` in the log of a starting service."""
    deadline = time.monotonic() + _WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"The service has not started:\n{log.read_text()}")


def _fill(site: Site) -> Site:
    """Register users, ask questions, create keys, and copy today's usage to earlier days."""
    code = re.search(r"with the code (\w+)", (site.folder / "log").read_text())
    with httpx.Client(base_url=site.url, timeout=_WAIT_S) as http:
        login = {"name": _NAME, "password": _PASSWORD}
        _post(http, "/api/auth/register", {**login, "invite": code[1] if code else ""})
        http.headers["X-CSRF-Token"] = _post(http, "/api/auth/login", login)["csrf_token"]
        _post(http, "/api/users", {"name": "bob", "email": "bob@example.org"})
        _post(http, "/api/users", {"name": "vic", "role": "viewer"})
        _post(http, "/api/keys", {"name": "laptop", "scopes": ["run", "read"]})
        _post(http, "/api/keys", {"name": "nightly report", "scopes": ["read"]})
        with ThreadPoolExecutor() as pool:
            answered = [*pool.map(partial(_ask, http), _QUESTIONS)][-1]
    _copy_usage(site.folder / "service.db")
    run_id, conversation_id = (answered.headers[f"X-{each}-Id"] for each in ("Run", "Conversation"))
    return Site(site.url, site.folder, run_id, conversation_id)


def _ask(http: httpx.Client, question: str) -> httpx.Response:
    body = {"message": question, "message_id": "m"}
    return http.post("/api/process", json=body).raise_for_status()


def _post(http: httpx.Client, path: str, body: Mapping[str, Any]) -> Any:
    return http.post(path, json=body).raise_for_status().json()


def _copy_usage(database: Path) -> None:
    """Give earlier days a multiple of today's usage, so that the plots have something to show."""
    sums = (
        "runs", "calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
        "cost_nano", "wasted_nano", "unpriced",
    )  # fmt: skip
    multiplied = ", ".join(f"{name} * :times" for name in sums)
    statement = (
        "INSERT INTO usage_sums (level, owner, period, key_id, ensemble, agent, model, writer, "
        f"{', '.join(sums)}) SELECT level, owner, :day, key_id, ensemble, agent, model, "
        f"'screenshots', {multiplied} FROM usage_sums "
        "WHERE period = :today AND level IN ('day', 'day_total')"
    )
    today = datetime.now(UTC).date()
    with sqlite3.connect(database, timeout=_WAIT_S) as connection:
        for ago, times in enumerate(_PAST_DAYS, start=1):
            if not times:
                continue
            day = (today - timedelta(days=ago)).isoformat()
            values = {"day": day, "today": today.isoformat(), "times": times}
            connection.execute(statement, values)
    connection.close()


async def _take_all(site: Site, folder: Path, names: list[str]) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=_find_browser(),
            # Chromium's sandbox does not work for root.
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        for look in LOOKS:
            await _take_look(browser, site, folder, look, names)
        await browser.close()


async def _take_look(
    browser: Browser, site: Site, folder: Path, look: str, names: list[str]
) -> None:
    context = await browser.new_context(**LOOKS[look], reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(f"{site.url}/web/login")
    await page.get_by_label("Name", exact=True).fill(_NAME)
    await page.get_by_label("Password", exact=True).fill(_PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(f"{site.url}/web/")
    for name in PAGES:
        if name in names:
            await PAGES[name](page, site)
            file = folder / f"{name}-{look}.png"
            file.write_bytes(reduce_colours(await page.screenshot()))
            print(f"{file}: {file.stat().st_size // 1000} kB")
    await context.close()


def _find_browser() -> str:
    named = os.environ.get("CHROMIUM")
    found = [place for name in ([named] if named else _BROWSERS) if (place := shutil.which(name))]
    if not found:
        raise SystemExit("Install the system's package chromium, or set CHROMIUM to a program.")
    return found[0]


if __name__ == "__main__":
    main()
