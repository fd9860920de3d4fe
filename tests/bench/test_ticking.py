import asyncio
import sys
import time
from pathlib import Path

import pytest

from bench.ticking import Ticker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux")


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


async def test_it_ticks_finer_than_a_millisecond_and_stops() -> None:
    ticks, enough, before = 0, asyncio.Event(), open_files()

    def on_tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 20:
            enough.set()

    began = time.perf_counter()
    ticker = Ticker(0.000_2, on_tick)
    await enough.wait()
    assert time.perf_counter() - began >= 20 * 0.000_2
    ticker.stop()
    assert open_files() <= before
    seen = ticks
    await asyncio.sleep(0.005)
    assert ticks == seen
