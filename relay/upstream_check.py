"""A look at every upstream when the relay starts, through OpenAI's SDK: does it take our key, has it our models?

It only tells the log, so that a wrong key is known before the first session finds it. Nothing waits for it: an upstream
that is away for a moment must not keep a relay from starting.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import openai
import structlog
from structlog.typing import FilteringBoundLogger

from relay.upstream_credentials import Credential, NoCredential
from service_kit.upstreams import UpstreamSettings

CHECK_SECONDS: Final = 10.0
_WRONG_KEY: Final = (401, 403)
_NOT_FOUND: Final = 404


async def check_upstreams(
    upstreams: Iterable[tuple[UpstreamSettings, Credential]], models: Collection[str], tls: ssl.SSLContext
) -> None:
    """Ask each upstream for the models it should have, and log what it says; never raises."""
    await asyncio.gather(*(_check(upstream, credential, models, tls) for upstream, credential in upstreams))


async def _check(
    upstream: UpstreamSettings, credential: Credential, models: Collection[str], tls: ssl.SSLContext
) -> None:
    log = structlog.get_logger().bind(upstream=upstream.name, provider=upstream.provider)
    try:
        authorization = await credential.headers()
    except NoCredential:
        log.error("upstream.auth_failed", error="no credential")
        return
    client = openai.AsyncOpenAI(
        api_key=authorization.get("Authorization", "Bearer none").removeprefix("Bearer "),
        base_url=_over_http(upstream.base_url),
        timeout=CHECK_SECONDS,
        max_retries=1,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False, follow_redirects=False, verify=tls),
    )
    async with client:
        try:
            if upstream.kind == "azure":  # it lists what could be deployed, not what is
                await client.models.list(extra_headers={"Authorization": openai.Omit(), **authorization})
            else:
                for model in sorted(models):
                    await _check_model(client, log, model)
        except openai.APIStatusError as error:
            if error.status_code in _WRONG_KEY:
                log.error("upstream.auth_failed", error=f"HTTP {error.status_code}")
            else:
                log.warning("upstream.failed", error=f"HTTP {error.status_code}")
        except openai.OpenAIError as error:  # its text may quote what it was sent
            log.warning("upstream.failed", error=type(error).__name__)
        else:
            log.info("upstream.checked")


async def _check_model(client: openai.AsyncOpenAI, log: FilteringBoundLogger, model: str) -> None:
    try:
        await client.models.retrieve(model)
    except openai.NotFoundError:
        log.error("upstream.failed", model=model, error="it does not have this model, or does not let us use it")


def _over_http(base_url: str) -> str:
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(scheme={"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)))
