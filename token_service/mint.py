"""What a caller gets for what it asks: the claims of a new token, or a refusal that names the parameter. Pure.

A browser caller chooses among the profiles that are open to it, tightens limits and fills the fields its profile leaves
open. A trusted caller also names the end user and may send the whole session, within its key's ceilings
(DESIGN: "HTTP contract", who may ask for what).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from service_kit.errors import Refusal
from service_kit.prices import PriceList
from service_kit.profiles import Profile
from service_kit.session_fields import (
    InvalidField,
    Session,
    UnknownField,
    check_session,
    flatten,
    is_open,
    merge,
    rebuild,
    unflatten,
)
from service_kit.session_token import Claims, Limits, Lock
from service_kit.upstreams import UpstreamSettings, any_has
from token_service.callers import Caller
from token_service.ceilings import Ceilings
from token_service.mint_request import AirlockOptions, ExpiresAfter, MintRequest

DEFAULT_PROFILE: Final = "default"
_NEGOTIABLE: Final = ("max_session_seconds", "max_input_audio_seconds", "max_total_tokens", "max_cost_usd")
_TRUSTED_ONLY: Final = ("subject", "origin", "reference_id", "metadata")
_NO_OPTIONS: Final = AirlockOptions()
_USUAL_LIFETIME: Final = ExpiresAfter()


def decide_claims(
    request: MintRequest,
    caller: Caller,
    profiles: Mapping[str, Profile],
    *,
    prices: PriceList,
    upstreams: Sequence[UpstreamSettings],
    allowed_origins: Sequence[str],
    now: int,
    ceilings: Ceilings,
) -> Claims:
    """The claims of the token this caller gets. Raises Refusal."""
    options = request.airlock or _NO_OPTIONS
    if caller.key is None:
        _refuse_trusted_options(options)
    name = _usual_profile(request.session or {}, caller, profiles) if options.profile is None else options.profile
    profile = _allowed_profile(name, caller, profiles)
    seconds = min((request.expires_after or _USUAL_LIFETIME).seconds, profile.limits.token_seconds)
    lock = _lock(request.session, caller, profile)
    if not any_has(upstreams, lock.model):
        raise Refusal("invalid_request", param="session.model", message="session.model: there is no such model here.")
    limits = _limits(options, caller, profile)
    _refuse_a_cost_that_cannot_be_counted(lock, limits, options, prices, ceilings)
    return Claims(
        subject=options.subject or caller.subject,
        tenant=caller.tenant,
        anonymous=caller.kind == "anonymous",
        profile=name,
        origin=_bound_origin(options, caller, allowed_origins),
        issued_at=now,
        expires_at=now + seconds,
        lock=lock,
        limits=limits,
        max_sessions_per_subject=caller.key.max_sessions_per_subject if caller.key else None,
        max_sessions_per_tenant=caller.key.max_sessions_per_tenant if caller.key else None,
        subject_quota=ceilings.subject_quota,
        tenant_quota=ceilings.tenant_quota,
        reference_id=options.reference_id,
        metadata=options.metadata or {},
    )


def _refuse_trusted_options(options: AirlockOptions) -> None:
    for name in _TRUSTED_ONLY:
        if getattr(options, name) is not None:
            raise Refusal("unsupported_parameter", param=f"airlock.{name}")


def _usual_profile(session: Mapping[str, object], caller: Caller, profiles: Mapping[str, Profile]) -> str:
    """``default``, or else a key's first; for a session of another type the caller's first profile of that type."""
    names = caller.key.profiles if caller.key else tuple(profiles)
    usual = DEFAULT_PROFILE if caller.key is None or DEFAULT_PROFILE in names else names[0]
    asked = session.get("type")
    for name in (usual, *names):
        profile = profiles.get(name)
        if profile is not None and profile.session_type == asked and _is_for(name, profile, caller):
            return name
    return usual


def _allowed_profile(name: str, caller: Caller, profiles: Mapping[str, Profile]) -> Profile:
    """One answer for a profile that is not there and one that is not for this caller: neither can be probed for."""
    profile = profiles.get(name)
    if profile is None or not _is_for(name, profile, caller):
        raise Refusal("invalid_request", param="airlock.profile", message="There is no such profile for you.")
    return profile


def _is_for(name: str, profile: Profile, caller: Caller) -> bool:
    return (
        caller.kind in profile.callers
        and (not profile.tenants or caller.tenant in profile.tenants)
        and (caller.kind != "oidc" or not profile.roles or not caller.roles.isdisjoint(profile.roles))
        and (caller.key is None or name in caller.key.profiles)
    )


def _bound_origin(options: AirlockOptions, caller: Caller, allowed_origins: Sequence[str]) -> str | None:
    if options.origin is not None and options.origin not in allowed_origins:
        # The relay would refuse every connection from there.
        raise Refusal("origin_not_allowed", param="airlock.origin", message="This origin is not allowed here.")
    return options.origin or caller.origin


def _lock(session: Mapping[str, object] | None, caller: Caller, profile: Profile) -> Lock:
    if session is None:
        return profile.usual_lock
    profile_type = profile.session_type
    if session.get("type", profile_type) != profile_type:
        raise Refusal(
            "invalid_request", param="session.type", message=f"session.type: must be '{profile_type}' in this profile."
        )
    if session.keys() == {"type"}:  # it only says which kind is wanted
        return profile.usual_lock
    try:
        if caller.key is not None:
            return profile.lock(check_session({"type": profile_type, **session}))
        return _lock_with_open_fields(session, profile)
    except UnknownField as error:
        raise Refusal("unsupported_parameter", param=f"session.{error.path}") from error
    except InvalidField as error:
        raise Refusal("invalid_request", param=f"session.{error.path}", message=f"session.{error}.") from error


def _lock_with_open_fields(session: Mapping[str, object], profile: Profile) -> Lock:
    """The profile's lock with a browser's values in the fields it leaves open; those stay open."""
    if session.get("model", profile.model) != profile.model:
        raise Refusal(
            "model_mismatch", param="session.model", message="session.model: leave it out, or name the profile's."
        )
    filled: Session = {}
    for path, value in flatten(session).items():
        if not is_open(path, profile.open_fields):
            raise Refusal("unsupported_parameter", param=f"session.{path}")
        filled[path] = rebuild(path, value, client=True)
    lock = profile.lock(check_session(merge(profile.session, unflatten(filled))))
    return msgspec.structs.replace(lock, open_fields=profile.usual_lock.open_fields)


def _refuse_a_cost_that_cannot_be_counted(
    lock: Lock, limits: Limits, options: AirlockOptions, prices: PriceList, ceilings: Ceilings
) -> None:
    counted = (limits.max_cost_usd, ceilings.subject_quota.micro_usd, ceilings.tenant_quota.micro_usd)
    if counted != (None, None, None) and not prices.can_count(lock):
        param = "session.model" if options.max_cost_usd is None else "airlock.max_cost_usd"
        raise Refusal(
            "invalid_request", param=param, message=f"{param}: the model has no price, so its cost cannot be limited."
        )


def _limits(options: AirlockOptions, caller: Caller, profile: Profile) -> Limits:
    """The profile's limits, lowered to the key's ceilings, with what was asked for in their place.

    A key's ceiling bounds what may be asked for in the profile's stead, so it may also be higher.
    """
    limits = profile.session_limits
    chosen = {}
    for name in _NEGOTIABLE:
        ceiling = getattr(caller.key, name, None)
        asked = getattr(options, name)
        if asked is None and ceiling is None:
            continue
        standard = getattr(limits, name)
        most = standard if ceiling is None else ceiling
        if asked is None:
            chosen[name] = min(value for value in (standard, ceiling) if value is not None)
        elif most is None or asked <= most:
            chosen[name] = asked
        else:
            raise Refusal(
                "invalid_request", param=f"airlock.{name}", message=f"airlock.{name}: must be at most {most:g}."
            )
    return msgspec.structs.replace(limits, **chosen) if chosen else limits
