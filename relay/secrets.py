"""The secrets that the relay needs beside the shared ones: the keys of its upstreams."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr, ValidationInfo
from pydantic import field_validator as check

from service_kit.profiles import Profiles
from service_kit.secrets import Known, Problems, SharedSecrets, field_of, known
from service_kit.upstreams import AZURE_KEY, OPENAI_KEY, UpstreamSettings, upstreams_of_environment


class RelaySecrets(SharedSecrets):
    """The secrets of the relay; ``upstream_keys`` go by their names in the vault."""

    upstream_keys: Mapping[str, SecretStr]

    @classmethod
    def needed(cls, settings: Known) -> tuple[str, ...]:
        """See :class:`SharedSecrets`."""
        return (*super().needed(settings), *_keys_of_upstreams(settings))

    @classmethod
    def understood(cls, settings: Known) -> tuple[str, ...]:
        """See :class:`SharedSecrets`."""
        return (*super().needed(settings), *dict.fromkeys((*_keys_of_upstreams(settings), AZURE_KEY, OPENAI_KEY)))

    @classmethod
    def arrange(cls, values: Mapping[str, SecretStr]) -> dict[str, object]:
        """See :class:`SharedSecrets`."""
        keys = {name: value for name, value in values.items() if field_of(name) not in SharedSecrets.model_fields}
        shared = {name: value for name, value in values.items() if name not in keys}
        return {**super().arrange(shared), "upstream_keys": keys}

    @check("upstream_keys")
    @classmethod
    def _upstreams_have_keys(cls, keys: Mapping[str, SecretStr], info: ValidationInfo) -> Mapping[str, SecretStr]:
        needed = _keys_of_upstreams(known(info))
        problems = {name: why for name, why in needed.items() if name not in keys}
        for name in needed.keys() & keys.keys():
            if not _fits_a_header(keys[name].get_secret_value()):
                problems[name] = "must be printable ASCII without blanks"
        if OPENAI_KEY in keys and OPENAI_KEY not in problems and _is_ambiguous(known(info)):
            # The token service has no key and tells people who hears them; it goes by the addresses.
            problems[OPENAI_KEY] = "beside AZURE_OPENAI_ENDPOINT needs OPENAI_BASE_URL too, or must be left out"
        if problems:
            raise Problems(problems)
        return keys

    def key_of(self, upstream: UpstreamSettings) -> str:
        """The key of one of the ``upstreams`` that has one."""
        assert upstream.secret is not None  # noqa: S101 - see above
        return self.upstream_keys[upstream.secret].get_secret_value()


def _keys_of_upstreams(settings: Known) -> dict[str, str]:
    """The keys that there must be, and what to say where one is missing."""
    profiles: Profiles | None = settings.get("airlock_profiles")
    if profiles is None:  # that is a problem of its own
        return {}
    if profiles.upstreams:
        reasons = {
            each.secret: f"is required, because the upstream '{each.name}' uses it" for each in profiles.upstreams
        }
        return {secret: reason for secret, reason in reasons.items() if secret is not None}
    azure, openai = settings.get("azure_openai_endpoint"), settings.get("openai_base_url")
    reasons = {
        AZURE_KEY: "is required, because AZURE_OPENAI_ENDPOINT is set (unless AZURE_OPENAI_AUTH=managed_identity)",
        OPENAI_KEY: "is required, because OPENAI_BASE_URL is set"
        if openai
        else "is required, unless there is AZURE_OPENAI_ENDPOINT, or the profiles file has [[upstreams]]",
    }
    upstreams = upstreams_of_environment(
        azure_endpoint=azure, openai_base_url=openai, azure_auth=settings.get("azure_openai_auth", "key")
    )
    return {each.secret: reasons[each.secret] for each in upstreams if each.secret is not None}


def _fits_a_header(key: str) -> bool:
    """What does not would fail at each dial, with an exception that may quote it."""
    return key.isascii() and key.isprintable() and " " not in key


def _is_ambiguous(settings: Known) -> bool:
    """Whether a key of OpenAI's would be used by nobody, since the environment names Azure's address alone."""
    profiles: Profiles | None = settings.get("airlock_profiles")
    if profiles is None or profiles.upstreams:
        return False
    return bool(settings.get("azure_openai_endpoint")) and not settings.get("openai_base_url")
