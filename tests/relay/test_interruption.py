"""A step that something else may overtake."""

import asyncio

import pytest

from relay.interruption import Interrupted, unless


async def step(gone: list[str], seconds: float = 0) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        gone.append("cancelled")
        raise
    return "done"


async def test_a_step_that_is_first_gives_its_result() -> None:
    assert await unless(asyncio.get_running_loop().create_future(), step([])) == "done"


async def test_a_step_that_is_overtaken_is_cancelled_and_waited_for() -> None:
    other = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(other.set_result, None)
    gone: list[str] = []
    with pytest.raises(Interrupted):
        await unless(other, step(gone, 60))
    assert gone == ["cancelled"]
    assert not other.cancelled()


async def test_what_fails_on_the_way_out_changes_nothing() -> None:
    async def clumsy() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError

    other = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(other.set_result, None)
    with pytest.raises(Interrupted):
        await unless(other, clumsy())


async def test_a_waiter_that_is_cancelled_cancels_the_step() -> None:
    gone: list[str] = []
    waiter = asyncio.create_task(unless(asyncio.get_running_loop().create_future(), step(gone, 60)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert gone == ["cancelled"]
