"""Reads the roles, connections and lags of all parts of a `CityCluster`, and lays them out in lines."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import asyncpg

from app.platform.broker.edges import RegisteredEdge, list_edges
from app.platform.db.advisory_lock_keys import PARTITION_CLASS
from app.platform.db.database import DATABASE_ERRORS
from app.platform.db.primary_connection import PrimaryConnector
from app.standalone.private_postgres import SUPERUSER
from tools.clusters.city_components import Machine, ProgramComponent
from tools.clusters.haproxy_config import read_servers
from tools.clusters.machine_processes import (
    API_PORT,
    ETCD_PORT,
    METRICS_PORTS,
    NATS_PORTS,
    PATRONI_PORT,
    MachineBuilder,
)

_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)
_FRESH_S: Final = 5.0
_MIB: Final = 2**20
_ERRORS: Final = (OSError, ValueError, KeyError, aiohttp.ClientError, *DATABASE_ERRORS)
_HEARTBEATS: Final = """
SELECT role, split_part(instance, ':', 2)::integer AS pid, state FROM heartbeats
WHERE at > now() - interval '5 s'
"""
# Only columns that migration 0051 made: a rolling upgrade begins with the schema of a former version.
_POSITIONS: Final = """
SELECT p.partition, p.position, p.worker, EXISTS (
    SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = $1 AND l.objid::bigint = p.partition
) FROM ingest_positions p ORDER BY p.partition
"""
_UNKNOWN: Final = "?"

type States = dict[str, str]
"""The state of a component by machine."""


class OwnedPosition(NamedTuple):
    """The committed position of a partition.

    Attributes:
        partition: Its number.
        position: The position of the last committed record.
        worker: The worker that reads it, or did so last.
        is_owned: Whether that worker still holds its lock.
    """

    partition: int
    position: int
    worker: str | None
    is_owned: bool


class CityStates:
    """Reads the states of a cluster.

    Args:
        machines: Its machines.
        builder: Knows the addresses of the database.
        haproxy: The folder of haproxy.
    """

    def __init__(self, machines: Sequence[Machine], builder: MachineBuilder, haproxy: Path) -> None:
        self._machines = machines
        self._builder = builder
        self._haproxy = haproxy
        self._session: aiohttp.ClientSession | None = None
        self._connection: asyncpg.Connection | None = None
        self._reading = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        self._drop_connection()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _fetch(self, host: str, port: int, path: str, body: object = None) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        method = "GET" if body is None else "POST"
        async with self._session.request(method, f"http://{host}:{port}/{path}", json=body) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return {**found, "status_code": answer.status}

    async def _ask(self, host: str, port: int, path: str, body: object = None) -> dict[str, Any]:
        """Fetch, or return nothing if the machine does not answer."""
        with suppress(*_ERRORS):
            return await self._fetch(host, port, path, body)
        return {}

    async def _ask_all(self, port: int, path: str, body: object = None) -> dict[str, dict[str, Any]]:
        answers = await asyncio.gather(
            *(self._ask(machine.host, port, path, body) for machine in self._machines)
        )
        return {machine.name: answer for machine, answer in zip(self._machines, answers, strict=True)}

    async def read_members(self) -> dict[str, dict[str, Any]]:
        """Return the members of the database by machine; empty if no Patroni answers."""
        for answer in (await self._ask_all(PATRONI_PORT, "cluster")).values():
            if answer.get("members"):
                return {each["name"]: each for each in answer["members"]}
        return {}

    async def find_database(self, role: str) -> Machine | None:
        """Return the first machine whose PostgreSQL is the `leader`, `sync_standby` or `replica`."""
        members = await self.read_members()
        for machine in self._machines:
            member = members.get(machine.name, {})
            if member.get("role") == role and member.get("state") in {"running", "streaming"}:
                return machine
        return None

    async def find_primary(self) -> str | None:
        """Return the address of the primary; None if there is none now."""
        machine = await self.find_database("leader")
        return None if machine is None else machine.host

    async def leads_etcd(self, machine: Machine, port: int = ETCD_PORT) -> bool:
        """Return whether etcd on a machine is its leader."""
        answer = await self._ask(machine.host, port, "v3/maintenance/status", {})
        return "header" in answer and answer.get("leader") == answer["header"]["member_id"]

    async def are_databases_ready(self) -> bool:
        """Return whether one is the primary and two follow it, one of them in step."""
        roles = Counter((each["role"], each["state"]) for each in (await self.read_members()).values())
        in_step, followers = roles["sync_standby", "streaming"], roles["replica", "streaming"]
        return roles["leader", "running"] == 1 and in_step >= 1 and in_step + followers == 2  # noqa: PLR2004

    async def read_streams(self) -> dict[str, dict[str, Any]]:
        """Return the partitions of the message log as their leaders describe them, by stream."""
        found: dict[str, dict[str, Any]] = {}
        for name, answer in (await self._ask_all(NATS_PORTS["monitor"], "jsz?streams=true")).items():
            for account in answer.get("account_details", ()):
                for stream in account.get("stream_detail", ()):
                    if stream.get("cluster", {}).get("leader") == name:
                        found[stream["name"]] = stream
        return found

    async def list_unhealthy_log_nodes(self) -> list[Machine]:
        """Return the machines whose NATS does not answer, or has no contact to a leader."""
        answers = await self._ask_all(NATS_PORTS["monitor"], "healthz")
        return [machine for machine in self._machines if answers[machine.name].get("status") != "ok"]

    async def are_replicas_current(self) -> bool:
        """Return whether each partition of the message log has a current replica on each machine.

        A leader notices after seconds that a replica is away. So each node has to answer for itself, too.
        """
        if await self.list_unhealthy_log_nodes():
            return False
        streams = (await self.read_streams()).values()
        followers = [stream["cluster"].get("replicas") or () for stream in streams]
        return len(followers) == self._builder.partitions and all(
            len(each) == len(self._machines) - 1 and all(replica.get("current") for replica in each)
            for each in followers
        )

    async def count_log_leads(self) -> Counter[str]:
        """Return how many partitions of the message log each machine leads."""
        return Counter(stream["cluster"]["leader"] for stream in (await self.read_streams()).values())

    async def read_database[T](self, read: Callable[[asyncpg.Connection], Any], nothing: T) -> T:
        """Return what a function reads of the database, or `nothing` while there is no primary.

        The connection is kept: on busy cores a new one for each read takes seconds.
        """
        async with self._reading:
            with suppress(*_ERRORS):
                async with asyncio.timeout(5):
                    if self._connection is None or self._connection.is_closed():
                        url = self._builder.database_url(SUPERUSER)
                        self._connection = await PrimaryConnector(url).connect()
                    found: T = await read(self._connection)
                    return found
            self._drop_connection()
        return nothing

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def read_positions(self) -> list[OwnedPosition]:
        """Return how far each partition is committed, and by which worker."""
        rows: list[Any] = await self.read_database(
            lambda connection: connection.fetch(_POSITIONS, PARTITION_CLASS), []
        )
        return [OwnedPosition(*row) for row in rows]

    async def read_edges(self) -> list[RegisteredEdge]:
        """Return the last reports of the edges."""
        return await self.read_database(list_edges, [])

    async def read_heartbeats(self) -> dict[tuple[str, str], str]:
        """Return the states of Vigie's processes by role and machine."""
        rows: list[Any] = await self.read_database(lambda connection: connection.fetch(_HEARTBEATS), [])
        by_pid = {(row["role"], row["pid"]): row["state"] for row in rows}
        found = {}
        for machine in self._machines:
            for name, component in machine.components.items():
                if isinstance(component, ProgramComponent) and component.process is not None:
                    state = by_pid.get((name, component.process.pid))
                    if state is not None:
                        found[name, machine.name] = state
        return found

    def find_owner(self, position: OwnedPosition) -> str | None:
        """Return the machine whose worker owns a partition; None if nobody does."""
        if not position.is_owned or position.worker is None:
            return None
        pid = int(position.worker.rsplit("-", 1)[1])
        for machine in self._machines:
            worker = machine.components["ingest"]
            if isinstance(worker, ProgramComponent) and worker.process and worker.process.pid == pid:
                return machine.name
        return None

    async def is_serving(self, machine: Machine) -> bool:
        """Return whether the API and the edge of a machine pass the checks of haproxy."""
        api = await self._ask(machine.host, API_PORT, "readyz")
        edge = await self._ask(machine.host, METRICS_PORTS["edge"], "healthz")
        return api.get("status_code") == 200 and edge.get("status") == "alive"  # noqa: PLR2004

    async def are_all_ready(self) -> bool:
        """Return whether every machine does its part, and haproxy sends to all of them."""
        return not [line for line in await self._list_troubles() if line]

    async def _list_troubles(self) -> list[str]:
        servers = await read_servers(self._haproxy)
        edges = [
            edge
            for edge in await self.read_edges()
            if edge.connected and edge.problem is None and edge.silent_s < _FRESH_S
        ]
        positions = await self.read_positions()
        beats = await self.read_heartbeats()
        maintaining = [state for (role, _), state in beats.items() if role == "maintain"]
        leads = await self.count_log_leads()
        count = len(self._machines)
        checks = {
            "databases": await self.are_databases_ready(),
            "haproxy": bool(servers) and all(state == "UP" for state, _ in servers.values()),
            "edges": len(edges) == count,
            "partitions": len({self.find_owner(each) for each in positions} - {None}) == count
            and all(each.is_owned for each in positions),
            "log": leads.total() == self._builder.partitions,
            "maintain": len(maintaining) == count and maintaining.count("working") == 1,
            "deliver": sum(role == "deliver" for role, _ in beats) == count,
        }
        return [name for name, is_well in checks.items() if not is_well]

    async def describe(self) -> list[str]:
        """Return a line for each part, with its state on each machine."""
        parts: dict[str, States] = {}
        for read in (
            self._describe_haproxy,
            self._describe_etcd,
            self._describe_databases,
            self._describe_log,
            self._describe_edges,
            self._describe_workers,
            self._describe_apis,
        ):
            with suppress(*_ERRORS):
                parts |= await read()
        beats = await self.read_heartbeats()
        for role in ("deliver", "maintain"):
            parts[role] = {machine: state for (each, machine), state in beats.items() if each == role}
        return [self._format_line(part, states) for part, states in parts.items()]

    def _format_line(self, part: str, states: States) -> str:
        columns = [f"{machine.name} {states.get(machine.name, _UNKNOWN)}" for machine in self._machines]
        return f"{part:<14}" + "".join(f"{column:<60}" for column in columns).rstrip()

    async def _describe_haproxy(self) -> dict[str, States]:
        servers = await read_servers(self._haproxy)
        return {
            f"to {backend}": {
                machine: f"{state}, {connections} connections"
                for (each, machine), (state, connections) in servers.items()
                if each == backend
            }
            for backend in ("mosquitto", "api")
        }

    async def _describe_etcd(self) -> dict[str, States]:
        answers = await self._ask_all(ETCD_PORT, "v3/maintenance/status", {})
        newest = max((int(answer.get("raftIndex", 0)) for answer in answers.values()), default=0)
        states = {}
        for name, answer in answers.items():
            if "header" in answer:
                leads = answer.get("leader") == answer["header"]["member_id"]
                behind = newest - int(answer.get("raftIndex", 0))
                states[name] = f"{'leader' if leads else 'follower'}, {behind} behind"
        return {"etcd": states}

    async def _describe_databases(self) -> dict[str, States]:
        names = {"leader": "primary", "sync_standby": "synchronous standby", "replica": "standby"}
        return {
            "PostgreSQL": {
                name: f"{names.get(member['role'], member['role'])}, {member['state']}"
                + (f", {_describe_lag(member['lag'])}" if "lag" in member else "")
                for name, member in (await self.read_members()).items()
            }
        }

    async def _describe_log(self) -> dict[str, States]:
        streams, leads = await self.read_streams(), await self.count_log_leads()
        behind: Counter[str] = Counter()
        for stream in streams.values():
            for replica in stream["cluster"].get("replicas") or ():
                behind[replica["name"]] += int(replica.get("lag", 0))
        return {
            "NATS": {
                machine.name: f"leads {leads[machine.name]} partitions, {behind[machine.name]} behind"
                for machine in self._machines
            }
        }

    async def _describe_edges(self) -> dict[str, States]:
        return {
            "edge": {
                edge.name: f"{edge.boxes if edge.boxes is not None else _UNKNOWN} clients,"
                f" {edge.unsent_messages} unsent"
                + (f", {edge.problem}" if edge.problem else "")
                + (f", silent {edge.silent_s:.0f} s" if edge.silent_s > _FRESH_S else "")
                for edge in await self.read_edges()
            }
        }

    async def _describe_workers(self) -> dict[str, States]:
        streams = await self.read_streams()
        newest = {
            int(name.rsplit("-", 1)[1]): stream["state"]["last_seq"] for name, stream in streams.items()
        }
        owned: dict[str, list[int]] = {machine.name: [] for machine in self._machines}
        lags: Counter[str] = Counter()
        for position in await self.read_positions():
            owner = self.find_owner(position)
            if owner is not None:
                owned[owner].append(position.partition)
                lags[owner] += max(0, newest.get(position.partition, 0) - position.position)
        return {
            "ingest": {
                name: f"partitions {', '.join(map(str, numbers)) or 'none'}, {lags[name]} records behind"
                for name, numbers in owned.items()
            }
        }

    async def _describe_apis(self) -> dict[str, States]:
        answers = await self._ask_all(API_PORT, "readyz")
        return {
            "API": {
                name: "ready" if answer["status_code"] == 200 else f"answers {answer['status_code']}"  # noqa: PLR2004
                for name, answer in answers.items()
                if answer
            }
        }


def _describe_lag(lag: object) -> str:
    return f"{lag / _MIB:.1f} MiB behind" if isinstance(lag, int) else f"lag {lag}"
