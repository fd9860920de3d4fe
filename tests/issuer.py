"""An OIDC issuer on loopback with real keys, and the tokens that it, or a forger, makes.

Tokens are put together by hand: the library that checks them refuses to make most of the bad ones.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from local_cloud.ports import free_port
from token_service.issuer_keys import DISCOVERY_PATH

AUDIENCE = "api://airlock"

Json = dict[str, Any]
Sign = Callable[[bytes], bytes]


def encode(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assemble(header: Json | bytes, claims: Json | bytes, sign: Sign) -> str:
    """A token of these parts, as JSON or as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = ".".join(encode(part) for part in parts)
    return f"{signed}.{encode(sign(signed.encode()))}"


class RsaKey:
    """An RSA key pair."""

    algorithm = "RS256"

    def __init__(self, bits: int = 2_048) -> None:
        self.private = rsa.generate_private_key(public_exponent=65_537, key_size=bits)

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def jwk(self, kid: str | None, **more: object) -> Json:
        """Its public half as issuers publish it."""
        numbers = self.private.public_key().public_numbers()
        members = {"n": numbers.n, "e": numbers.e}
        named = {name: encode(value.to_bytes((value.bit_length() + 7) // 8)) for name, value in members.items()}
        return {"kty": "RSA", **({"kid": kid} if kid else {}), "use": "sig", **named, **more}


class EcKey:
    """A P-256 key pair."""

    algorithm = "ES256"

    def __init__(self, curve: ec.EllipticCurve | None = None, name: str = "P-256") -> None:
        self.private = ec.generate_private_key(curve or ec.SECP256R1())
        self._name = name

    def sign(self, data: bytes) -> bytes:
        pair = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(32) for number in pair)

    def jwk(self, kid: str | None, **more: object) -> Json:
        """Its public half as issuers publish it."""
        numbers = self.private.public_key().public_numbers()
        size = (self.private.key_size + 7) // 8
        members = {"x": encode(numbers.x.to_bytes(size)), "y": encode(numbers.y.to_bytes(size))}
        return {"kty": "EC", "crv": self._name, **({"kid": kid} if kid else {}), **members, **more}


@cache
def rsa_key(name: str) -> RsaKey:
    """One key for each name in the whole run: making them takes time."""
    return RsaKey()


@cache
def ec_key(name: str) -> EcKey:
    """The same for elliptic curves."""
    return EcKey()


def claims_of(issuer: str, now: float | None = None, **changes: Any) -> Json:
    """What a good token says; ``None`` leaves a claim out."""
    now = int(time.time() if now is None else now)
    usual = {"iss": issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "nbf": now, "exp": now + 300}
    return {name: value for name, value in (usual | changes).items() if value is not None}


class LocalIssuer:
    """Publishes metadata and keys at ``url`` from ``start`` to ``stop``; tests change what it does meanwhile.

    Attributes:
        keys: what it publishes: a JWKS' keys.
        metadata: what it says of itself.
        answer: replaces its answer to every request, if set.
        requests: the paths it was asked for, in order.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys: list[Json] = [rsa_key("one").jwk("rsa-1"), ec_key("one").jwk("ec-1")]
        self.metadata: Json = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint": f"{self.url}/token",
        }
        self.answer: Callable[[web.Request], web.StreamResponse] | None = None
        self.requests: list[str] = []
        self._asked = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> LocalIssuer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Begin to answer."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls).start()

    async def stop(self) -> None:
        """Be away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def asked(self, path: str, times: int = 1) -> None:
        """Return once a path was asked for so many times in all."""
        async with asyncio.timeout(15), self._asked:
            await self._asked.wait_for(lambda: self.requests.count(path) >= times)

    def token(
        self,
        key: RsaKey | EcKey | None = None,
        kid: str | None = "rsa-1",
        header: Mapping[str, object] = {},
        **changes: Any,
    ) -> str:
        """A token that it signed, with changed claims; ``None`` leaves one out."""
        key = key or rsa_key("one")
        named = {"kid": kid} if kid else {}
        return assemble(
            {"alg": key.algorithm, "typ": "JWT", **named, **header}, claims_of(self.url, **changes), key.sign
        )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        async with self._asked:
            self.requests.append(request.path)
            self._asked.notify_all()
        if self.answer is not None:
            return self.answer(request)
        if request.path not in (DISCOVERY_PATH, "/keys"):
            raise web.HTTPNotFound
        return web.json_response(self.document(request.path))

    def document(self, path: str) -> Json:
        """What it publishes at a path."""
        return self.metadata if path == DISCOVERY_PATH else {"keys": self.keys}
