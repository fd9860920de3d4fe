"""The Dockerfile's steps, carried out without Docker: what is in the image, and how both services run and stop."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from local_cloud.plan import compose_environment
from local_cloud.ports import free_port
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from relay.memory import scrubbing_environment
from scripts.build_image_root import Image, build
from tests.end_to_end.clients import connect, mint
from tests.examples import KEY
from tests.stack import status_of

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("debootstrap") is None, reason="building a root needs root and debootstrap"
    ),
]
BUILDERS = {"as", "cc", "c++", "clang", "cpp", "gcc", "g++", "ld", "make", "pip", "pip3", "rustc", "valkey-server"}
USER = 10001


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    folder = tmp_path_factory.mktemp("image")
    try:
        yield build(folder)
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Running:
    """A service in the image.

    Attributes:
        process: what entered the root; its exit status is the service's.
        pid: the service's own, as this machine counts; in its namespace it is 1.
    """

    process: asyncio.subprocess.Process
    pid: int
    port: int

    def status(self, name: str) -> list[str]:
        """A line of the kernel's about it."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(line.split()[1:] for line in lines if line.startswith(f"{name}:"))

    def mapped(self) -> str:
        """What is in its memory, the libraries too."""
        return Path(f"/proc/{self.pid}/maps").read_text()

    def environment(self) -> dict[str, str]:
        """What it was started with."""
        lines = Path(f"/proc/{self.pid}/environ").read_text().split("\0")
        return dict(line.split("=", 1) for line in lines if line)


def child_of(pid: int) -> int:
    """Its one child."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


@asynccontextmanager
async def service(image: Image, command: list[str], port: int, environment: dict[str, str]) -> AsyncIterator[Running]:
    """A service that is ready, from its Dockerfile's settings and the test's; afterwards it is gone."""
    environment = {**image.environment, **environment, "PORT": str(port)}
    process = await asyncio.create_subprocess_exec(*image.enter(command), env=environment)
    try:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}/readyz") != 200:
                assert process.returncode is None
                await asyncio.sleep(0.05)  # polling another process' readiness
        yield Running(process, child_of(process.pid), port)
    finally:
        if process.returncode is None:
            os.kill(child_of(process.pid), signal.SIGKILL)  # who entered the root ends with it, not the other way round
            await process.wait()


@dataclass
class Addresses:
    page_url: str
    mint_base_url: str
    relay_base_urls: list[str]


@dataclass
class Both:
    addresses: Addresses
    token_service: Running
    relay: Running


@pytest.fixture
async def both(image: Image) -> AsyncIterator[Both]:
    page_port, relay_port = free_port(), free_port()
    page = f"http://localhost:{page_port}"
    async with Simulator() as simulator:
        with RedisServer() as redis:
            environment = compose_environment(
                {**image.environment, "OPENAI_BASE_URL": simulator.base_url, "OPENAI_API_KEY": KEY},
                page_port=page_port,
                relay_port=relay_port,
                redis_url=redis.url,
                simulator_port=None,
            )
            async with (
                service(image, image.command, page_port, environment) as token_service,
                service(image, ["python", "-m", "relay"], relay_port, {**environment, "DRAIN_SECONDS": "5"}) as relay,
            ):
                addresses = Addresses(page, f"{page}/v1", [f"http://localhost:{relay_port}/v1"])
                yield Both(addresses, token_service, relay)


def files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names)


def ask(image: Image, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run something in the image, as it is run: as its user, on a root that is read-only."""
    return subprocess.run(
        image.enter(list(command)), env={**image.environment, **environment}, capture_output=True, text=True, timeout=30
    )


def test_nothing_that_builds_or_installs_is_in_it(image: Image) -> None:
    programs = {path.name.partition("-")[0] for path in files(image.root) if path.parent.name in ("bin", "sbin")}
    assert "python3" in programs
    assert not programs & BUILDERS
    assert ask(image, "python", "-c", "import pip").returncode == 1
    assert list((image.root / "var/lib").glob("apt/lists/*")) == []


def test_the_operators_commands_of_the_runbook_are_in_it(image: Image) -> None:
    told = ask(image, "bash", "-c", "python -m token_service.operators new-key --name you")
    assert (told.returncode, told.stderr) == (0, "")


def test_of_the_project_only_what_runs_is_in_it(image: Image) -> None:
    assert {path.name for path in (image.root / "app").iterdir()} == {
        *("frontend", "relay", "service_kit", "token_service"),
        *("LICENSE", "profiles.toml"),
    }
    assert not [path for path in files(image.root) if path.name in (".env", "authorities.pem")]


def test_the_relay_s_hot_path_in_it_is_compiled(image: Image) -> None:
    told = ask(image, "python", "-c", "import relay.wire; print(relay.wire.__file__)")
    assert told.stdout.startswith("/app/relay/__compiled__/")
    assert ask(image, "python", "-c", "import Cython").returncode == 1


def test_nothing_in_it_is_its_user_s_and_nothing_lends_rights(image: Image) -> None:
    for path in files(image.root):
        about = path.lstat()
        assert about.st_uid != USER, path
        assert not stat.S_ISREG(about.st_mode) or not about.st_mode & (stat.S_ISUID | stat.S_ISGID), path


def test_its_user_writes_nowhere(image: Image) -> None:
    for folder in ("/", "/app", "/tmp", "/var/tmp", "/opt/airlock", "/dev/shm"):
        refused = ask(image, "touch", f"{folder}/x")
        assert refused.returncode == 1, folder
        assert "Read-only file system" in refused.stderr, folder


async def test_both_services_run_as_its_user_without_rights_and_write_nothing(image: Image, both: Both) -> None:
    for running in (both.token_service, both.relay):
        assert running.status("Uid") == running.status("Gid") == [str(USER)] * 4
        assert running.status("NSpid")[-1] == "1"
        assert [running.status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [["0" * 16]] * 4
        assert scrubbing_environment(running.environment()) == {}
        assert "/libjemalloc.so.2" in running.mapped()
    async with aiohttp.ClientSession() as http:
        async with http.get(both.addresses.page_url) as page:
            assert page.status == 200
        async with await connect(http, both.addresses, await mint(http, both.addresses)) as talk:
            assert await talk.ask()


async def test_the_health_check_tells_a_service_that_answers_from_one_that_does_not(image: Image, both: Both) -> None:
    for running in (both.token_service, both.relay):
        assert ask(image, *image.health_check, PORT=str(running.port)).returncode == 0
    assert ask(image, *image.health_check, PORT=str(free_port())).returncode == 1


async def test_asked_to_stop_the_first_process_says_goodbye_and_exits_with_0(image: Image, both: Both) -> None:
    assert image.stop_signal == "SIGTERM"
    async with aiohttp.ClientSession() as http:
        talk = await connect(http, both.addresses, await mint(http, both.addresses))
        await talk.until("session.created")
        for running in (both.relay, both.token_service):
            os.kill(running.pid, signal.SIGTERM)
        assert (await talk.until_closed(10))[0] == 1012
        async with asyncio.timeout(10):
            assert [await running.process.wait() for running in (both.relay, both.token_service)] == [0, 0]
