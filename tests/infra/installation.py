"""The installations that the parameter files describe, worked out."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.infra.bicep import FOLDER, Deployed, Resource, deploy, parameters_of

FOOTPRINTS = ("small", "production")
ENVIRONMENT = {
    "AIRLOCK_ALERT_EMAIL": "operators@example.com",
    "AIRLOCK_BUDGET_START": "2026-11-01",
    "AIRLOCK_IMAGE": "registry.example.com/airlock@sha256:0",
    "AIRLOCK_SECURITY_CONTACT": "mailto:security@example.com",
    "AZURE_ENV_NAME": "voice",
    "AZURE_LOCATION": "somewhere",
    "AZURE_PRINCIPAL_ID": "the-operator",
}
"""What an operator says beside a footprint."""


@cache
def installed(footprint: str, **environment: str) -> Deployed:
    """What that footprint deploys."""
    given = parameters_of(FOLDER / f"{footprint}.bicepparam", ENVIRONMENT | environment)
    return deploy(FOLDER / "main.bicep", given)


def installed_with(**parameters: Any) -> Deployed:
    """What the production footprint deploys with other parameters."""
    return deploy(FOLDER / "main.bicep", parameters_of(FOLDER / "production.bicepparam", ENVIRONMENT) | parameters)


def app_of(deployed: Deployed, service: str) -> Resource:
    """The Container App of ``token_service`` or ``relay``."""
    [app] = [
        each for each in deployed.of_type("Microsoft.App/containerApps") if container_of(each)["command"][-1] == service
    ]
    return app


def container_of(app: Resource) -> dict[str, Any]:
    """Its one container."""
    [container] = app.properties["template"]["containers"]
    found: dict[str, Any] = container
    return found


def told(app: Resource) -> dict[str, str]:
    """The environment of its process, beside the image's own."""
    pairs = container_of(app)["env"]
    given = {pair["name"]: pair["value"] for pair in pairs}
    assert len(given) == len(pairs)
    return given
