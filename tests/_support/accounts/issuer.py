"""An issuer of tokens: its keys, its JWKS, and tokens built by hand, also malformed ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://idp.test"
AUDIENCE = "llm-sse"
SECRET = "a-shared-secret-of-32-bytes-0123"


def encode(data: bytes | str | dict[str, Any]) -> str:
    """Return a segment of a token."""
    if isinstance(data, dict):
        data = json.dumps(data)
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def make_claims(**changes: Any) -> dict[str, Any]:
    """Return valid claims with changes; the value None removes a claim."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 600}
    return {name: value for name, value in (claims | changes).items() if value is not None}


def sign_hs256(signed: str, secret: str | bytes = SECRET) -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, signed.encode(), hashlib.sha256).digest()


def make_hs256_token(
    header: str | dict[str, Any] | None = None,
    claims: bytes | str | dict[str, Any] | None = None,
    secret: str | bytes = SECRET,
) -> str:
    """Return a token whose signature fits header and claims, whatever they are."""
    shown_header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = f"{encode(shown_header)}.{encode(make_claims() if claims is None else claims)}"
    return f"{signed}.{encode(sign_hs256(signed, secret))}"


@dataclass
class Issuer:
    """Three keys, one for each algorithm, whose ids are the algorithms' names."""

    rsa_key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(65537, 2048)
    )
    ec_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    ed_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        numbers = self.rsa_key.public_key().public_numbers()
        point = self.ec_key.public_key().public_numbers()
        raw = self.ed_key.public_key().public_bytes_raw()
        return {
            "keys": [
                {"kty": "RSA", "kid": "RS256", "use": "sig", "alg": "RS256",
                 "n": _number(numbers.n, 256), "e": _number(numbers.e, 3)},
                {"kty": "EC", "kid": "ES256", "crv": "P-256",
                 "x": _number(point.x, 32), "y": _number(point.y, 32)},
                {"kty": "OKP", "kid": "EdDSA", "crv": "Ed25519", "x": encode(raw)},
            ]
        }  # fmt: skip

    @property
    def public_pem(self) -> bytes:
        """The public RSA key as a file, which an attacker may use as a shared secret."""
        return self.rsa_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def make_token(self, algorithm: str = "RS256", claims: Any = None, **header: Any) -> str:
        """Return a token; `header` changes its header, and None removes a field of it."""
        fields = {"alg": algorithm, "kid": algorithm} | header
        shown = {name: value for name, value in fields.items() if value is not None}
        signed = f"{encode(shown)}.{encode(make_claims() if claims is None else claims)}"
        return f"{signed}.{encode(self.sign(algorithm, signed.encode()))}"

    def sign(self, algorithm: str, data: bytes) -> bytes:
        if algorithm == "RS256":
            return self.rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec_key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.ed_key.sign(data)


def _number(value: int, size: int) -> str:
    return encode(value.to_bytes(size, "big"))
