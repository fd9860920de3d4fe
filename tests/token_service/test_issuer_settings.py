"""The settings that the docs show for well-known issuers, with tokens as those make them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples import NOW, PROFILES_TOML
from tests.issuer import Json, assemble, rsa_key
from token_service.identity import Identity, InvalidIdentity, verify
from token_service.issuer_keys import discovery_url, read_keys
from token_service.settings import TokenServiceSettings

PAGE = (Path(__file__).parent.parent.parent / "docs/callers.md").read_text(encoding="utf-8")
TENANT_ID = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
CLIENT_ID = "00001111-aaaa-2222-bbbb-3333cccc4444"
PLACEHOLDERS = {
    "<tenant id>": TENANT_ID,
    "<application (client) id of the API's registration>": CLIENT_ID,
    "<tenant>": "voice",
    "<identifier of the API>": "https://voice.example/",
    "<project id>": "voice-1234",
}
TIMES = {"iat": NOW - 30, "nbf": NOW - 30, "exp": NOW + 3_600}

# The heading of each issuer in the docs; where its metadata is; what its tokens look like; whom they name.
ISSUERS: list[tuple[str, str, Json, Json, Identity]] = [
    (
        "Microsoft Entra ID",
        f"https://login.microsoftonline.com/{TENANT_ID}/v2.0/.well-known/openid-configuration",
        {"typ": "JWT", "alg": "RS256", "kid": "rsa-1"},
        {
            "aud": CLIENT_ID,
            "iss": f"https://login.microsoftonline.com/{TENANT_ID}/v2.0",
            "azp": "11112222-bbbb-3333-cccc-4444dddd5555",
            "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb",
            "roles": ["Voice.Use"],
            "scp": "access_as_user",
            "sub": "pairwise-AAAA",
            "tid": TENANT_ID,
            "ver": "2.0",
            **TIMES,
        },
        Identity(subject="aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", tenant=TENANT_ID, roles=frozenset({"Voice.Use"})),
    ),
    (
        "Auth0",
        "https://voice.eu.auth0.com/.well-known/openid-configuration",
        {"alg": "RS256", "typ": "at+jwt", "kid": "rsa-1"},
        {
            "iss": "https://voice.eu.auth0.com/",
            "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "aud": ["https://voice.example/", "https://voice.eu.auth0.com/userinfo"],
            "azp": "my_client_id",
            "scope": "openid profile",
            "org_id": "org_9ybsU1dN2dKfDkBi",
            "https://voice.example/roles": ["voice"],
            **TIMES,
        },
        Identity(subject="auth0|5f7c8ec7c33c6c004bbafe82", tenant="org_9ybsU1dN2dKfDkBi", roles=frozenset({"voice"})),
    ),
    (
        "Firebase Authentication",
        "https://securetoken.google.com/voice-1234/.well-known/openid-configuration",
        {"alg": "RS256", "kid": "rsa-1", "typ": "JWT"},
        {
            "iss": "https://securetoken.google.com/voice-1234",
            "aud": "voice-1234",
            "auth_time": NOW - 60,
            "user_id": "abcdef0123456789",
            "sub": "abcdef0123456789",
            "roles": ["voice"],
            "firebase": {"identities": {}, "sign_in_provider": "password"},
            **TIMES,
        },
        Identity(subject="abcdef0123456789", tenant="oidc", roles=frozenset({"voice"})),
    ),
]


def settings_of(heading: str) -> dict[str, str]:
    """The variables that the docs show under a heading."""
    (block,) = re.findall(rf"^### {re.escape(heading)}\n\n```sh\n(.*?)```", PAGE, re.M | re.S)
    for placeholder, value in PLACEHOLDERS.items():
        block = block.replace(placeholder, value)
    return dict(line.split("=", 1) for line in block.splitlines())


@pytest.mark.parametrize(("heading", "url", "header", "claims", "identity"), ISSUERS)
def test_the_settings_in_the_docs_fit_the_issuer_s_tokens(
    bare_environment: pytest.MonkeyPatch, heading: str, url: str, header: Json, claims: Json, identity: Identity
) -> None:
    Path("profiles.toml").write_text(PROFILES_TOML)
    others = {
        "AIRLOCK_ENV": "production",
        "KEY_VAULT_URL": "https://airlock.vault.azure.net",
        "ALLOWED_ORIGINS": "https://voice.example.com",
        "RELAY_URL": "wss://voice.example.com/v1/realtime",
    }
    for name, value in (others | settings_of(heading)).items():
        bare_environment.setenv(name, value)
    rules = TokenServiceSettings().identity_rules
    assert rules
    assert discovery_url(rules.issuer) == url
    keys = read_keys({"keys": [rsa_key("one").jwk("rsa-1", alg="RS256")]})
    assert verify(assemble(header, claims, rsa_key("one").sign), keys, rules, NOW) == identity
    elsewhere = claims | {"aud": "somebody-else"}
    with pytest.raises(InvalidIdentity, match="audience"):
        verify(assemble(header, elsewhere, rsa_key("one").sign), keys, rules, NOW)
