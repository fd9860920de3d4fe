"""What several tests here share."""

from collections.abc import AsyncIterator

import pytest

from local_cloud.managed_identity import ManagedIdentity


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ManagedIdentity]:
    """The platform's endpoint, which the environment leads to."""
    async with ManagedIdentity() as identity:
        for name, value in identity.environment.items():
            monkeypatch.setenv(name, value)
        yield identity
