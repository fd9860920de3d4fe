from bench.reading import Reading
from bench.report import LABELS, report
from bench.scenarios import SCENARIOS
from bench.targets import TARGETS
from tests.bench.building import done, flowed, results, run, was_set_up

GOOD = results(
    *(
        run(scenario, contender, flowed(cost, trip_p50_ms=trip), number)
        for number in (1, 2, 3)
        for scenario, contender, cost, trip in (
            ("sat20", "nginx", 4.0, 1.0),
            ("sat20", "relay", 8.0, 1.0),
            ("rt100", "direct", 1.0, 0.5),
            ("rt100", "nginx", 10.0 * number, 0.6),
            ("rt100", "relay", 14.0 * number, 0.75),
            ("rt100", "nginx-tls", 25.0, 1.0),
            ("rt100", "relay-tls", 30.0, 1.0),
            ("rt300", "relay", 16.0, 1.0),
            ("growth1", "relay", 40.0, 1.0),
            ("growth1000", "relay", 44.0, 1.0),
        )
    ),
    run("sessions", "relay", was_set_up(0.9, 40)),
    run("sessions", "relay-tls", was_set_up(0.9, 80)),
    run("sessions", "litellm", was_set_up(9.0, 130)),
    run("mint", "services", done(200)),
    run("redeem", "services", done(100)),
)


def figures(reading: Reading) -> list[float | None]:
    return [None if (value := target.read(reading)) is None else round(value, 2) for target in TARGETS]


def test_each_target_reads_its_own_figure() -> None:
    assert figures(Reading(GOOD)) == [1.4, 2.0, 1.2, 625.0, 0.25, 0.0, 40.0, 80.0, 0.1, 1.1, 3333.33]
    assert all(target.is_reached(Reading(GOOD)) for target in TARGETS)


def test_a_target_is_missed_on_its_own_side() -> None:
    worse = results(
        run("rt300", "relay", flowed(21.0)), run("sat20", "nginx", flowed(4.0)), run("sat20", "relay", flowed(9.3))
    )
    reached = {target.says: target.is_reached(Reading(worse)) for target in TARGETS}
    assert reached.pop("the same at saturation ÷ nginx") is False
    assert reached.pop("real-time sessions per core, 20 ms frames both ways") is False
    assert set(reached.values()) == {None}


def test_a_round_that_is_worth_nothing_is_in_no_median() -> None:
    bad = run("rt100", "relay", flowed(1_000.0, lost=3), 2)
    reading = Reading(results(run("rt100", "relay", flowed(10.0)), bad, run("rt100", "relay", flowed(12.0), 3)))
    assert reading.cost("rt100", "relay") == 11.0
    assert reading.problems() == [("rt100", "relay", "invalid: 3 messages lost")]


def test_the_report_has_a_row_for_each_contender_and_says_what_could_not_run() -> None:
    away = run("sat20", "litellm", None, problem="could not run: it is\naway")
    text = report(Reading(results(*GOOD.runs, away)))
    assert "| nginx | 4.0 |" in text
    assert "| **Airlock** | 8.0 (2.00x) |" in text
    assert "30.0 (1.20x)" in text  # by nginx with TLS
    assert "- sat20, litellm: could not run: it is away\n" in text
    assert "**not reached**" not in text


def test_the_report_of_a_part_leaves_the_other_tables_out() -> None:
    text = report(Reading(results(run("sat20", "nginx", flowed(4.0)))))
    assert "not measured" in text
    assert "Memory" not in text
    assert "Tokens" not in text


def test_every_contender_of_a_scenario_has_a_label() -> None:
    assert {name for scenario in SCENARIOS.values() for name in scenario.contenders} == LABELS.keys()
