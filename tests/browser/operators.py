"""The product with a listener for operators, and the key that opens its page; import the fixtures that are wanted."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from local_cloud.ports import free_port
from tests.stack import Stack

KEY = "op_a-key-for-the-page"


@pytest.fixture(scope="module")
def operator_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, operator_url: str) -> Iterator[Stack]:
    keys = json.dumps([{"name": "ops", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}])
    folder = tmp_path_factory.mktemp("operators")
    port = operator_url.rsplit(":", 1)[1]
    with Stack(folder, OPERATOR_PORT=port, OPERATOR_KEYS=keys, MAX_SESSIONS_PER_ADDRESS="1000") as running:
        yield running
