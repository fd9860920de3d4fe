"""The connection string: what the portal shows is understood, and what cannot work is said at start."""

import pytest

from service_kit.telemetry.connection_string import Ingestion, parse_connection_string

KEY = "00000000-1111-2222-3333-444444444444"
PLACE = "https://westeurope-5.in.applicationinsights.azure.com"


@pytest.mark.parametrize(
    "text",
    [
        f"InstrumentationKey={KEY};IngestionEndpoint={PLACE}",
        f"InstrumentationKey={KEY};IngestionEndpoint={PLACE}/;LiveEndpoint=https://w.livediagnostics.example/;ApplicationId=x",
        f"IngestionEndpoint={PLACE}/ ; instrumentationkey={KEY.upper()};",
    ],
)
def test_what_the_portal_shows_is_understood(text: str) -> None:
    ingestion = parse_connection_string(text)
    assert ingestion == Ingestion(KEY, PLACE)
    assert ingestion.connection_string == f"InstrumentationKey={KEY};IngestionEndpoint={PLACE}"
    assert ingestion.is_safe


@pytest.mark.parametrize(
    "text",
    [
        "canary",
        f"InstrumentationKey={KEY}",
        f"IngestionEndpoint={PLACE}",
        f"InstrumentationKey=canary;IngestionEndpoint={PLACE}",
        f"InstrumentationKey={KEY};IngestionEndpoint=canary.example.com",
        f"InstrumentationKey={KEY};IngestionEndpoint=ftp://canary.example.com",
        f"InstrumentationKey={KEY};IngestionEndpoint=https://canary.example.com/?a=b",
    ],
)
def test_what_cannot_work_is_refused_without_its_own_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"needs|must be") as caught:
        parse_connection_string(text)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "is_safe"),
    [(PLACE, True), ("http://127.0.0.1:9200", True), ("http://localhost:9200", True), ("http://10.0.0.7:9200", False)],
)
def test_only_tls_or_this_machine_is_safe(endpoint: str, is_safe: bool) -> None:
    assert Ingestion(KEY, endpoint).is_safe is is_safe
