"""Which variables make the allocator overwrite what is freed, and memory that is given back."""

import mmap
import sys
from pathlib import Path

import pytest

from relay.memory import find_jemalloc, give_back, scrubbing_environment

GLIBC = {"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


def test_linux_misses_three_variables_and_jemalloc_two_more() -> None:
    assert scrubbing_environment({"PATH": "/bin"}, "linux", "") == GLIBC
    assert scrubbing_environment({"PATH": "/bin"}, "linux", "/lib/libjemalloc.so.2") == GLIBC | {
        "LD_PRELOAD": "/lib/libjemalloc.so.2",
        "MALLOC_CONF": "junk:free,narenas:1",
    }


@pytest.mark.parametrize("folder", ["lib/x86_64-linux-gnu", "lib64", "lib"])
def test_jemalloc_is_found_where_distributions_put_it(tmp_path: Path, folder: str) -> None:
    assert find_jemalloc(tmp_path) == ""
    library = tmp_path / folder / "libjemalloc.so.2"
    library.parent.mkdir(parents=True)
    library.touch()
    assert find_jemalloc(tmp_path) == str(library)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_nothing_is_missing_once_it_is_set(platform: str) -> None:
    assert scrubbing_environment(scrubbing_environment({}, platform), platform) == {}


def test_what_the_operator_set_is_left_alone() -> None:
    assert "PYTHONMALLOC" not in scrubbing_environment({"PYTHONMALLOC": "default"}, "linux")
    assert "GLIBC_TUNABLES" not in scrubbing_environment({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}, "linux")
    assert scrubbing_environment({"LD_PRELOAD": ""}, "linux", "/lib/libjemalloc.so.2") == GLIBC
    assert scrubbing_environment({"MALLOC_CONF": "junk:true"}, "linux", "/j")["MALLOC_CONF"] == "junk:true"


def test_glibc_s_other_tunables_stay_as_the_operator_set_them() -> None:
    environment = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    missing = scrubbing_environment(environment, "linux")
    assert missing["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"


def test_an_unknown_platform_is_left_alone() -> None:
    assert scrubbing_environment({}, "freebsd14") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux promises that")
@pytest.mark.parametrize("size", [1, mmap.PAGESIZE, 256 * 1024])
def test_the_pages_of_a_buffer_are_given_back_and_nothing_around_them(size: int) -> None:
    room = bytearray(b"x" * (size + 4 * mmap.PAGESIZE))
    start = 2 * mmap.PAGESIZE + 16
    with memoryview(room) as whole, whole[start : start + size] as buffer:
        give_back(buffer)
        forgotten = bytes(buffer).count(0)
    assert room.count(b"\0") == forgotten  # none of it outside
    assert forgotten % mmap.PAGESIZE == 0
    assert size - 2 * mmap.PAGESIZE < forgotten <= size
