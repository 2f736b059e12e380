"""The caller of a token: never another user than the issuer means."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

import pytest

from service.access.jwks import KeySet, parse_jwks
from service.access.principal import Principal, Role
from service.access.tokens import HMAC, PUBLIC_KEY_ALGORITHMS, TokenClaims, TokenVerifier
from service.accounts.lookup import CachedLookup
from service.accounts.signing_keys import SecretKey
from service.accounts.tokens import Tokens
from service.errors import RequestError
from service.ids import new_id
from service.store.accounts.credentials import ActiveUser
from tests._support.accounts.issuer import (
    AUDIENCE,
    ISSUER,
    SECRET,
    Issuer,
    make_claims,
    make_hs256_token,
)

ALICE = ActiveUser("user_1", "alice", "user", False, {"requests": "1/minute"})
ROOT = ActiveUser("user_2", "root", "admin", False, None)
GONE = ActiveUser("user_3", "gone", "user", True, None)


async def _load(ids: Sequence[str]) -> Mapping[str, ActiveUser]:
    return {each.id: each for each in (ALICE, ROOT, GONE) if each.id in ids}


async def _resolve(**claims: object) -> Principal:
    verifier = TokenVerifier(ISSUER, AUDIENCE, frozenset({HMAC}))
    tokens = Tokens(verifier, SecretKey(SECRET), CachedLookup(_load))
    return await tokens.resolve_token(make_hs256_token(claims=make_claims(**claims)))


@pytest.mark.parametrize("subject", ["alice", "ALICE", "anonymous", "user_9", "jwt:alice"])
async def test_a_subject_that_is_no_users_id_is_an_owner_of_its_own(subject: str) -> None:
    caller = await _resolve(sub=subject)
    assert caller.owner == f"jwt:{subject}"
    assert caller.user == f"jwt:{subject}"
    assert caller.role == "user"


async def test_the_id_of_a_deleted_user_is_no_new_owner() -> None:
    with pytest.raises(RequestError, match="does not exist"):
        await _resolve(sub=new_id("user"))


async def test_the_id_of_a_user_is_that_user() -> None:
    caller = await _resolve(sub="user_1")
    assert (caller.owner, caller.user, caller.role) == ("user_1", "alice", "user")
    assert caller.user_limits == {"requests": "1/minute"}


@pytest.mark.parametrize(
    ("subject", "claimed", "role"),
    [
        ("user_1", "admin", "user"),  # a token restricts its user
        ("user_1", "viewer", "viewer"),
        ("user_2", None, "admin"),
        ("user_2", "user", "user"),
        ("bob", "admin", "admin"),
        ("bob", "unknown", "viewer"),
        ("bob", None, "user"),
    ],
)
async def test_the_role_of_a_token(subject: str, claimed: str | None, role: Role) -> None:
    assert (await _resolve(sub=subject, role=claimed)).role == role


async def test_scopes_of_a_token_are_limited_to_those_of_the_role() -> None:
    assert (await _resolve(sub="bob", scope="run admin openid")).scopes == {"run"}
    assert (await _resolve(sub="bob", scope="openid profile")).scopes == set()


async def test_the_token_of_a_disabled_user_is_refused() -> None:
    with pytest.raises(RequestError, match="disabled"):
        await _resolve(sub="user_3")


class _Source:
    """Signing keys that are loaded late."""

    def __init__(self, keys: KeySet | None, later: KeySet | None = None) -> None:
        self.keys = keys
        self.reloads = 0
        self._later = later

    async def reload(self) -> None:
        self.reloads += 1
        self.keys = self._later or self.keys

    async def watch(self) -> None: ...

    async def close(self) -> None: ...


async def test_a_new_key_of_the_issuer_is_loaded_when_a_token_names_it() -> None:
    issuer = Issuer()
    first, every = ({"keys": issuer.jwks["keys"][:1]}, issuer.jwks)
    source = _Source(parse_jwks(json.dumps(first)), parse_jwks(json.dumps(every)))
    verifier = TokenVerifier(ISSUER, AUDIENCE, PUBLIC_KEY_ALGORITHMS)
    tokens = Tokens(verifier, source, CachedLookup(_load))
    assert (await tokens.resolve_token(issuer.make_token("ES256"))).owner == "jwt:alice"
    assert source.reloads == 1
    with pytest.raises(RequestError, match="unknown key"):
        await tokens.resolve_token(issuer.make_token("ES256", kid="other"))


async def test_before_the_first_keys_a_token_is_neither_valid_nor_invalid() -> None:
    verifier = TokenVerifier(ISSUER, AUDIENCE, PUBLIC_KEY_ALGORITHMS)
    with pytest.raises(RequestError) as caught:
        await Tokens(verifier, _Source(None), CachedLookup(_load)).resolve_token("a.b.c")
    assert caught.value.code == "keys_unavailable"


class _CountingVerifier(TokenVerifier):
    """Counts verified signatures."""

    count = 0

    def verify(self, token: str, keys: KeySet) -> TokenClaims:
        self.count += 1
        return super().verify(token, keys)


async def test_a_signature_is_verified_once_and_the_time_always() -> None:
    verifier = _CountingVerifier(ISSUER, AUDIENCE, frozenset({HMAC}))
    now_s = time.time()
    tokens = Tokens(verifier, SecretKey(SECRET), CachedLookup(_load), lambda: now_s)
    token = make_hs256_token(claims=make_claims(exp=int(now_s) + 60))
    for _ in range(3):
        await tokens.resolve_token(token)
    assert verifier.count == 1
    now_s += 100
    with pytest.raises(RequestError, match="has expired"):
        await tokens.resolve_token(token)


async def test_a_key_that_the_issuer_removed_ends_its_tokens() -> None:
    issuer = Issuer()
    source = _Source(parse_jwks(json.dumps(issuer.jwks)))
    verifier = TokenVerifier(ISSUER, AUDIENCE, PUBLIC_KEY_ALGORITHMS)
    tokens = Tokens(verifier, source, CachedLookup(_load))
    await tokens.resolve_token(issuer.make_token("ES256"))
    source.keys = parse_jwks(json.dumps({"keys": issuer.jwks["keys"][:1]}))
    with pytest.raises(RequestError, match="unknown key"):
        await tokens.resolve_token(issuer.make_token("ES256"))
    token = issuer.make_token("RS256")
    await tokens.resolve_token(token)
    source.keys = parse_jwks(json.dumps({"keys": issuer.jwks["keys"][1:]}))
    with pytest.raises(RequestError, match="unknown key"):
        await tokens.resolve_token(token)
