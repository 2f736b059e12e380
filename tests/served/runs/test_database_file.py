"""A SQLite file that is deleted, moved or replaced while the service has it open."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests._support.clients.api import Api, asking, assert_whole, client_of, follow, until
from tests._support.llm.recorder import Recorder
from tests._support.recovery.installation import Installation
from tests._support.servers.service_log import read_log_lines
from tests._support.servers.services import Start

Damage = Callable[[Path], None]


def _delete(database: Path) -> None:
    for each in database.parent.glob(f"{database.name}*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def _move(database: Path) -> None:
    database.rename(database.with_name("moved.db"))


def _put_back(database: Path) -> None:
    database.with_name("moved.db").rename(database)


def _replace_by_a_backup(database: Path) -> None:
    backup = database.with_name("backup.db")
    shutil.copy(database, backup)
    backup.rename(database)


def _delete_the_folder(database: Path) -> None:
    shutil.rmtree(database.parent)


def _delete_the_log(database: Path) -> None:
    database.with_name(f"{database.name}-wal").unlink()


def _delete_the_shared_memory(database: Path) -> None:
    database.with_name(f"{database.name}-shm").unlink()


DAMAGES = [
    _delete,
    _move,
    _replace_by_a_backup,
    _delete_the_folder,
    _delete_the_log,
    _delete_the_shared_memory,
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "service.db"


@pytest.fixture
def place(start: Start, recorder: Recorder, tmp_path: Path, database: Path) -> Any:
    made = Installation(start, recorder, tmp_path / "installation", f"sqlite:///{database}")
    made.settings["SPOOL_DIR"] = str(tmp_path / "spool")
    yield made
    made.end()


def _is_there(database: Path) -> bool:
    return database.exists()


async def _check_store(api: Api) -> str:
    checks = (await api.http.get("/health")).json()["checks"]
    return str(checks["store"])


@pytest.mark.parametrize("damage", DAMAGES)
async def test_new_runs_are_refused_and_health_reports_it(
    place: Installation, database: Path, damage: Damage
) -> None:
    async with client_of(place.serve().url) as api:
        await api.ask()
        assert await _check_store(api) == "ok"
        damage(database)
        assert "while the service was running" in await _check_store(api)
        question = "Why is the sea salty?"
        refused = await api.http.post("/api/process", json=asking(question))
        assert refused.status_code == 503, refused.text
        assert refused.json()["code"] == "storage_unavailable"
        assert int(refused.headers["retry-after"]) > 0
        assert place.models.of(question) == []


@pytest.mark.parametrize("damage", [_delete, _move, _delete_the_folder])
async def test_no_file_takes_the_place_of_a_missing_one(
    place: Installation, database: Path, damage: Damage
) -> None:
    async with client_of(place.serve().url) as api:
        await api.ask()
        damage(database)
        for path in ("/history", "/search?query=sky", "/api/conversations", "/health"):
            assert (await api.http.get(path)).status_code in (200, 503)
            await api.http.post("/api/process", json=asking())
    assert not _is_there(database)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_running_answer_reaches_its_reader(
    place: Installation, database: Path, damage: Damage
) -> None:
    async with client_of(place.serve().url) as api, api.asked(ensemble="steady") as response:
        events = follow(response)
        seen = [await anext(events)]
        damage(database)
        seen += [event async for event in events]
    assert_whole(seen)
    assert seen[-1].data["status"] == "Completed"


async def test_the_same_file_is_used_again_when_it_is_put_back(
    place: Installation, database: Path
) -> None:
    async with client_of(place.serve().url) as api:
        async with api.asked(ensemble="steady") as response:
            events = follow(response)
            seen = [await anext(events)]
            _move(database)
            seen += [event async for event in events]
        assert (await api.http.post("/api/process", json=asking())).status_code == 503
        _put_back(database)

        async def is_well() -> bool:
            return await _check_store(api) == "ok"

        await until(is_well)
        assert (await api.ask())[-1].data["status"] == "Completed"
        shown = (await api.http.get(f"/history/{seen[0].run_id}")).json()
        assert shown["status"] == "completed"


async def test_a_copy_over_the_file_is_the_same_file(place: Installation, database: Path) -> None:
    service = place.serve()
    async with client_of(service.url) as api:
        await api.ask()
    service.end()
    backup = shutil.copy(database, database.with_name("backup.db"))
    async with client_of(place.serve().url) as api:
        shutil.copy(backup, database)
        assert await _check_store(api) == "ok"
        assert (await api.ask())[-1].data["status"] == "Completed"


@pytest.mark.parametrize("damage", [_replace_by_a_backup, _delete_the_log])
async def test_after_a_restart_the_service_uses_the_file_that_is_in_place(
    place: Installation, database: Path, damage: Damage
) -> None:
    service = place.serve()
    async with client_of(service.url) as api:
        run_id = (await api.ask())[0].run_id
        damage(database)
        assert (await api.http.post("/api/process", json=asking())).status_code == 503
    service.end()
    async with client_of(place.serve().url) as api:
        assert await _check_store(api) == "ok"
        assert (await api.ask())[-1].data["status"] == "Completed"
        if damage is _delete_the_log:  # its content is in the file since the stop
            assert (await api.http.get(f"/history/{run_id}")).status_code == 200


async def test_the_fault_is_logged_once(place: Installation, database: Path) -> None:
    service = place.serve()
    async with client_of(service.url) as api:
        await api.ask()
        _move(database)
        for _ in range(5):
            await api.http.post("/api/process", json=asking())
            await api.http.get("/history")
            await _check_store(api)
    logged = [
        line for line in read_log_lines(service) if "was deleted, moved or replaced" in str(line)
    ]
    assert len([line for line in logged if line["level"].lower() == "error"]) == 1
