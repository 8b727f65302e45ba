from pathlib import Path

import pytest

from app.embedded import mosquitto_config, postgres_config

GIB = 2**30


@pytest.mark.parametrize(
    ("total", "shared", "cache"),
    [(GIB // 4, 64, 128), (2 * GIB, 256, 1024), (24 * GIB, 2048, 12_288), (512 * GIB, 2048, 16_384)],
)
def test_memory_grows_with_the_machine_up_to_a_cap(total: int, shared: int, cache: int) -> None:
    memory = postgres_config.memory_for(total)
    assert (memory.shared_buffers, memory.effective_cache_size) == (shared, cache)


def test_a_durable_server_writes_everything() -> None:
    text = postgres_config.render(port=5, total_bytes=8 * GIB, durable=True)
    for line in ("fsync = on", "synchronous_commit = on", "full_page_writes = on", "port = 5"):
        assert line in text.splitlines()
    assert "listen_addresses = '127.0.0.1'" in text
    assert "unix_socket_directories = ''" in text


def test_a_test_server_does_not() -> None:
    lines = postgres_config.render(port=5, total_bytes=8 * GIB, durable=False).splitlines()
    assert "fsync = off" in lines
    assert "shared_buffers = '128MB'" in lines


def test_the_broker_keeps_what_its_defaults_would_lose() -> None:
    text = mosquitto_config.render(port=7, home=Path("/a b"), limits=mosquitto_config.limits_for(24 * GIB))
    lines = dict(line.split(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines["listener"] == "7 127.0.0.1"
    assert lines["persistence"] == "true"
    assert lines["persistence_location"] == "/a b/data/"
    assert lines["allow_anonymous"] == "false"
    assert int(lines["max_queued_messages"]) > 1_000_000
    assert 0 < int(lines["max_queued_bytes"]) <= 2 * GIB
    assert int(lines["max_inflight_messages"]) == 65_535


def test_small_machines_queue_less() -> None:
    assert mosquitto_config.limits_for(GIB).queued_bytes == GIB // 8
    assert mosquitto_config.limits_for(1).queued_bytes == 64 * 2**20
