import json

from bench.orders import Sample
from bench.pictures import picture_of, picture_of_soak
from bench.reading import Reading
from bench.results import Soak
from tests.bench.building import MACHINE, flowed
from tests.bench.test_report import GOOD


def test_bars_have_what_the_tables_have() -> None:
    figure = picture_of(Reading(GOOD))
    bars = {bar["label"]: bar for bar in figure["panels"][1]["bars"]}
    assert bars["Airlock"] == {"label": "Airlock", "value": 8.0, "says": "8.0, 2.00x nginx", "is_ours": True}
    assert bars["nginx"]["says"] == "4.0"
    assert figure["panels"][2]["x"] == [1, 1_000]
    assert figure["panels"][2]["lines"] == [{"label": "Airlock", "values": [40.0, 44.0]}]
    json.dumps(figure)


def test_a_soak_is_drawn_over_time_by_the_second() -> None:
    samples = [
        Sample(at_seconds=at, messages=500, trip_p50_ms=1, trip_p99_ms=2, resident_bytes=3 << 20, cpu_ns=500_000_000)
        for at in (5.0, 10.0)
    ]
    soak = Soak(
        measured_at="",
        commit="",
        machine=MACHINE,
        contender="relay",
        sessions=10,
        frame_ms=100,
        samples=samples,
        answer=flowed(),
    )
    memory, trips, messages, cpu = picture_of_soak(soak)["panels"]
    assert memory["x"] == [5.0, 10.0]
    assert [line["label"] for line in trips["lines"]] == ["p50", "p99"]
    assert messages["lines"][0]["values"] == [100.0, 100.0]
    assert cpu["lines"][0]["values"] == [10.0, 10.0]
