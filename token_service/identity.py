"""Whether a signed token (JWT) of the OIDC issuer is valid here, and whom it names. Pure: keys and time are arguments.

PyJWT checks the signature, with a key and an algorithm that are chosen here and never by the token: its ``jku``,
``x5u``, ``jwk`` and ``x5c`` headers are not read. Header and claims are read strictly, so that what is judged is what
anybody else would read in the same token. Sources: RFC 7519, RFC 8725 (best practices), OpenID Connect Core §3.1.3.7.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jwt import PyJWS
from jwt.exceptions import PyJWTError

from service_kit import strict_json
from token_service.issuer_keys import KEY_KIND, IssuerKey

CLOCK_SKEW_SECONDS: Final = 60
"""How far the issuer's clock may be from ours."""
MAX_SUBJECT_CHARS: Final = 256
MAX_TENANT_CHARS: Final = 128
_JWS: Final = PyJWS(algorithms=tuple(KEY_KIND))
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
# What may come as a bearer credential. Others exist for other purposes: logout+jwt, dpop+jwt, secevent+jwt…
_TYPES: Final = frozenset({"jwt", "at+jwt"})
# Claims that hold several words in one string (RFC 8693 §4.2, Entra ID).
_WORDS: Final = frozenset({"scope", "scp"})


class InvalidIdentity(Exception):
    """The token is not valid here. ``reason`` is for our log: a fixed phrase, nothing of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(InvalidIdentity):
    """No key that we hold has the name that the token gives; the issuer may have a newer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRules:
    """What a token must say to be valid here, and where it says whom it names.

    ``audiences`` are the names by which the issuer knows us; the token must be for one of them. A claim is a dotted
    path, or the whole name of one that holds a slash (``https://example.com/roles``). Without ``tenant_claim``
    everybody is in ``tenant``.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    subject_claim: str = "sub"
    tenant_claim: str | None = None
    roles_claim: str = "roles"
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a valid token names."""

    subject: str
    tenant: str
    roles: frozenset[str] = frozenset()


def is_jwt(credential: str) -> bool:
    """Whether a credential has the shape of a signed token: three parts with dots between, the last perhaps empty.

    The shape alone decides, so that no credential can be taken for a JWT and for an API key.
    """
    return _SHAPE.fullmatch(credential) is not None


def verify(token: str, keys: Sequence[IssuerKey], rules: IdentityRules, now: float) -> Identity:
    """The identity that a token proves at ``now`` (Unix seconds). Raises InvalidIdentity; UnknownKey for a key we lack.

    The signature is checked last: a token that could not be valid under any key must not make us ask the issuer for
    newer ones. Nothing of the token is told to anybody before.
    """
    if not is_jwt(token):
        raise InvalidIdentity("shape")
    header_part, claims_part, _ = token.split(".")
    header, claims = _read(header_part), _read(claims_part)
    algorithm = _algorithm(header, rules)
    _check_purpose(claims, rules)
    _check_times(claims, now)
    identity = Identity(
        subject=_text(claims, rules.subject_claim, MAX_SUBJECT_CHARS, "subject"),
        tenant=_tenant(claims, rules),
        roles=_roles(claims, rules.roles_claim),
    )
    key = _key(header, algorithm, keys)
    try:
        _JWS.decode(token, key.key, [algorithm])
    except PyJWTError as error:
        raise InvalidIdentity("signature") from error
    return identity


def check_claim(name: str) -> str:
    """The name of a claim, if it can be one. Raises ValueError."""
    if not all(_path(name)):
        raise ValueError("must be the name of a claim, such as sub or realm_access.roles")
    return name


def _read(part: str) -> Mapping[str, object]:
    try:
        value = strict_json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError as error:  # bad base64, too
        raise InvalidIdentity("json") from error
    if not isinstance(value, dict):
        raise InvalidIdentity("json")
    return value


def _algorithm(header: Mapping[str, object], rules: IdentityRules) -> str:
    algorithm, type_ = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms or algorithm not in KEY_KIND:
        raise InvalidIdentity("algorithm")
    if not isinstance(type_, str) or type_.lower().removeprefix("application/") not in _TYPES:
        raise InvalidIdentity("type")
    if "crit" in header:  # names extensions that whoever does not know them must refuse, and we know none
        raise InvalidIdentity("extension")
    return algorithm


def _check_purpose(claims: Mapping[str, object], rules: IdentityRules) -> None:
    if claims.get("iss") != rules.issuer:
        raise InvalidIdentity("issuer")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(name, str) for name in named) or rules.audiences.isdisjoint(named):
        raise InvalidIdentity("audience")
    if "cnf" in claims:  # bound to a key of its holder, so not to be taken from a mere bearer (RFC 9449 §7.2)
        raise InvalidIdentity("bound")


def _check_times(claims: Mapping[str, object], now: float) -> None:
    if now >= _time(claims, "exp", None) + CLOCK_SKEW_SECONDS:
        raise InvalidIdentity("expired")
    if _time(claims, "nbf", now) > now + CLOCK_SKEW_SECONDS:
        raise InvalidIdentity("not yet valid")
    if _time(claims, "iat", now) > now + CLOCK_SKEW_SECONDS:
        raise InvalidIdentity("issued in the future")


def _time(claims: Mapping[str, object], name: str, default: float | None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidIdentity("times")
    return value


def _key(header: Mapping[str, object], algorithm: str, keys: Sequence[IssuerKey]) -> IssuerKey:
    """The one key that the token can be checked with; without a name in it, the issuer must have but one that fits."""
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise InvalidIdentity("key")
    named = [key for key in keys if kid is None or key.kid == kid]
    if not named:
        raise UnknownKey("unknown key")
    fitting = [key for key in named if key.fits(algorithm)]
    if len(fitting) != 1:
        raise InvalidIdentity("key")
    return fitting[0]


def _path(name: str) -> list[str]:
    return [name] if "/" in name else name.split(".")


def _claim(claims: Mapping[str, object], name: str) -> object:
    node: object = claims
    for part in _path(name):
        if not isinstance(node, dict):
            return None
        node = node.get(part)
    return node


def _text(claims: Mapping[str, object], name: str, max_chars: int, what: str) -> str:
    value = _claim(claims, name)
    if not isinstance(value, str) or not 1 <= len(value) <= max_chars:
        raise InvalidIdentity(what)
    return value


def _tenant(claims: Mapping[str, object], rules: IdentityRules) -> str:
    if rules.tenant_claim is None:
        return rules.tenant
    tenant = _text(claims, rules.tenant_claim, MAX_TENANT_CHARS, "tenant")
    if not tenant.isprintable():  # it stands in logs and in operators' lists as it is
        raise InvalidIdentity("tenant")
    return tenant


def _roles(claims: Mapping[str, object], name: str) -> frozenset[str]:
    """The roles in a list or in one string; whatever else stands there gives none."""
    value = _claim(claims, name)
    if isinstance(value, str):
        return frozenset(value.split() if _path(name)[-1] in _WORDS else [value])
    if isinstance(value, list):
        return frozenset(role for role in value if isinstance(role, str))
    return frozenset()
