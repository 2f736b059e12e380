"""Passwords: accepted forms, equal forms, hashes, and the bound on concurrent hashes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from service.accounts.logins.passwords import Passwords, check_new_password, normalize_password
from service.errors import RequestError

_CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(_CHEAP)
    yield made
    made.close()


@pytest.mark.parametrize(
    "password",
    [
        "", "1234567", "ä" * 3, "x" * 1_025, "ä" * 513, "aaaaaaaaaaaa", "Password1",
        "ＰＡＳＳＷＯＲＤ１", "qwertyuiop", "alice.smith", "ALICE.SMITH",
        "with\0nul12", "with\ud800surrogate",
        "with\ufffdreplacement", "with\nnewline",
    ],
)  # fmt: skip
def test_an_unsuitable_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match=r"must|first"):
        check_new_password(password, "Alice.Smith")


@pytest.mark.parametrize(
    "password", ["correct horse", "äöüß", "x1y" * 341, "密码很长很长", " pad ding "]
)
def test_a_password_of_8_to_1024_bytes_is_accepted(password: str) -> None:
    assert check_new_password(password, "alice") == password


def test_composed_letters_and_spaces_of_all_kinds_are_equal() -> None:
    assert normalize_password("Zoe\u0308\u00a0x") == normalize_password("Zoë x")
    assert normalize_password("ﬁne") != normalize_password("fine")


async def test_every_byte_of_a_long_password_counts(passwords: Passwords) -> None:
    long = "x1y" * 341
    hashed = await passwords.hash(long)
    assert await passwords.verify(hashed, long)
    assert not await passwords.verify(hashed, long[:-1])


async def test_without_a_hash_the_same_work_is_done_and_nothing_matches(
    passwords: Passwords,
) -> None:
    hashed = await passwords.hash("correct horse")
    assert passwords.hash_count == 1
    for password_hash in (hashed, None, "not a hash"):
        assert not await passwords.verify(password_hash, "wrong")
    assert passwords.hash_count == 4


async def test_a_hash_of_other_parameters_is_recognized(passwords: Passwords) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash("correct horse")
    assert await passwords.verify(old, "correct horse")
    assert passwords.needs_rehash(old)
    assert not passwords.needs_rehash(await passwords.hash("correct horse"))


async def test_beyond_a_bounded_queue_logins_are_refused(passwords: Passwords) -> None:
    results = await asyncio.gather(
        *(passwords.verify(None, "x") for _ in range(100)), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, RequestError)]
    assert {each.code for each in refused} == {"overloaded"}
    assert all(each.headers["Retry-After"] for each in refused)
    assert [each for each in results if each is False] == [False] * 32
    assert not await passwords.verify(None, "x")


async def test_a_client_that_leaves_makes_room(passwords: Passwords) -> None:
    for _ in range(100):
        leaving = asyncio.create_task(passwords.verify(None, "x"))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    assert not await passwords.verify(None, "x")
