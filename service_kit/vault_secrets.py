"""The secrets of a service that has a vault: read when it starts, read again every few minutes, kept when that fails.

Nothing here is on a request's path. Each secret is judged by itself: one that cannot be read, or does not fit, stays as
it was while the others follow the vault. After a day without a complete reading nothing new is begun with them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final, Self

import structlog
from pydantic import SecretStr

from service_kit.key_vault import READ_SECONDS, KeyVault, NotRead
from service_kit.log import where
from service_kit.secrets import Known, Secrets, SecretsT, check_secrets

MAX_AGE_SECONDS: Final = 24 * 3_600.0
"""How long secrets are good that could not all be read again."""
FIRST_RETRY_SECONDS: Final = 0.25
MAX_RETRY_SECONDS: Final = 1.5
"""Between attempts of a service that has no secrets yet."""
LATER_RETRY_SECONDS: Final = 15.0
"""After a refresh that failed; each further failure doubles it, up to the usual interval."""
MAX_RETRY_AFTER_SECONDS: Final = 30.0
"""A longer Retry-After is not believed: our own pace is slow enough."""
REREAD_SECONDS: Final = 10.0
"""Between two readings of one secret that an upstream's refusal caused."""
COMPLAIN_SECONDS: Final = 10.0
"""Between two log lines that say the same of a service that has no secrets yet."""
JITTER: Final = 0.1

Open = Callable[[], AbstractAsyncContextManager[KeyVault]]


class VaultSecrets(Secrets[SecretsT]):
    """The latest good values of the vault; ``settings`` are those that they must fit."""

    def __init__(
        self,
        secrets_class: type[SecretsT],
        settings: Known,
        open_vault: Open,
        *,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(None)
        self._class = secrets_class
        self._settings = settings
        self._names = tuple(dict.fromkeys(secrets_class.needed(settings)))
        self._open_vault = open_vault
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._values: Mapping[str, SecretStr] = {}
        self._at_start: Mapping[str, SecretStr] = {}
        self._good_at = -MAX_AGE_SECONDS
        self._arrived = asyncio.Event()
        self._vault: KeyVault | None = None
        self._reading = asyncio.Lock()
        self._reread_at: dict[str, float] = {}
        self._complained_at: dict[tuple[str, str], float] = {}

    @property
    def may_be_used(self) -> bool:
        """See :class:`Secrets`. Live sessions do not ask: they go on."""
        return self.are_there and self._clock() - self._good_at < MAX_AGE_SECONDS

    async def arrive(self) -> None:
        """See :class:`Secrets`."""
        await self._arrived.wait()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Self]:
        """See :class:`Secrets`."""
        async with self._open_vault() as self._vault:
            refreshing = asyncio.create_task(self._refresh_for_ever(self._vault), name="secrets")
            try:
                yield self
            finally:
                refreshing.cancel()
                await asyncio.wait([refreshing])
                self._vault = None

    async def reread(self, name: str) -> None:
        """See :class:`Secrets`: within 3 s, and each secret at most once in 10 s; who comes meanwhile waits along."""
        vault = self._vault
        if vault is None or name not in self._names:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS), self._reading:
                if self._clock() - self._reread_at.get(name, -REREAD_SECONDS) < REREAD_SECONDS:
                    return
                try:
                    self._take({name: await self._read(vault, name)})
                except NotRead as error:
                    structlog.get_logger().error("vault.stale", secret=name, error=str(error), seconds=self._age())
                self._reread_at[name] = self._clock()

    async def _read(self, vault: KeyVault, name: str) -> SecretStr:
        """One secret. Raises NotRead."""
        began, is_read = time.perf_counter(), False
        try:
            secret = await vault.read(name)
            is_read = True
        finally:
            self.on_read(time.perf_counter() - began, is_read)
        return secret

    async def _refresh_for_ever(self, vault: KeyVault) -> None:
        failures = 0
        while True:
            retry_after = None
            try:
                await self._refresh(vault)
                failures = 0
            except NotRead as error:
                failures += 1
                retry_after = error.retry_after
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the refreshing, unseen for a day
                failures += 1
                structlog.get_logger().error("internal_error", error=type(error).__name__, at=where(error))
            await asyncio.sleep(self._pause(failures, retry_after))

    def _pause(self, failures: int, retry_after: float | None) -> float:
        """The seconds until the next attempt."""
        if failures == 0:
            return self._refresh_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads replicas
        first, longest = FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS
        if self.are_there:
            first, longest = min(LATER_RETRY_SECONDS, self._refresh_seconds), self._refresh_seconds
        pause = min(first * 2.0 ** min(failures - 1, 16), longest)
        pause *= random.uniform(1 - JITTER, 1.0)  # noqa: S311 - the same
        if retry_after is not None and retry_after <= MAX_RETRY_AFTER_SECONDS:
            pause = max(pause, retry_after)
        return pause

    async def _refresh(self, vault: KeyVault) -> None:
        """Read everything and take what is good. Raises NotRead where that is not all."""
        async with self._reading:
            values: dict[str, SecretStr] = {}
            failed: NotRead | None = None
            for name in self._names:
                try:
                    values[name] = await self._read(vault, name)
                except NotRead as error:
                    failed = error
                    self._complain(name, str(error))
                    if not error.is_about_the_secret:  # nor will it answer for the others
                        break
            self._take(values)
        if failed is not None or not self.are_there:
            raise failed or NotRead("not valid")
        self._good_at = self._clock()
        self._arrived.set()

    def _take(self, values: Mapping[str, SecretStr]) -> None:
        """Put these in force, but for those that do not fit; at the start all must be there, and fit."""
        wanted = {**self._values, **values}
        secrets, problems = check_secrets(self._class, wanted, self._settings)
        for name, reasons in problems.items():
            if name in wanted:  # another could not be read, and that was said
                self._complain(name, "; ".join(reasons), event="secret.invalid")
        if secrets is None and self.are_there:
            secrets, wanted = self._as_many_as_fit(values)
        if secrets is not None:
            self._put_in_force(secrets, wanted)

    def _as_many_as_fit(self, values: Mapping[str, SecretStr]) -> tuple[SecretsT, dict[str, SecretStr]]:
        """The secrets in force with each of these that fits beside them."""
        fitting, wanted = self.current, dict(self._values)
        for name, value in values.items():
            secrets, _ = check_secrets(self._class, {**wanted, name: value}, self._settings)
            if secrets is not None:
                fitting, wanted[name] = secrets, value
        return fitting, wanted

    def _put_in_force(self, secrets: SecretsT, values: Mapping[str, SecretStr]) -> None:
        log = structlog.get_logger()
        changed = [name for name in self._names if values.get(name) != self._values.get(name)]
        if not self.are_there:
            self._at_start = values
            log.info("secrets.ready")
        else:
            for name in changed:
                log.info("secret.changed", secret=name)
                if name in self._class.FIXED and values[name] != self._at_start[name]:
                    log.warning("secret.changed", secret=name, reason="takes effect when the service starts again")
        if changed:
            self._replace(secrets)
        self._values = values  # last, so that whoever could not follow is told again

    def _complain(self, name: str, why: str, event: str = "") -> None:
        """Log what is wrong; while there are no secrets yet, and attempts are many, the same once in a while only."""
        log = structlog.get_logger()
        if self.are_there:
            log.error(event or "vault.stale", secret=name, error=why, seconds=self._age())
        elif self._clock() - self._complained_at.get((name, why), -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
            self._complained_at[name, why] = self._clock()
            log.error(event or "vault.unavailable", secret=name, error=why)

    def _age(self) -> int:
        """The whole seconds since everything was read."""
        return int(self._clock() - self._good_at)
