"""The parts of OpenAPI documents."""

import pytest

from service_kit.errors import TABLE, Refusal
from service_kit.openapi import document, refusals


def test_codes_of_one_status_share_an_answer_with_the_table_s_texts() -> None:
    answers = refusals(["blocked", "rate_limited", "edge_not_allowed", "invalid_token"])
    assert list(answers) == ["401", "403", "429"]
    assert answers["403"]["description"].split("\n\n") == [
        f"`{code}`: {TABLE[code].message}" for code in ("blocked", "edge_not_allowed")
    ]
    assert "WWW-Authenticate" in answers["401"]["headers"]
    assert ["Retry-After" in answers[status]["headers"] for status in ("401", "403", "429")] == [False, False, True]


def test_a_code_that_is_never_said_over_http_is_no_answer() -> None:
    with pytest.raises(ValueError, match="idle_timeout"):
        refusals(["idle_timeout"])


def test_every_refusal_has_the_documented_fields_and_types() -> None:
    error = document(title="", description="", paths={}, schemas={})["components"]["schemas"]["Error"]
    schema = error["properties"]["error"]
    for code, row in TABLE.items():
        if row.http is None:
            continue
        for refusal in (Refusal(code), Refusal(code, param="a", retry_after=3)):
            (said,) = refusal.body("req_1").values()
            assert isinstance(said, dict)
            assert set(schema["required"]) <= said.keys() <= schema["properties"].keys()
            assert said["type"] in schema["properties"]["type"]["enum"]
            assert said.get("retry", "no") in {*schema["properties"]["retry"]["enum"], "no"}
