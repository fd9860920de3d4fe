import pytest

from bench.figures import difference, median_of, percentile, ratio


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, 0.0),
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 50, 2.0),
        ([float(number) for number in range(1, 101)], 99, 99.0),
        ([float(number) for number in range(1, 201)], 99, 198.0),
        ([float(number) for number in range(1, 102)], 99, 100.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_a_ratio_is_the_median_of_the_rounds_own_ratios_not_the_ratio_of_medians() -> None:
    ours, floor = [10.0, 40.0, 12.0], [5.0, 10.0, 8.0]
    assert ratio(ours, floor) == 2.0  # of 2, 4 and 1.5; the medians' would be 1.5
    assert difference(ours, floor) == 5.0


def test_a_round_without_a_figure_is_left_out() -> None:
    assert median_of([None, 3.0, None]) == 3.0
    assert ratio([10.0, None, 6.0], [5.0, 4.0, None]) == 2.0
    assert difference([10.0, None], [4.0, 1.0]) == 6.0


def test_nothing_measured_is_no_figure() -> None:
    assert median_of([None]) is None
    assert ratio([1.0], [None]) is None
    assert ratio([1.0], [0.0]) is None
    assert difference([None], [1.0]) is None
