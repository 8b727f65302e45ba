"""Where the stack is."""

import json
from pathlib import Path

import pytest

from simulators.target_stack import BrokerAddress, TargetError, find_api, find_target, parse_broker

RUN = {
    "ready": True,
    "api": "http://127.0.0.1:8000/",
    "admin_key": "vg_a",
    "mqtt": {"host": "127.0.0.1", "port": 1884, "username": "gateway", "password": "p"},
    "database": "postgresql://x",
    "pids": {},
}


def test_the_run_file_and_options_that_win(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(RUN))
    target = find_target(path, None, None, None, None)
    assert (target.api, target.key, target.database) == ("http://127.0.0.1:8000", "vg_a", "postgresql://x")
    assert target.broker == BrokerAddress("127.0.0.1", 1884, "gateway", "p")
    assert target.folder == tmp_path
    assert "vg_a" not in repr(target)
    other = find_target(path, "http://h:1/", None, "mqtt://u:p%40@h", None)
    assert (other.api, other.key, other.broker) == ("http://h:1", "vg_a", BrokerAddress("h", 1883, "u", "p@"))


def test_a_broker_may_speak_tls() -> None:
    assert parse_broker("mqtts://u:p@h") == BrokerAddress("h", 8883, "u", "p", tls=True)
    assert not parse_broker("mqtt://h:8883").tls


def test_options_alone_need_no_file(tmp_path: Path) -> None:
    target = find_target(tmp_path / "none.json", "http://h", "k", "h:1885", None)
    assert (target.broker.port, target.database) == (1885, None)


def test_an_address_and_a_key_need_no_broker(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert find_api(path, "http://h/", "k") == ("http://h", "k")
    with pytest.raises(TargetError, match="vigie up"):
        find_api(path, "http://h", None)
    path.write_text(json.dumps(RUN))
    assert find_api(path, None, None) == ("http://127.0.0.1:8000", "vg_a")
    assert find_api(path, None, "k") == ("http://127.0.0.1:8000", "k")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"api": 1, "mqtt": {}}', json.dumps({**RUN, "api": None})])
def test_a_broken_run_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(TargetError, match=r"run\.json"):
        find_target(path, None, None, None, None)


def test_a_missing_run_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="vigie up"):
        find_target(tmp_path / "run.json", None, None, None, None)


@pytest.mark.parametrize("text", ["http://h", "mqtt://", "mqtt://h:port"])
def test_a_broken_broker_address_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        parse_broker(text)
