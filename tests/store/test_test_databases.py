"""The database servers of the tests behave as the tests require."""

from __future__ import annotations

import asyncio

import asyncpg  # type: ignore[import-untyped]  # it has no stubs
import pytest
from redis.asyncio import Redis as Client
from redis.exceptions import AuthenticationError

from tests._support.servers.databases import Postgres, Redis, redis_server


async def test_each_postgresql_database_is_empty_and_separate(postgres: Postgres) -> None:
    urls = [postgres.new_database() for _ in range(2)]
    postgres.execute("CREATE TABLE things (id int)", urls[0].rpartition("/")[2])
    for url, tables in zip(urls, (1, 0), strict=True):
        connection = await asyncpg.connect(url)
        found = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert await connection.fetchval(found) == tables
        assert await connection.fetchval("SHOW timezone") == "Pacific/Auckland"
        await connection.close()
        postgres.drop_database(url)


async def test_a_suspended_postgresql_answers_after_it_is_resumed(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url())
    postgres.stop_the_world()
    try:
        query = asyncio.create_task(connection.fetchval("SELECT 1"))
        done, _ = await asyncio.wait([query], timeout=0.3)
        assert not done
    finally:
        postgres.resume()
    assert await query == 1
    await connection.close()


async def test_a_restarted_postgresql_keeps_its_address_and_its_data(postgres: Postgres) -> None:
    url = postgres.new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE things (id int)")
    await connection.close()
    postgres.restart()
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM things") == 0
    await connection.close()
    postgres.drop_database(url)


async def test_redis_is_empty_for_each_test(redis: Redis, redis_url: str) -> None:
    async with Client.from_url(redis_url) as client:
        await client.set("a", "1")
        redis.empty()
        assert await client.get("a") is None


async def test_redis_can_require_a_password() -> None:
    with redis_server("secret") as server:
        async with Client.from_url(server.url) as client:
            assert await client.set("a", "1")
        async with Client.from_url(server.url.replace(":secret@", "")) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.get("a")


def test_both_kinds_of_database_are_offered(database_url: str) -> None:
    assert database_url.startswith(("sqlite:///", "postgresql://"))
