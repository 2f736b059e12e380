"""Pages of runs and conversations with accounts: of their owner, with the actions of a role."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests._support.accounts.rows import AccountRows, TestUser
from tests._support.clients.api import asking, events_of
from tests._support.pages.parsed import PageElement, parse_page
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told


@dataclass(frozen=True)
class _Office:
    """A service with accounts, and its users by role."""

    process: Process
    rows: AccountRows
    users: dict[str, TestUser]

    def get(self, path: str, headers: dict[str, str]) -> httpx.Response:
        accepted = {"Accept": "text/html", **headers}
        return httpx.get(f"{self.process.url}{path}", headers=accepted, timeout=PATIENCE_S)

    def open(self, path: str, headers: dict[str, str]) -> PageElement:
        response = self.get(path, headers)
        assert response.status_code == 200, response.text
        return parse_page(response.text)


@pytest.fixture(scope="module")
def office(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Office]:
    folder = tmp_path_factory.mktemp("office")
    url = f"sqlite:///{folder}/service.db"
    settings = {**told(folder), "DATABASE_URL": url, "AUTH": "required"}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        rows = AccountRows(url)
        users = {name: asyncio.run(rows.add_user(name)) for name in ("ann", "bob")}
        yield _Office(process, rows, users)


def _ask(office: _Office, user: TestUser) -> tuple[str, str]:
    url = f"{office.process.url}/api/process"
    body = asking("Where do quolls live?")
    answer = httpx.post(url, json=body, headers=user.headers, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    first = events_of(answer.content)[0]
    return first.run_id, str(first.data["conversation_id"])


def test_another_users_pages_do_not_exist(office: _Office) -> None:
    ann, bob = office.users["ann"], office.users["bob"]
    run_id, conversation_id = _ask(office, ann)
    paths = (f"/web/runs/{run_id}", f"/web/runs/{run_id}?agent=llm-1")
    for path in (*paths, f"/web/conversations/{conversation_id}"):
        assert office.get(path, ann.headers).status_code == 200
        hidden = office.get(path, bob.headers)
        assert hidden.status_code == 404
        assert "quolls" not in hidden.text
        visitor = office.get(path, {})
        assert visitor.status_code == 303
        assert visitor.headers["Location"].startswith("/web/login?next=%2Fweb%2F")
    assert "Where do quolls" in office.open("/web/conversations?q=quolls", ann.headers).text
    for query in ("", "?q=quolls"):
        assert "Where do quolls" not in office.open(f"/web/conversations{query}", bob.headers).text


async def test_a_reader_sees_no_action_that_would_fail(office: _Office) -> None:
    ann = office.users["ann"]
    run_id, _ = _ask(office, ann)
    key = await office.rows.add_key(ann.id, ["read"])
    reader = {"Authorization": f"Bearer {key.text}"}
    run = f"/web/runs/{run_id}"
    for path, tag, attribute in (
        (run, "form", "data_resynthesize"),
        (run, "form", "data_feedback"),
        ("/web/conversations", "button", "data_rename"),
        ("/web/conversations", "button", "data_delete"),
    ):
        assert _has(office.open(path, ann.headers), tag, attribute)
        assert not _has(office.open(path, reader), tag, attribute)
    assert f"/api/runs/{run_id}/export" in office.open(run, reader).list_links()


def _has(page: PageElement, tag: str, attribute: str) -> bool:
    name = attribute.replace("_", "-")
    return any(name in each.attributes for each in page.find_all(tag))
