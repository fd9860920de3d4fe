"""The command that makes API keys, as a process, and what it prints put to use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.serving import serving
from tests.token_service.conftest import MakeSettings
from token_service.app import create_app
from token_service.callers import bearer_jwt

ROOT = Path(__file__).resolve().parent.parent.parent
NEW = ("new", "--name", "shop", "--tenant", "acme", "--profiles", "default,staff")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "token_service.api_keys", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def printed(*arguments: str) -> tuple[str, str]:
    """The key, and the entry as it was printed."""
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    (key,) = re.findall(r"ak_\S+", done.stdout)
    (entry,) = re.findall(r"^  (\{.*\})$", done.stdout, re.M)
    assert key not in entry
    return key, entry


def test_it_prints_a_key_once_and_the_entry_with_its_hash() -> None:
    key, entry = printed(*NEW, "--max-session-seconds", "1800", "--max-cost-usd", "5")
    assert re.fullmatch(r"ak_[A-Za-z0-9_-]{43}", key)
    assert json.loads(entry) == {
        "name": "shop",
        "sha256": sha256(key.encode()).hexdigest(),
        "tenant": "acme",
        "profiles": ["default", "staff"],
        "max_session_seconds": 1_800,
        "max_cost_usd": 5,
    }
    assert bearer_jwt([f"Bearer {key}"]) is None


def test_no_two_keys_are_the_same() -> None:
    assert printed(*NEW)[0] != printed(*NEW)[0]


async def test_the_key_works_with_the_entry(make_settings: MakeSettings, redis: Redis) -> None:
    key, entry = printed(*NEW)
    app = create_app(*make_settings(callers="api_key", caller_api_keys=f"[{entry}]"))
    async with serving(app) as port, aiohttp.ClientSession() as http:
        for credential, status in ((key, 200), (key + "x", 401), (json.loads(entry)["sha256"], 401)):
            headers = {"Authorization": f"Bearer {credential}"}
            async with http.post(f"http://127.0.0.1:{port}/v1/realtime/client_secrets", headers=headers) as response:
                assert response.status == status


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--tenant", "anonymous"), "argument --tenant: is the tenant of callers without a key"),
        (("--name", ""), "argument --name: "),
        (("--profiles", ""), "argument --profiles: "),
        (("--profiles", "Not A Name"), "argument --profiles: "),
        (("--max-session-seconds", "0"), "argument --max-session-seconds: "),
        (("--max-session-seconds", "1.5"), "argument --max-session-seconds: "),
        (("--max-cost-usd", "much"), "argument --max-cost-usd: "),
        (("--max-costs", "1"), "unrecognized arguments"),
    ],
)
def test_what_the_settings_would_refuse_is_refused_at_once(changes: tuple[str, ...], said: str) -> None:
    done = command(*NEW, *changes)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
