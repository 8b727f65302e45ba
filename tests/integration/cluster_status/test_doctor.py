"""`vigie doctor` reads a real log and a real database, and is silent about a single machine."""

import asyncio
from pathlib import Path

from app.platform.db.database import Database
from app.standalone.doctor_cluster import check_cluster
from tests.integration.cluster_status.test_router import report
from tests.integration.edge.machines import PARTITIONS, LogCluster
from tests.scenarios.processes import role, until


async def read() -> list[str]:
    return [str(finding) for finding in await asyncio.to_thread(lambda: list(check_cluster()))]


async def test_one_machine_has_no_lines(database: Database) -> None:
    del database
    assert await read() == []


async def test_each_machine_has_a_line(cluster: LogCluster, database: Database, tmp_path: Path) -> None:
    await report(database, "c", silent_s=42)
    async with role("ingest", tmp_path):

        async def complete() -> list[str] | None:
            found = await read()
            return found if f"ok       partitions: {PARTITIONS}, all records are committed" in found else None

        lines = await until(complete) or []
    assert any(line.startswith("note     edge c: silent for ") for line in lines)
    nodes = [line for line in lines if line.startswith("ok       log node ")]
    assert len(nodes) == len(cluster.nodes)
    assert any(line.startswith("ok       database host ") and line.endswith(": primary") for line in lines)
    assert any("edge_silent" in line and "fix: " in line for line in lines)
    assert any(line.startswith("missing  edges: no_edge") for line in lines)
