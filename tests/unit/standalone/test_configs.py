from pathlib import Path
from typing import Literal

import pytest

from app.standalone import mosquitto_config, postgres_config

GIB = 2**30


@pytest.mark.parametrize(
    ("total", "shared", "cache"),
    [(GIB // 4, 64, 128), (2 * GIB, 256, 1024), (24 * GIB, 2048, 12_288), (512 * GIB, 2048, 16_384)],
)
def test_memory_grows_with_the_machine_up_to_a_cap(total: int, shared: int, cache: int) -> None:
    memory = postgres_config.choose_postgres_memory(total)
    assert (memory.shared_buffers, memory.effective_cache_size) == (shared, cache)


def test_a_durable_server_writes_everything() -> None:
    text = postgres_config.render_postgres_config(port=5, total_bytes=8 * GIB, durable=True)
    for line in ("fsync = on", "synchronous_commit = on", "full_page_writes = on", "port = 5"):
        assert line in text.splitlines()
    assert "listen_addresses = '127.0.0.1'" in text
    assert "unix_socket_directories = ''" in text


def test_a_test_server_does_not() -> None:
    lines = postgres_config.render_postgres_config(port=5, total_bytes=8 * GIB, durable=False).splitlines()
    assert "fsync = off" in lines
    assert "shared_buffers = '128MB'" in lines


def test_the_broker_keeps_what_its_defaults_would_lose() -> None:
    text = mosquitto_config.render_mosquitto_config(
        port=7, home=Path("/a b"), limits=mosquitto_config.choose_broker_limits(24 * GIB)
    )
    lines = dict(line.split(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines["listener"] == "7 127.0.0.1"
    assert lines["persistence"] == "true"
    assert lines["persistence_location"] == "/a b/data/"
    assert lines["allow_anonymous"] == "false"
    assert int(lines["max_queued_messages"]) > 1_000_000
    assert 0 < int(lines["max_queued_bytes"]) <= 2 * GIB
    assert int(lines["max_inflight_messages"]) == 65_535


@pytest.mark.parametrize(
    ("clients", "asked"),
    [
        ("password", set()),
        ("certificate", {"require_certificate"}),
        ("identity", {"require_certificate", "use_identity_as_username"}),
    ],
)
def test_the_tls_listener_asks_for_what_it_was_told_and_ties_the_client_id(
    clients: Literal["password", "certificate", "identity"], asked: set[str]
) -> None:
    path = Path("/etc/x.pem")
    tls = mosquitto_config.TlsListener("::", 8883, path, path, client_ca_file=path, clients=clients)
    text = mosquitto_config.render_mosquitto_config(
        port=7, home=Path("/h"), limits=mosquitto_config.BrokerLimits(), tls=tls
    )
    first, second = text.split("listener 8883 ::\n")
    lines = dict(line.split(" ", 1) for line in second.splitlines())
    assert {name for name, value in lines.items() if value == "true"} == {*asked, "use_username_as_clientid"}
    assert lines["keyfile"] == "/h/tls-key.pem"
    assert ("cafile" in lines) is (clients != "password")
    assert "use_username_as_clientid" not in first


def test_small_machines_queue_less() -> None:
    assert mosquitto_config.choose_broker_limits(GIB).queued_bytes == GIB // 8
    assert mosquitto_config.choose_broker_limits(1).queued_bytes == 64 * 2**20
