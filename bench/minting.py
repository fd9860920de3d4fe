"""Minting session tokens over HTTP from the token service, as a caller with an API key does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from bench import process_tree
from bench.figures import percentile
from bench.orders import Done, Mint, MintTokens

AT_ONCE: Final = 8


async def mint(wanted: Mint, count: int) -> list[str]:
    """So many fresh tokens, each for another user."""
    tokens = [""] * count
    async with _client() as http:

        async def one(number: int) -> None:
            tokens[number] = await _mint(http, wanted, number)

        await at_once(AT_ONCE, count, one)
    return tokens


async def measure(order: MintTokens) -> Done:
    """Do it, and see what it costs the token service."""
    tokens = [""] * order.count
    async with _client() as http:
        await _mint(http, order.mint, order.count)  # connected, and nothing left to be imported

        async def one(number: int) -> None:
            tokens[number] = await _mint(http, order.mint, number)

        return await measured(order.count, one, order.pid, order.at_once, order.per_second, tokens)


async def measured(
    count: int,
    one: Callable[[int], Awaitable[None]],
    pid: int,
    at_most: int,
    per_second: float,
    tokens: list[str],
) -> Done:
    """Run ``one`` for each number below ``count``, and tell how long each took and what all of them cost ``pid``."""
    trips = [0.0] * count

    async def timed(number: int) -> None:
        began = time.perf_counter()
        await one(number)
        trips[number] = time.perf_counter() - began

    before = process_tree.cpu_ns(pid)
    began = time.perf_counter()
    if per_second:
        await _evenly(per_second, count, timed)
    else:
        await at_once(at_most, count, timed)
    seconds = time.perf_counter() - began
    return Done(
        count=count,
        seconds=seconds,
        cpu_ns={"contender": process_tree.cpu_ns(pid) - before},
        trip_p50_ms=percentile(trips, 50) * 1000,
        trip_p99_ms=percentile(trips, 99) * 1000,
        tokens=tokens,
    )


async def at_once(most: int, count: int, one: Callable[[int], Awaitable[None]]) -> None:
    """Run ``one`` for each number below ``count``, so many of them at a time."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(some() for _ in range(most)))


async def _evenly(per_second: float, count: int, one: Callable[[int], Awaitable[None]]) -> None:
    began = time.perf_counter()
    running = []
    for number in range(count):
        wait = began + number / per_second - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        running.append(asyncio.ensure_future(one(number)))
    await asyncio.gather(*running)


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def _mint(http: aiohttp.ClientSession, wanted: Mint, number: int) -> str:
    headers = {"Authorization": f"Bearer {wanted.api_key}"}
    async with http.post(wanted.url, json={"airlock": {"subject": f"user-{number}"}}, headers=headers) as answer:
        body = await answer.json()
        if answer.status != 200:
            raise RuntimeError(f"no token: {answer.status} {body}")
        return str(body["value"])
