"""The secrets that the token service needs beside the shared ones; it never reads an upstream's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo
from pydantic import field_validator as check

from service_kit.hashed_keys import OperatorKey, read_keys, refuse_twins
from service_kit.profiles import Profiles
from service_kit.secrets import Known, SharedSecrets, known
from token_service.callers import CallerKey
from token_service.settings import OIDC_TENANT


class TokenServiceSecrets(SharedSecrets):
    """The secrets of the token service."""

    caller_api_keys: Annotated[tuple[CallerKey, ...], BeforeValidator(read_keys)] = ()

    @classmethod
    def needed(cls, settings: Known) -> tuple[str, ...]:
        """See :class:`SharedSecrets`."""
        callers = ("caller-api-keys",) if "api_key" in settings.get("callers", ()) else ()
        return (*super().needed(settings), *callers)

    @classmethod
    def understood(cls, settings: Known) -> tuple[str, ...]:
        """See :class:`SharedSecrets`."""
        return (*super().understood(settings), "caller-api-keys")

    @check("caller_api_keys")
    @classmethod
    def _caller_keys_fit(cls, keys: tuple[CallerKey, ...], info: ValidationInfo) -> tuple[CallerKey, ...]:
        if not keys and "api_key" in known(info).get("callers", ()):
            raise ValueError("is required, because CALLERS holds api_key")
        refuse_twins(keys)
        operators: tuple[OperatorKey, ...] = info.data.get("operator_keys", ())
        if {key.hash for key in keys} & {key.hash for key in operators}:
            raise ValueError("holds a key of OPERATOR_KEYS; operators need keys of their own")
        profiles: Profiles | None = known(info).get("airlock_profiles")
        if profiles is not None:
            _check_profiles(keys, profiles)
        if _oidc_has_the_usual_tenant(known(info)) and any(key.tenant == OIDC_TENANT for key in keys):
            raise ValueError(
                f"has a key of the tenant {OIDC_TENANT}, the usual one of OIDC callers; OIDC_TENANTS must name theirs"
            )
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
