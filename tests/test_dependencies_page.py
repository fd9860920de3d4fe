"""The page of dependencies tells the figures that the code has."""

from pathlib import Path

import pytest

import relay.channel
import relay.control
import relay.failover
import relay.leases
import relay.locking
import relay.upstream_check
import relay.upstreams
import relay.wire
import service_kit.azure_transport
import service_kit.breaker
import service_kit.http_server
import service_kit.kept_token
import service_kit.key_vault
import service_kit.redis_client
import service_kit.redis_pools
import service_kit.vault_secrets
import service_kit.web
import token_service.issuer
import token_service.issuer_keys
from service_kit.telemetry import exporting, recorder

PAGE = (Path(__file__).parent.parent / "docs" / "dependencies.md").read_text(encoding="utf-8")
short_retries = service_kit.azure_transport.SHORT_RETRIES
vault = service_kit.vault_secrets

CLAIMS = [
    ("**Redis**, a question", f"| {service_kit.redis_pools.DEADLINE_SECONDS:g} s from asking"),
    ("**Redis**, a question", f"| {service_kit.redis_pools.MAX_CONNECTIONS} to a server"),
    ("**Redis**, a question", f"one question through in {service_kit.breaker.RETRY_SECONDS:g} s"),
    ("**Redis**, a question", f"go on for {relay.leases.LEASE_SECONDS} s"),
    ("Redis, replicas", f"| {service_kit.redis_client.WAIT_MS} ms |"),
    ("Redis, orders", f"{relay.control.QUIET_SECONDS:g} s after the last word"),
    ("Redis, orders", f"| after {relay.control.AGAIN_SECONDS:g} s, for ever"),
    ("Redis, orders", f"next renewal, {relay.leases.RENEW_SECONDS} s"),
    ("Redis, a sentinel", f"| {service_kit.redis_pools.SENTINEL_SECONDS:g} s each"),
    ("**The model**, a dial", f"| {relay.failover.DIALS_SECONDS:g} s for all"),
    ("**The model**, a dial", f"{relay.failover.PATIENCE_SECONDS:g} s for each while another"),
    ("The model, the lock", f"| {relay.locking.ANSWER_SECONDS:g} s |"),
    ("The model, the lock", f"| {relay.upstreams.MAX_EVENTS_BEFORE_LOCK} events |"),
    ("The model, in a session", f"every {relay.channel.HEARTBEAT_SECONDS:g} s"),
    ("The model, in a session", f"not read for {relay.wire.STALL_SECONDS:g} s"),
    ("The model, in a session", f"| {relay.channel.MAX_UNWRITTEN_BYTES // 1_024} KiB unwritten"),
    ("The model, a look", f"| {relay.upstream_check.CHECK_SECONDS:g} s |"),
    ("**Key Vault**", f"| {service_kit.key_vault.READ_SECONDS:g} s; a token"),
    ("**Key Vault**", f"for it {service_kit.key_vault.TOKEN_SECONDS:g} s"),
    (
        "**Key Vault**",
        f"after {vault.FIRST_RETRY_SECONDS:g} s, then ever more rarely up to {vault.MAX_RETRY_SECONDS:g} s",
    ),
    ("**Key Vault**", f"later after {vault.LATER_RETRY_SECONDS:g} s"),
    ("**Key Vault**", f"up to {vault.MAX_RETRY_AFTER_SECONDS:g} s is obeyed"),
    ("**Key Vault**", f"at most once in {vault.REREAD_SECONDS:g} s"),
    ("**Key Vault**", f"nothing for {vault.MAX_AGE_SECONDS / 3_600:g} h"),
    ("**Managed identity**", f"| {service_kit.kept_token.ASK_SECONDS:g} s, within which"),
    ("**Managed identity**", f"tries {short_retries['retry_total']} times more"),
    ("**Managed identity**", f"({short_retries['connection_timeout']} s to connect, {short_retries['read_timeout']} s"),
    (
        "**Managed identity**",
        f"after {service_kit.kept_token.FIRST_RETRY_SECONDS:g} s,"
        f" then ever more rarely up to {service_kit.kept_token.MAX_RETRY_SECONDS:g} s",
    ),
    ("**OIDC issuer**", f"{token_service.issuer_keys.MAX_KEYS} keys"),
    ("**OIDC issuer**", f"{token_service.issuer.MAX_DOCUMENT_BYTES // 1_024} KiB a document"),
    ("**Application Insights**", f"| {exporting.REQUEST_SECONDS:g} s a request"),
    ("**Application Insights**", f"{recorder.MAX_EVENTS:,} events and {recorder.MAX_SPANS:,} spans"),
    ("**Application Insights**", f"{exporting.GRACE_SECONDS:g} s at the end"),
    ("a connection's first request", f"| {service_kit.http_server.HEADER_SECONDS:g} s |"),
    ("a connection's first request", f"{service_kit.http_server.MAX_SILENT_CONNECTIONS:,} connections"),
    ("a connection's first request", f"{service_kit.http_server.MAX_HEADER_BYTES:,} bytes"),
    ("a connection's first request", f"{service_kit.http_server.MAX_HEADERS} headers"),
    ("a request's body", f"| {service_kit.web.BODY_SECONDS:g} s |"),
    ("a request's body", f"{service_kit.web.MAX_BODY_BYTES:,} bytes"),
    ("a browser in a session", f"every {relay.channel.HEARTBEAT_SECONDS:g} s"),
]


@pytest.mark.parametrize(("row", "claim"), CLAIMS)
def test_a_figure_is_that_of_the_code(row: str, claim: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.removeprefix("| ").startswith(row)]
    assert claim in line
