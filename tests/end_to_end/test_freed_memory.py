"""What was said does not stay in the relay's memory once the session is over."""

import asyncio
import base64
import random
import re
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from local_cloud.realtime import Simulator
from relay.memory import find_jemalloc
from tests.end_to_end.clients import connect, mint
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/mem"),
]

RELAYS = 1
SCRUBBED_WITHIN_SECONDS = 5.0
PIECE_BYTES = (48_000, 4_800, 960, 120, 36)
"""Frames of 1,000, 100, 20, 2.5 and 0.75 ms: an allocator keeps blocks of different sizes in different ways."""


def noise(piece_bytes: int) -> list[bytes]:
    """A hundred frames, or five seconds of them, that cannot be anywhere by chance."""
    count = min(100, 5 * 48_000 // piece_bytes)
    return [base64.b64encode(random.Random(n).randbytes(piece_bytes)) for n in range(count)]


def copies(pid: int, needles: list[bytes]) -> int:
    """How many pieces of the needles lie in a process' memory."""
    pattern = re.compile(b"|".join(re.escape(needle[len(needle) // 4 : len(needle) // 4 + 24]) for needle in needles))
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in mapped(pid).splitlines():
            bounds, mode, *_ = line.split()
            if not mode.startswith("rw") or "[v" in line:
                continue
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            memory.seek(start)
            try:
                found += len(pattern.findall(memory.read(end - start)))
            except OSError:
                continue  # a mapping that cannot be read holds nothing of ours
    return found


def mapped(pid: int) -> str:
    """What is in a process' memory, the libraries too."""
    return Path(f"/proc/{pid}/maps").read_text()


async def speak_and_leave(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, speech: list[bytes]
) -> tuple[int, int]:
    """Hold a session of this audio; the copies in the relay while it lives, and the fewest within 5 s of its end."""
    await until(lambda: bool(traces.lines("upstream.checked")))  # its memory would be written over ours
    pid = stack.processes["relay-0"].popen.pid
    minted = await mint(http, stack)
    talk = await connect(http, stack, minted)
    async with talk:
        await talk.until("session.created")
        upstream = await simulator.connection(len(simulator.connections) - 1)
        for frame in speech:
            await talk.socket.send_str('{"audio":"' + frame.decode() + '","type":"input_audio_buffer.append"}')
        await upstream.wait_received("input_audio_buffer.append", len(speech))
        during = copies(pid, speech)
    await traces.session_end(minted.token_id)
    deadline = time.monotonic() + SCRUBBED_WITHIN_SECONDS
    left = copies(pid, speech)
    while left and time.monotonic() < deadline:
        await asyncio.sleep(0.2)  # memory cannot be awaited
        left = copies(pid, speech)
    return during, left


@pytest.mark.parametrize("piece_bytes", PIECE_BYTES)
async def test_no_audio_is_left_in_memory_five_seconds_after_the_end(
    stack: Stack, simulator: Simulator, traces: Traces, http: aiohttp.ClientSession, piece_bytes: int
) -> None:
    during, left = await speak_and_leave(stack, simulator, traces, http, noise(piece_bytes))
    assert left == 0, f"{during} pieces while the session lived"


@pytest.mark.parametrize("piece_bytes", PIECE_BYTES)
async def test_nor_where_there_is_only_the_c_library_s_allocator(
    simulator: Simulator, http: aiohttp.ClientSession, tmp_path: Path, piece_bytes: int
) -> None:
    stack = Stack(
        tmp_path, openai_base_url=simulator.base_url, OPENAI_API_KEY="sk-upstream", LD_PRELOAD="", SERVE_PAGE="false"
    )
    with stack, Traces(stack) as traces:
        during, left = await speak_and_leave(stack, simulator, traces, http, noise(piece_bytes))
    assert left == 0, f"{during} pieces while the session lived"


async def test_the_allocator_that_is_installed_is_used(stack: Stack) -> None:
    assert find_jemalloc() in mapped(stack.processes["relay-0"].popen.pid)


async def test_the_search_finds_audio_where_memory_is_not_overwritten(
    simulator: Simulator, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The proof that the test above can fail: the same with Python's own allocator."""
    stack = Stack(
        tmp_path,
        openai_base_url=simulator.base_url,
        OPENAI_API_KEY="sk-upstream",
        LD_PRELOAD="",
        PYTHONMALLOC="pymalloc",
        MALLOC_PERTURB_="0",
        SERVE_PAGE="false",
    )
    with stack, Traces(stack) as traces:
        _, left = await speak_and_leave(stack, simulator, traces, http, noise(960))
    assert left > 0
