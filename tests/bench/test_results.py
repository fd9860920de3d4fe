import msgspec
import pytest

from bench.orders import Flowed
from bench.results import Results
from tests.bench.building import done, flowed, results, run, was_set_up


def test_cpu_per_message_is_that_of_the_contender_alone() -> None:
    answer = flowed(12.5, cpu_ns={"contender": 12_500_000, "load": 99_000_000, "upstream": 99_000_000})
    assert run("rt100", "relay", answer).cpu_us_per_message == 12.5
    assert run("rt100", "direct", flowed(cpu_ns={"load": 1})).cpu_us_per_message is None


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (flowed(lost=1), "invalid: 1 messages lost"),
        (flowed(late_ms=101.0), "invalid: the load generator was 101 ms late"),
        (flowed(messages=970), "invalid: 97% of what was offered"),
        (flowed(messages=985), None),
        (flowed(messages=1, offered=None), None),
    ],
)
def test_a_run_that_lost_or_did_not_carry_its_load_is_marked(answer: Flowed, flaw: str | None) -> None:
    made = run("rt100", "relay", answer)
    assert made.flaw == flaw
    assert flaw is None or flaw in made.in_words()


def test_sessions_that_lost_a_message_while_active_are_marked() -> None:
    lost = msgspec.structs.replace(was_set_up(1, 40), lost=2)
    assert run("sessions", "relay", lost).flaw == "invalid: 2 messages lost"


def test_what_could_not_run_says_why() -> None:
    made = run("rt100", "litellm", None, problem="could not run: no such thing")
    assert made.flaw == made.in_words() == "could not run: no such thing"


def test_results_come_back_from_json_as_they_were() -> None:
    made = results(
        run("rt100", "relay", flowed()),
        run("sessions", "relay", was_set_up(1, 40)),
        run("mint", "services", done(200)),
        run("rt100", "litellm", None, problem="away"),
    )
    assert msgspec.json.decode(msgspec.json.encode(made), type=Results) == made
