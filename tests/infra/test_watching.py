"""Alerts, workbook and budget: they ask for names that the services tell."""

import json
import re
from typing import Any

from service_kit.telemetry.catalogue import EVENTS, METRICS
from tests.infra.installation import installed, installed_with

NAME = re.compile(r'"([a-z_]+(?:\.[a-z_]+)?)"')


def rules() -> dict[str, dict[str, Any]]:
    made = installed("production").of_type("Microsoft.Insights/scheduledQueryRules")
    return {each.name.removeprefix("voice-"): each.properties for each in made}


def query_of(rule: dict[str, Any]) -> str:
    return str(rule["criteria"]["allOf"][0]["query"])


def workbook_queries() -> list[str]:
    [workbook] = installed("production").of_type("Microsoft.Insights/workbooks")
    items = json.loads(workbook.properties["serializedData"])["items"]
    return [item["content"]["query"] for item in items if item["type"] == 3]


def names_in(query: str) -> set[str]:
    names = set(NAME.findall(query))
    assert names, query
    return names


def test_every_query_asks_one_table_for_names_that_are_there() -> None:
    queries = [*map(query_of, rules().values()), *workbook_queries()]
    assert len(queries) > 20
    for query in queries:
        table, _, _ = query.partition(" ")
        assert names_in(query) <= {"customEvents": set(EVENTS), "customMetrics": set(METRICS)}[table], query


def test_every_event_that_is_an_alert_wakes_somebody() -> None:
    asked = set[str]().union(*(names_in(query_of(rule)) for rule in rules().values()))
    alerts = {event.name for event in EVENTS.values() if event.is_alert}
    assert alerts - asked == {"redis.down"}  # its gauge is asked, since each process tells it all the time
    assert "airlock_redis_up" in asked


def test_there_is_an_alert_for_what_an_operator_must_know() -> None:
    asked = {name: names_in(query_of(rule)) for name, rule in rules().items()}
    assert asked["replay"] == {"redeem.replay"}
    assert asked["upstream-auth"] == {"upstream.auth_failed"}
    assert asked["refusals"] == {"airlock_refusals_total", "airlock_mints_total"}
    assert asked["vault"] == {"vault.stale", "vault.unavailable", "secret.invalid"}
    assert asked["spend"] == {"airlock_cost_usd_total"}
    assert asked["connections"] == {"airlock_live_sessions"}


def test_they_alarm_at_the_numbers_that_they_should() -> None:
    above = {name: rule["criteria"]["allOf"][0]["threshold"] for name, rule in rules().items()}
    assert above["connections"] == 3_000 * 80 // 100
    assert above["spend"] == 100
    assert {above[name] for name in ("replay", "upstream-auth", "redis", "vault")} == {0}
    column = {name: rule["criteria"]["allOf"][0]["metricMeasureColumn"] for name, rule in rules().items()}
    for name, rule in rules().items():
        assert (column[name] is None) == (rule["criteria"]["allOf"][0]["timeAggregation"] == "Count")
        assert column[name] is None or re.search(rf"\b{column[name]} = ", query_of(rule)), name


def test_everybody_who_is_told_is_told_by_the_same_address() -> None:
    deployed = installed_with(alertEmail="night@example.com")
    [people] = deployed.of_type("Microsoft.Insights/actionGroups")
    assert [each["emailAddress"] for each in people.properties["emailReceivers"]] == ["night@example.com"]
    [budget] = deployed.of_type("Microsoft.Consumption/budgets")
    assert {email for each in budget.properties["notifications"].values() for email in each["contactEmails"]} == {
        "night@example.com"
    }
    assert budget.properties["timePeriod"]["startDate"].endswith("-01")
    for rule in deployed.of_type("Microsoft.Insights/scheduledQueryRules"):
        assert rule.properties["actions"]["actionGroups"] == [people.id]


def test_the_workbook_shows_a_gauge_of_each_replica_and_sums_no_gauge_over_time() -> None:
    for query in [*map(query_of, rules().values()), *workbook_queries()]:
        if "airlock_live_sessions" in query:
            assert "arg_max(timestamp, value) by bin(timestamp, 1m), cloud_RoleInstance" in query
