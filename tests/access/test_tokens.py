"""Verification of JWTs: valid ones of each algorithm, and attacks with tokens built by hand."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any

import pytest

from service.access.jwks import JwksError, KeySet, VerificationKey, parse_jwks
from service.access.strict_jws import TokenError
from service.access.tokens import HMAC, PUBLIC_KEY_ALGORITHMS, TokenVerifier, UnknownKeyError
from tests._support.accounts.issuer import (
    AUDIENCE,
    ISSUER,
    SECRET,
    Issuer,
    encode,
    make_claims,
    make_hs256_token,
    sign_hs256,
)

SHARED = TokenVerifier(ISSUER, AUDIENCE, frozenset({HMAC}))
PUBLIC = TokenVerifier(ISSUER, AUDIENCE, PUBLIC_KEY_ALGORITHMS)
SECRET_KEYS = KeySet([VerificationKey(None, HMAC, SECRET.encode())])
NOW = int(time.time())


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def keys(issuer: Issuer) -> KeySet:
    return parse_jwks(json.dumps(issuer.jwks))


def _refuse(token: str) -> str:
    with pytest.raises(TokenError) as caught:
        SHARED.verify(token, SECRET_KEYS)
    return str(caught.value)


def test_a_token_of_the_shared_secret_is_valid() -> None:
    claims = SHARED.verify(make_hs256_token(), SECRET_KEYS)
    assert (claims.subject, claims.role, claims.scopes) == ("alice", None, None)


@pytest.mark.parametrize("algorithm", sorted(PUBLIC_KEY_ALGORITHMS))
def test_a_token_of_each_public_key_is_valid(issuer: Issuer, keys: KeySet, algorithm: str) -> None:
    assert PUBLIC.verify(issuer.make_token(algorithm), keys).subject == "alice"
    # With one key of the algorithm the id may be missing.
    assert PUBLIC.verify(issuer.make_token(algorithm, kid=None), keys).subject == "alice"


@pytest.mark.parametrize(
    ("changes", "role", "scopes"),
    [
        ({"role": "admin"}, "admin", None),
        ({"role": ["offline_access", "viewer", "user"]}, "user", None),
        ({"role": "uma_authorization viewer"}, "viewer", None),
        ({"role": "root"}, "viewer", None),
        ({"role": []}, "viewer", None),
        ({"scope": "openid run read"}, None, {"openid", "run", "read"}),
        ({"scope": ["run"]}, None, {"run"}),
        ({"scope": ""}, None, set()),
    ],
)
def test_role_and_scope_are_texts_or_lists(
    changes: dict[str, Any], role: str | None, scopes: set[str] | None
) -> None:
    claims = SHARED.verify(make_hs256_token(claims=make_claims(**changes)), SECRET_KEYS)
    assert (claims.role, claims.scopes) == (role, scopes)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [AUDIENCE, "other"]},
        {"nbf": NOW - 60, "iat": NOW - 60},
        {"exp": float(NOW + 6_000)},
        {"sub": "auth0|5f7c8ec7c33c6c004bbafe82"},
        {"sub": "名前"},
    ],
)
def test_unusual_claims_are_valid(changes: dict[str, Any]) -> None:
    SHARED.verify(make_hs256_token(claims=make_claims(**changes)), SECRET_KEYS)


def test_a_token_is_valid_for_some_seconds_after_its_end() -> None:
    token = make_hs256_token(claims=make_claims(exp=int(time.time()) - 2))
    SHARED.verify(token, SECRET_KEYS)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": NOW - 60},
        {"exp": -1},
        {"exp": 0},
        {"exp": str(NOW + 6_000)},
        {"exp": [NOW + 6_000]},
        {"exp": True},
        {"exp": 10**30},
        {"exp": {}},
        {"nbf": NOW + 6_000},
        {"nbf": "soon"},
        {"nbf": str(NOW - 60)},
        {"iat": NOW + 6_000},
        {"iat": [1]},
        {"aud": None},
        {"aud": "other"},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": {AUDIENCE: True}},
        {"aud": [AUDIENCE, 1]},
        {"aud": AUDIENCE + " "},
        {"aud": AUDIENCE.upper()},
        {"iss": None},
        {"iss": "https://evil.test"},
        {"iss": [ISSUER]},
        {"iss": ISSUER + "/"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["alice"]},
        {"sub": "a" * 256},
        {"sub": "alice\0"},
        {"sub": "alice\n"},
        {"sub": "\ud800"},
        {"role": {"admin": True}},
        {"role": [1]},
        {"scope": 1},
        {"scope": {"run": True}},
        {"jti": 1},
    ],
)
def test_wrong_claims_are_refused(changes: dict[str, Any]) -> None:
    _refuse(make_hs256_token(claims=make_claims(**changes)))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '"text"',
        "",
        "{",
        json.dumps(make_claims()) + "{}",
        json.dumps(make_claims())[:-1] + ', "sub": "root"}',  # the last of two keys wins elsewhere
        json.dumps(make_claims())[:-1] + ', "x": {"a": 1, "a": 2}}',
        json.dumps(make_claims())[:-1] + ', "exp": 1e999}',
        json.dumps(make_claims(exp=None))[:-1] + ', "exp": 1e999}',
        json.dumps(make_claims(exp=None))[:-1] + ', "exp": NaN}',
        json.dumps(make_claims(exp=None))[:-1] + ', "exp": ' + "9" * 4_400 + "}",
        json.dumps(make_claims())[:-1] + ', "x": ' + "[" * 2_500 + "]" * 2_500 + "}",
        b"\xff" + json.dumps(make_claims()).encode(),
        json.dumps(make_claims()).encode("utf-16"),
        json.dumps(make_claims())[:-1].encode() + b', "x": "\xed\xa0\x80"}',
    ],
    ids=map(str, count()),  # the claims hold the time
)
def test_malformed_claims_are_refused(text: str | bytes) -> None:
    _refuse(make_hs256_token(claims=text))


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": "hs256"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": "none"},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "crit": []},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "b64": False},
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "kid": ""},
        {"alg": "HS256", "kid": "k" * 300},
        '{"alg": "none", "alg": "HS256"}',
        '{"alg": "HS256", "alg": "HS256"}',
        "null",
        "[]",
    ],
)
def test_wrong_headers_are_refused(header: Any) -> None:
    _refuse(make_hs256_token(header=header))


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", ""])
@pytest.mark.parametrize("signature", ["", "AA", "."])
def test_a_token_without_a_signature_is_refused(algorithm: str, signature: str) -> None:
    _refuse(f"{encode({'alg': algorithm})}.{encode(make_claims())}.{signature}")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",
        make_hs256_token() + ".x",
        make_hs256_token() + "=",
        make_hs256_token().replace(".", " .", 1),
        make_hs256_token() + "\n",
        make_hs256_token()[:-2],
        "x" * 9_000,
        make_hs256_token(claims=make_claims(x="y" * 8_192)),
        make_hs256_token(secret=SECRET[:-1] + "4"),
        make_hs256_token(secret=""),
        "é.é.é",
    ],
)
def test_malformed_and_forged_tokens_are_refused(token: str) -> None:
    _refuse(token)


def test_a_refusal_contains_nothing_of_the_token() -> None:
    token = make_hs256_token(claims=make_claims(sub="canary\n", x="canary"), secret="other" * 8)
    assert "canary" not in _refuse(token)


# --- confusion of keys and algorithms ---


def test_a_public_key_is_not_a_shared_secret(issuer: Issuer, keys: KeySet) -> None:
    for secret in (issuer.public_pem, issuer.public_pem.strip(), json.dumps(issuer.jwks)):
        token = make_hs256_token({"alg": "HS256", "kid": "RS256"}, secret=secret)
        with pytest.raises(TokenError, match="algorithm is not accepted"):
            PUBLIC.verify(token, keys)


@pytest.mark.parametrize(
    ("algorithm", "kid"), [("ES256", "RS256"), ("RS256", "ES256"), ("EdDSA", "RS256")]
)
def test_a_key_is_used_with_its_own_algorithm_only(
    issuer: Issuer, keys: KeySet, algorithm: str, kid: str
) -> None:
    with pytest.raises(UnknownKeyError):
        PUBLIC.verify(issuer.make_token(algorithm, kid=kid), keys)


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/etc/passwd",
        "https://evil.test/key",
        "x' OR '1'='1",
        "RS256\0",
        "rs256",
        "RS256 ",
        "0",
    ],
)
def test_a_key_id_is_only_compared(issuer: Issuer, keys: KeySet, kid: str) -> None:
    with pytest.raises(UnknownKeyError):
        PUBLIC.verify(issuer.make_token(kid=kid), keys)


@pytest.mark.parametrize("with_kid", [True, False])
def test_keys_in_the_header_are_not_used(keys: KeySet, with_kid: bool) -> None:
    attacker = Issuer()
    (jwk, *_) = attacker.jwks["keys"]
    kid = "RS256" if with_kid else None
    for field in ({"jwk": jwk}, {"jku": "https://evil.test"}, {"x5u": "https://evil.test"},
                  {"x5c": ["MIIB"]}):  # fmt: skip
        with pytest.raises(TokenError, match="signature is wrong"):
            PUBLIC.verify(attacker.make_token(kid=kid, **field), keys)


@pytest.mark.parametrize(
    "signature", [b"", b"\0" * 64, b"\xff" * 64, b"\0" * 63, b"\x30\x06\x02\x01\x00\x02\x01\x00"]
)
def test_a_malformed_elliptic_signature_is_refused(
    issuer: Issuer, keys: KeySet, signature: bytes
) -> None:
    signed, _, _ = issuer.make_token("ES256").rpartition(".")
    with pytest.raises(TokenError):
        PUBLIC.verify(f"{signed}.{encode(signature)}", keys)


def test_a_changed_claim_invalidates_the_signature(issuer: Issuer, keys: KeySet) -> None:
    for algorithm in PUBLIC_KEY_ALGORITHMS:
        header, _, signature = issuer.make_token(algorithm).split(".")
        with pytest.raises(TokenError, match="signature is wrong"):
            PUBLIC.verify(f"{header}.{encode(make_claims(sub='root'))}.{signature}", keys)


# --- key sets ---


def _jwk(issuer: Issuer, algorithm: str, **changes: Any) -> dict[str, Any]:
    (found,) = (each for each in issuer.jwks["keys"] if each["kid"] == algorithm)
    return {name: value for name, value in (found | changes).items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"kty": "oct", "k": encode(SECRET)},
        {"kty": "other"},
        {"kty": None},
        {"n": "AQAB"},
        {"n": None},
        {"n": "§"},
        {"e": 65537},
    ],
)
def test_unsuitable_keys_of_a_set_are_ignored(issuer: Issuer, changes: dict[str, Any]) -> None:
    usable = _jwk(issuer, "ES256")
    found = parse_jwks(json.dumps({"keys": [_jwk(issuer, "RS256", **changes), usable, 7, None]}))
    assert len(found) == 1


def test_a_point_outside_of_the_curve_is_no_key(issuer: Issuer) -> None:
    with pytest.raises(JwksError, match="no public key"):
        parse_jwks(json.dumps({"keys": [_jwk(issuer, "ES256", y=encode(b"\1" * 32))]}))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"keys": {}}', '{"keys": []}', "[" * 100_000, b"\xff"]
)
def test_a_document_without_keys_is_refused(text: str | bytes) -> None:
    with pytest.raises(JwksError):
        parse_jwks(text)


def test_of_two_keys_with_one_id_none_is_used(issuer: Issuer) -> None:
    other = Issuer()
    both = {"keys": [_jwk(issuer, "RS256"), _jwk(other, "RS256")]}
    with pytest.raises(UnknownKeyError):
        PUBLIC.verify(issuer.make_token(), parse_jwks(json.dumps(both)))


def test_signatures_cover_the_header() -> None:
    _, claims, _ = make_hs256_token().split(".")
    header = encode({"alg": "HS256", "x": 1})
    signature = encode(sign_hs256(f"{encode({'alg': 'HS256'})}.{claims}"))
    _refuse(f"{header}.{claims}.{signature}")
