"""docs/api.md is true: each of its examples is run as it stands, and answered with the status and code beside it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from hashlib import sha256
from typing import Any

import pytest

from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

KEY = "a-key-of-the-shop"
SECONDS = 20
SETTINGS = {
    "CALLER_API_KEYS": json.dumps(
        [{"name": "shop", "sha256": sha256(KEY.encode()).hexdigest(), "tenant": "shop", "profiles": ["default"]}]
    )
}

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "docs/api.md").read_text(encoding="utf-8"))
EXAMPLES = list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True))
"""A command, and the answer under it."""

CODE = re.compile(r'"code": "(\w+)"')
PARAM = re.compile(r'"param": "([\w.]+)"')
FIRST_KEY = re.compile(r'^{"(\w+)"')


async def test_the_page_has_an_answer_under_each_command() -> None:
    assert len(EXAMPLES) >= 8
    assert {(command[0], answer[0]) for command, answer in EXAMPLES} == {("sh", "http")}
    assert all(command[1].startswith("curl -i ") for command, _ in EXAMPLES)


def answered(printed: str) -> tuple[str, dict[str, Any]]:
    """The status line and body of what ``curl -i`` printed."""
    head, _, body = printed.partition("\n\n")
    decoded: dict[str, Any] = json.loads(body)
    return head.splitlines()[0], decoded


@pytest.mark.parametrize(("command", "shown"), [(command[1], answer[1]) for command, answer in EXAMPLES])
async def test_an_example_gets_the_answer_that_the_page_shows(stack: Stack, command: str, shown: str) -> None:
    environment = {"PATH": os.environ["PATH"], "AIRLOCK_KEY": KEY}
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-euc", command.replace("http://localhost:8080", stack.page_url)],
        env=environment,
        capture_output=True,
        text=True,  # reads CRLF as LF
        timeout=SECONDS,
        check=True,
    )
    status, body = answered(done.stdout)
    shown_status, _, shown_body = shown.partition("\n\n")
    assert status == shown_status
    first = FIRST_KEY.match(shown_body)
    assert first
    assert first[1] == next(iter(body))
    error = body.get("error", {})
    assert CODE.findall(shown_body) == ([error["code"]] if error else [])
    assert PARAM.findall(shown_body) == ([error["param"]] if error.get("param") else [])
