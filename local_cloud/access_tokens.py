"""Access tokens like Entra ID's: a JWT that says whose it is, what for and until when.

The stand-ins share one key, so that each can check by itself what another issued; the real ones check RS256 signatures
against published keys.
"""

import time
import uuid
from dataclasses import dataclass

import jwt

_KEY = "local cloud: this key is public and proves nothing"
_ALGORITHM = "HS256"
_TENANT = "00000000-0000-4000-8000-00000000aaaa"


class InvalidAccessToken(Exception):
    """Not a token for this resource, or one that has expired; the text says which."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What a token says.

    Attributes:
        object_id: of the identity; Redis calls it the user name.
        expires_at: Unix seconds.
    """

    object_id: str
    client_id: str
    expires_at: int


def object_id_of(client_id: str) -> str:
    """The object id that an identity has here: always the same, and unlike its client id."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, client_id))


def issue(resource: str, client_id: str, lifetime_seconds: int) -> tuple[str, int]:
    """A new token, unlike any other, and the Unix second at which it expires."""
    now = int(time.time())
    claims = {
        "aud": resource,
        "iss": f"https://sts.windows.net/{_TENANT}/",
        "iat": now,
        "nbf": now,
        "exp": now + lifetime_seconds,
        "appid": client_id,
        "idtyp": "app",
        "oid": object_id_of(client_id),
        "sub": object_id_of(client_id),
        "tid": _TENANT,
        "uti": uuid.uuid4().hex,
        "ver": "1.0",
    }
    return jwt.encode(claims, _KEY, algorithm=_ALGORITHM), now + lifetime_seconds


def read(token: str, resource: str) -> Holder:
    """Who a token for this resource is of. Raises InvalidAccessToken."""
    try:
        claims = jwt.decode(token, _KEY, algorithms=[_ALGORITHM], audience=resource)
    except jwt.InvalidTokenError as error:
        raise InvalidAccessToken(str(error)) from error
    return Holder(claims["oid"], claims["appid"], claims["exp"])
