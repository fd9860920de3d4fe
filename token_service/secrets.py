"""The secrets that the token service needs beside the shared ones; it never reads an upstream's key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo
from pydantic import field_validator as check

from service_kit import strict_json
from service_kit.profiles import Profiles
from service_kit.secrets import Known, SharedSecrets, known
from token_service.callers import CallerKey, HashedKey
from token_service.operators.keys import OperatorKey
from token_service.settings import OIDC_TENANT


def _read_json(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        value = strict_json.decode(text.encode())
    except strict_json.InvalidJson as error:
        raise ValueError("must be a JSON list of keys") from error
    return tuple(value) if isinstance(value, list) else value


def _refuse_twins(keys: Sequence[HashedKey]) -> None:
    for what, values in (("name", [key.name for key in keys]), ("hash", [key.hash for key in keys])):
        if max(Counter(values).values(), default=1) > 1:
            raise ValueError(f"two keys have the same {what}")


class TokenServiceSecrets(SharedSecrets):
    """The secrets of the token service."""

    caller_api_keys: Annotated[tuple[CallerKey, ...], BeforeValidator(_read_json)] = ()
    operator_keys: Annotated[tuple[OperatorKey, ...], BeforeValidator(_read_json)] = ()

    @classmethod
    def needed(cls, settings: Known) -> tuple[str, ...]:
        """See :class:`SharedSecrets`."""
        callers = ("caller-api-keys",) if "api_key" in settings.get("callers", ()) else ()
        operators = ("operator-keys",) if settings.get("operator_port") is not None else ()
        return (*super().needed(settings), *callers, *operators)

    @classmethod
    def understood(cls, settings: Known) -> tuple[str, ...]:
        """See :class:`SharedSecrets`."""
        return (*super().needed(settings), "caller-api-keys", "operator-keys")

    @check("caller_api_keys")
    @classmethod
    def _caller_keys_fit(cls, keys: tuple[CallerKey, ...], info: ValidationInfo) -> tuple[CallerKey, ...]:
        if not keys and "api_key" in known(info).get("callers", ()):
            raise ValueError("is required, because CALLERS holds api_key")
        _refuse_twins(keys)
        profiles: Profiles | None = known(info).get("airlock_profiles")
        if profiles is not None:
            _check_profiles(keys, profiles)
        if _oidc_has_the_usual_tenant(known(info)) and any(key.tenant == OIDC_TENANT for key in keys):
            raise ValueError(
                f"has a key of the tenant {OIDC_TENANT}, the usual one of OIDC callers; OIDC_TENANTS must name theirs"
            )
        return keys

    @check("operator_keys")
    @classmethod
    def _operators_have_keys(cls, keys: tuple[OperatorKey, ...], info: ValidationInfo) -> tuple[OperatorKey, ...]:
        if not keys and known(info).get("operator_port") is not None:
            raise ValueError("is required, because OPERATOR_PORT is set")
        _refuse_twins(keys)
        callers: tuple[CallerKey, ...] = info.data.get("caller_api_keys", ())
        if {key.hash for key in keys} & {key.hash for key in callers}:
            raise ValueError("holds a key of CALLER_API_KEYS; operators need keys of their own")
        return keys


def _check_profiles(keys: Sequence[CallerKey], profiles: Profiles) -> None:
    unknown = {name for key in keys for name in key.profiles} - profiles.profiles.keys()
    if unknown:
        raise ValueError(f"names profiles that do not exist: {', '.join(sorted(unknown))}")
    uncounted = {
        name
        for key in keys
        for name in key.profiles
        if key.max_cost_usd is not None and not profiles.price_list.can_count(profiles.profiles[name].lock())
    }
    if uncounted:
        raise ValueError(
            "limits a cost that cannot be counted, since the model has no price, in the profiles: "
            + ", ".join(sorted(uncounted))
        )


def _oidc_has_the_usual_tenant(settings: Known) -> bool:
    """Whether all OIDC callers are in one tenant whose name nobody chose."""
    return (
        "oidc" in settings.get("callers", ())
        and settings.get("oidc_tenant_claim") is None
        and not settings.get("oidc_tenants")
    )
