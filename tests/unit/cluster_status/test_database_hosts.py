"""The lag of a standby, and whether it is synchronous, from what the hosts say."""

import asyncio

import pytest

from app.cluster_status.database_hosts import (
    DatabaseHost,
    HostAnswer,
    ReplicationPeer,
    compare_hosts,
    read_database_hosts,
)

SYNC = ReplicationPeer("db-b", "10.0.0.2", "sync")
ASYNC = ReplicationPeer("db-c", "10.0.0.3", "async")


def primary(*peers: ReplicationPeer, position: int = 1000) -> HostAnswer:
    return HostAnswer("a:5432", False, position, None, "10.0.0.1", peers)


def standby(name: str | None, *, position: int = 1000, age_s: float = 60.0, address: str = "") -> HostAnswer:
    peers = [ReplicationPeer(name, None, None)] if name else []
    return HostAnswer(f"{name}:5432", True, position, age_s, address or None, peers)


def test_a_standby_that_has_everything_is_not_late_however_old_its_last_transaction_is() -> None:
    _, current, late = compare_hosts(
        [primary(SYNC, ASYNC), standby("db-b"), standby("db-c", position=900, age_s=7.5)]
    )
    assert current == DatabaseHost("db-b:5432", "standby", 0, 0.0, True)
    assert late == DatabaseHost("db-c:5432", "standby", 100, 7.5, False)


def test_a_standby_that_was_asked_after_the_primary_is_not_ahead() -> None:
    assert compare_hosts([primary(SYNC), standby("db-b", position=1100)])[1].lag_bytes == 0


def test_without_a_primary_there_is_only_the_age() -> None:
    gone, left = compare_hosts([HostAnswer("a:5432", None), standby("db-b", age_s=12.0)])
    assert gone == DatabaseHost("a:5432", "unreachable")
    assert left == DatabaseHost("db-b:5432", "standby", None, 12.0, None)


@pytest.mark.parametrize(
    ("peers", "host", "expected"),
    [
        ([SYNC, ASYNC], standby(None, address="10.0.0.2"), True),
        ([SYNC, ASYNC], standby(None, address="10.0.0.3"), False),
        ([SYNC, ASYNC], standby(None), None),
        ([ReplicationPeer("walreceiver", None, "quorum")] * 2, standby("walreceiver"), True),
        ([], standby("db-b"), False),
        ([ReplicationPeer("db-b", None, None)], standby("db-b"), None),
        ([ReplicationPeer("db-b", "10.0.0.9", "potential")], standby("db-b"), False),
    ],
)
def test_a_standby_is_found_by_its_name_or_its_address(
    peers: list[ReplicationPeer],
    host: HostAnswer,
    expected: bool | None,  # noqa: FBT001 (a parameter of the test)
) -> None:
    assert compare_hosts([primary(*peers), host])[1].is_synchronous is expected


async def test_hosts_that_accept_and_say_nothing_hold_nobody_up() -> None:
    """Both wait at the same time, and both are given up although they never answer."""
    waiting, released, both = 0, asyncio.Event(), asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both.set()
        await released.wait()
        writer.close()

    servers = [await asyncio.start_server(hang, "127.0.0.1", 0) for _ in range(2)]
    first, second = (f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers)
    hosts = await read_database_hosts(
        f"postgresql://nobody@{first},{second},127.0.0.1:1/vigie", role=None, timeout_s=0.5
    )
    assert not released.is_set()
    # A machine that pauses accepts a connection that was given up already.
    async with asyncio.timeout(60):
        await both.wait()
    released.set()
    for server in servers:
        server.close()
    assert [(host.host, host.role) for host in hosts] == [
        (first, "unreachable"),
        (second, "unreachable"),
        ("127.0.0.1:1", "unreachable"),
    ]
