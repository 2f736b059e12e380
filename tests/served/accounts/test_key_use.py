"""Keys while the database is away, and the time of their last use."""

from __future__ import annotations

import httpx

from tests._support.accounts.rows import AccountRows
from tests._support.patience import PATIENCE_S
from tests._support.recovery.database_faults import down
from tests._support.servers.databases import Postgres
from tests._support.servers.services import Start


async def test_without_the_database_known_keys_work_and_others_wait(
    start: Start, postgres: Postgres
) -> None:
    url = postgres.new_database()
    settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "true", "STORE_TIMEOUT_S": "2"}
    service = start(AUTH="required", **settings)
    rows = AccountRows(url)
    known, other = await rows.add_user("alice"), await rows.add_user("bob")
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as http:
        assert (await http.get("/api/me", headers=known.headers)).status_code == 200
        with down(postgres):
            assert (await http.get("/api/me", headers=known.headers)).status_code == 200
            refused = await http.get("/api/me", headers=other.headers)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert (await http.get("/api/me")).status_code == 401
        while (await http.get("/api/me", headers=other.headers)).status_code == 503:
            pass
        assert (await http.get("/api/me", headers=other.headers)).status_code == 200


async def test_the_last_use_of_a_key_is_stored_when_the_service_ends(start: Start) -> None:
    service = start(AUTH="required")
    rows = AccountRows(f"sqlite:///{service.folder}/data/service.db")
    user = await rows.add_user("alice")
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as http:
        assert (await http.get("/api/me", headers=user.headers)).status_code == 200
    assert await rows.last_use(user.key.id) is None  # a request costs no write
    service.end()
    assert await rows.last_use(user.key.id) is not None
