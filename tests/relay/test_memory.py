"""Which variables make the allocator overwrite what is freed."""

import pytest

from relay.memory import scrubbing_environment


def test_linux_misses_both_variables() -> None:
    assert scrubbing_environment({"PATH": "/bin"}, "linux") == {"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"}


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_nothing_is_missing_once_it_is_set(platform: str) -> None:
    assert scrubbing_environment(scrubbing_environment({}, platform), platform) == {}


def test_what_the_operator_set_is_left_alone() -> None:
    assert "PYTHONMALLOC" not in scrubbing_environment({"PYTHONMALLOC": "default"}, "linux")


def test_an_unknown_platform_is_left_alone() -> None:
    assert scrubbing_environment({}, "freebsd14") == {}
