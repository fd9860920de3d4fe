"""The conformance kit's rules without a relay: what it sends, and how it judges what it hears."""

from __future__ import annotations

import base64
import json
from collections import Counter

import pytest
from yarl import URL

from local_cloud.conformance.attacks import ATTACKS, CANARY, Attack
from local_cloud.conformance.catalogue import CHECKS, GROUPS
from local_cloud.conformance.check import failed, not_applicable, passed
from local_cloud.conformance.endings import is_sensible
from local_cloud.conformance.frames import CLOSE, TEXT, FrameReader, client_frame, close_frame
from local_cloud.conformance.score import Score, chosen
from local_cloud.conformance.scrub import shown
from local_cloud.conformance.single_use import spellings
from local_cloud.conformance.target import Carriage, Target, is_loopback, value_at
from local_cloud.conformance.token_life import made_up, tampered

TOKEN = "ek_WyJoZWxsbyIsMTc5NV0.aZ1bCw.dGhlLXNpZ25hdHVyZS1vZi1pdA"


def test_every_check_has_its_own_name_and_says_why_and_whence() -> None:
    assert [name for name, times in Counter(check.name for check in CHECKS).items() if times > 1] == []
    assert [check.name for check in CHECKS if not (check.why and check.source and check.group in GROUPS)] == []


def test_groups_choose_their_checks() -> None:
    assert chosen(CHECKS, []) == list(CHECKS)
    assert {check.group for check in chosen(CHECKS, ["lock", "scrub"])} == {"lock", "scrub"}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_text_of_an_attack_holds_the_canary(attack: Attack) -> None:
    assert [text for text in attack.texts if CANARY not in text] == []


def test_other_spellings_are_other_texts_of_the_same_bytes() -> None:
    texts = list(spellings("ek_YQ"))
    assert len(set(texts)) == 5
    assert "ek_YQ" not in texts
    assert {base64.urlsafe_b64decode(f"{text.removeprefix('ek_').rstrip('=')}==") for text in texts} == {b"a"}


def test_a_tampered_credential_differs_in_one_character() -> None:
    texts = list(tampered(TOKEN))
    assert len(texts) >= 6
    for text in texts:
        assert sum(ours != theirs for ours, theirs in zip(TOKEN, text, strict=True)) == 1


def test_a_made_up_credential_has_the_shape_of_a_good_one() -> None:
    forged = made_up(TOKEN)
    assert forged.startswith("ek_")
    assert [char for char in forged if not char.isalnum()] == [char for char in TOKEN if not char.isalnum()]
    assert len(forged) == len(TOKEN)
    assert len({TOKEN, forged, made_up(TOKEN, 2)}) == 3


@pytest.mark.parametrize(
    ("event", "visible"),
    [
        ({"session": {"instructions": "x", "tools": [], "tool_choice": None, "prompt": {}}}, {"instructions"}),
        ({"a": [{"b": {"tools": [{"name": "x"}]}}]}, {"tools"}),
        ({"session": {"type": "realtime", "audio": {}}}, set()),
        ({"delta": "instructions tools prompt"}, set()),
    ],
)
def test_what_is_shown_is_found_at_any_depth(event: dict[str, object], visible: set[str]) -> None:
    assert set(shown(event)) == visible


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("ws://localhost:1/", True),
        ("ws://127.0.0.1/", True),
        ("ws://127.9.9.9/", True),
        ("ws://[::1]:1/", True),
        ("ws://localhost.example/", False),
        ("ws://127.0.0.1.example/", False),
        ("ws://10.0.0.1/", False),
        ("ws://0.0.0.0/", False),
    ],
)
def test_only_this_machine_is_this_machine(address: str, ours: bool) -> None:
    assert is_loopback(URL(address)) is ours


@pytest.mark.parametrize("code", [999, 1000, 1004, 1005, 1006, 1015, 2000, 5000])
def test_a_close_code_that_says_nothing_of_a_failure_is_not_sensible(code: int) -> None:
    assert not is_sensible(code)


@pytest.mark.parametrize("code", [1001, 1008, 1011, 1013, 3000, 4401, 4999])
def test_a_close_code_that_says_that_something_went_wrong_is_sensible(code: int) -> None:
    assert is_sensible(code)


@pytest.mark.parametrize(
    ("carriage", "line"),
    [
        ("subprotocol", "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.x"),
        ("header", "Authorization: Bearer x"),
        ("api-key", "api-key: x"),
    ],
)
def test_a_handshake_shows_its_credential_as_asked(carriage: Carriage, line: str) -> None:
    target = Target(
        relay=URL("ws://localhost:1/v1/realtime"), mint=None, credential="x", carriage=carriage, origin="http://a"
    )
    lines = target.lines("x")
    assert {line, "Origin: http://a", "Host: localhost:1"} <= set(lines)
    assert "Origin: http://a" not in target.lines("x", origin=None)
    assert line not in target.lines(None)


def test_a_path_leads_through_an_answer_or_nowhere() -> None:
    answer = {"client_secret": {"value": "x"}}
    assert value_at(answer, "client_secret.value") == "x"
    assert value_at(answer, "client_secret.value.more") is None
    assert value_at(answer, "value") is None
    assert value_at(None, "value") is None


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_frames_of_every_size_are_read_however_they_come(size: int, step: int) -> None:
    payload = bytes(size)
    sent = client_frame(TEXT, payload, masked=False) + close_frame(1000, b"bye")
    reader, read = FrameReader(), []
    for at in range(0, len(sent), step):
        read += list(reader.feed(sent[at : at + step]))
    assert [(frame.opcode, frame.payload, frame.fin) for frame in read] == [
        (TEXT, payload, True),
        (CLOSE, b"\x03\xe8bye", True),
    ]


def test_a_score_counts_by_group_and_is_clean_without_a_failure() -> None:
    first, second, *_ = chosen(CHECKS, ["lock"])
    third = chosen(CHECKS, ["scrub"])[0]
    score = Score({first: passed("a"), second: failed("b"), third: not_applicable("c")})
    assert not score.is_clean
    assert Score({first: passed("a"), third: not_applicable("c")}).is_clean
    assert [line.split() for line in score.table().splitlines()] == [
        ["group", "pass", "fail", "n.a."],
        ["lock", "1", "1", "0"],
        ["scrub", "0", "0", "1"],
        ["all", "1", "1", "1"],
    ]
    told = json.loads(score.as_json())
    assert told["counts"] == {"pass": 1, "fail": 1, "n.a.": 1}
    assert told["checks"][1] == {"group": "lock", "name": second.name, "result": "fail", "evidence": "b"}
