"""Reads role and replication of each host of the database, in bounded time.

Each host is asked on a connection of its own, all at the same time: one that hangs does not delay the others.
Only the primary knows which standby is synchronous. The function `replication_status` of migration 0051 shows
that to the processes; it needs `pg_read_all_stats` of its owner (`deploy/roles.sql`).
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import asyncpg

from app.platform.db.database import DATABASE_ERRORS
from app.platform.db.primary_connection import find_host_name, split_hosts

HOST_TIMEOUT_S: Final = 1.5
"""How long one host may take to answer (seconds)."""

# Positions in the WAL are readable for everyone. A standby that has replayed everything is not late, however
# old its last transaction is.
_STATUS: Final = """
SELECT pg_is_in_recovery() AS standby,
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
        - '0/0'::pg_lsn AS wal_position,
    CASE WHEN pg_is_in_recovery()
        THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
    END AS replayed_s,
    host(inet_server_addr()) AS address
"""
_PEERS: Final = "SELECT name, address, sync_state FROM replication_status()"

type HostRole = Literal["primary", "standby", "unreachable"]


class ReplicationPeer(NamedTuple):
    """A row of `replication_status`: a standby of the primary, or the receiver of a standby.

    Attributes:
        name: The `application_name` of the standby; None: not visible.
        address: Where it connects from; None: not known.
        sync_state: `sync`, `quorum`, `potential` or `async`; None: not visible.
    """

    name: str | None
    address: str | None
    sync_state: str | None


class HostAnswer(NamedTuple):
    """The answer of one database host.

    Attributes:
        host: Its name and port.
        is_standby: Whether it is a standby; None: it does not answer.
        wal_position: How far it has written or replayed the WAL, in bytes.
        replayed_s: Of a standby: the age of the last replayed transaction, in seconds.
        address: Its address.
        peers: Its standbys, or its own receiver.
    """

    host: str
    is_standby: bool | None
    wal_position: int | None = None
    replayed_s: float | None = None
    address: str | None = None
    peers: Sequence[ReplicationPeer] = ()


class DatabaseHost(NamedTuple):
    """A host of the database.

    Attributes:
        host: Its name and port.
        role: Its role now.
        lag_bytes: Of a standby: the WAL that it has not replayed; None: not known.
        lag_s: Of a standby: how old its newest data are, in seconds; None: not known.
        is_synchronous: Of a standby: whether commits wait for it; None: not visible.
    """

    host: str
    role: HostRole
    lag_bytes: int | None = None
    lag_s: float | None = None
    is_synchronous: bool | None = None


async def read_database_hosts(
    url: str, *, role: str | None, timeout_s: float = HOST_TIMEOUT_S
) -> list[DatabaseHost]:
    """Read the state of each host of a database address, in its order.

    Args:
        url: The address, with one host or several.
        role: The database role to use; None: that of the login.
        timeout_s: How long each host may take, in seconds.
    """
    answers = await asyncio.gather(*(_ask_host(each, role, timeout_s) for each in split_hosts(url)))
    return compare_hosts(answers)


async def _ask_host(url: str, role: str | None, timeout_s: float) -> HostAnswer:
    host = find_host_name(url)
    connection: asyncpg.Connection | None = None
    server_settings = {"application_name": "vigie-cluster", **({} if role is None else {"role": role})}
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(url, timeout=timeout_s, server_settings=server_settings)
            row = await connection.fetchrow(_STATUS)
            peers = await _read_peers(connection)
    except DATABASE_ERRORS:
        return HostAnswer(host, None)
    finally:
        if connection is not None:
            # close() waits for the server, which may hang.
            connection.terminate()
    if row is None:
        return HostAnswer(host, None)
    position: Decimal | None = row["wal_position"]
    return HostAnswer(
        host,
        row["standby"],
        None if position is None else int(position),
        row["replayed_s"],
        row["address"],
        peers,
    )


async def _read_peers(connection: asyncpg.Connection) -> list[ReplicationPeer]:
    try:
        return [ReplicationPeer(*row) for row in await connection.fetch(_PEERS)]
    except (asyncpg.UndefinedFunctionError, asyncpg.InsufficientPrivilegeError):
        return []  # the schema of an earlier release


def compare_hosts(answers: Sequence[HostAnswer]) -> list[DatabaseHost]:
    """Compare the answers of all hosts: a standby's lag is its distance from the primary."""
    primary = next((each for each in answers if each.is_standby is False), None)
    return [_compare_host(each, primary) for each in answers]


def _compare_host(answer: HostAnswer, primary: HostAnswer | None) -> DatabaseHost:
    if answer.is_standby is None:
        return DatabaseHost(answer.host, "unreachable")
    if not answer.is_standby:
        return DatabaseHost(answer.host, "primary")
    lag_bytes, lag_s = None, answer.replayed_s
    if primary is not None and primary.wal_position is not None and answer.wal_position is not None:
        lag_bytes = max(0, primary.wal_position - answer.wal_position)
        lag_s = lag_s if lag_bytes else 0.0
    return DatabaseHost(
        answer.host,
        "standby",
        lag_bytes,
        lag_s,
        None if primary is None else _is_synchronous(answer, primary),
    )


def _is_synchronous(standby: HostAnswer, primary: HostAnswer) -> bool | None:
    """Return whether commits wait for a standby; None if the primary does not show it."""
    if any(peer.sync_state is None for peer in primary.peers):
        return None
    name = next((peer.name for peer in standby.peers if peer.name), None)
    same = [peer for peer in primary.peers if name is not None and peer.name == name]
    if len(same) != 1:
        same = [peer for peer in primary.peers if peer.address and peer.address == standby.address]
    if len(same) == 1:
        return same[0].sync_state in {"sync", "quorum"}
    # It does not matter which standby it is if none of them is synchronous, or all are.
    states = {peer.sync_state in {"sync", "quorum"} for peer in primary.peers}
    return states.pop() if len(states) == 1 else None if states else False
