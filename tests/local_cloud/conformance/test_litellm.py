"""The conformance kit against LiteLLM's proxy: it needs no more of a gateway than its address and a credential."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.environments import Environment
from local_cloud.conformance.catalogue import CHECKS, GROUPS
from local_cloud.ports import free_port
from tests.local_cloud.conformance.kit import KEY, Kit
from tests.stack import ROOT, status_of

pytestmark = pytest.mark.soak

MODEL = "gpt-realtime-2.1"
MASTER_KEY = "sk-conformance-master-of-the-tests"
READY_SECONDS = 90.0


@contextmanager
def litellm(folder: Path, upstream: str) -> Iterator[tuple[str, ...]]:
    """What the kit must know of one, while it runs."""
    command = Environment("litellm").command("litellm")
    parameters = {"model": f"openai/{MODEL}", "api_base": upstream, "api_key": KEY}
    config = folder / "config.json"  # JSON is YAML
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}))
    port, log = free_port(), folder / "litellm.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [command, "--config", config, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,  # a .env of this machine is not to be read
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_MASTER_KEY": MASTER_KEY},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + READY_SECONDS
            while status_of(f"http://127.0.0.1:{port}/health/liveliness") >= 500:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)  # polling another process' readiness
            yield ("--relay", f"ws://127.0.0.1:{port}/v1/realtime", "--credential", MASTER_KEY, "--log", str(log))
        finally:
            process.terminate()


def documented() -> tuple[str, dict[str, list[int]]]:
    """The version of the page's scores, and for each group how many pass, fail and do not apply."""
    page = (ROOT / "docs/conformance.md").read_text(encoding="utf-8")
    heads, *rows = re.findall(r"^\| ([\w-]+) \| \w+ \| [^|]+ \| ([^|]+) \| [^|]+ \|$", page, re.M)
    return heads[1], {group: [int(number) for number in score.split("/")] for group, score in rows if "/" in score}


async def test_litellm_scores_as_the_page_says(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    running = litellm(tmp_path, kit.upstream)
    described = await asyncio.to_thread(running.__enter__)
    try:
        verdict = await kit.judge(*described)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
    counts = Counter((check.group, verdict.outcomes[check.name][0]) for check in CHECKS)
    scores = {group: [counts[group, result] for result in ("pass", "fail", "n.a.")] for group in GROUPS}
    locked = re.search(r"^litellm==(\S+)", (ROOT / "bench/litellm.lock").read_text(encoding="utf-8"), re.M)
    assert locked is not None
    head, told = documented()
    assert head == f"LiteLLM {locked[1]}"
    assert scores == {group: told[group] for group in GROUPS}, verdict.printed
    assert verdict.status == 1
