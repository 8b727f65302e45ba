"""`vigie doctor` reads a real log and a real database, and is silent about a single machine."""

import asyncio
import os
from pathlib import Path

import pytest

from app.platform.db.database import Database
from app.server_installation.server_doctor import examine_server
from app.server_installation.server_paths import ServerPaths
from app.settings import VigieSettings
from app.standalone.doctor_cluster import check_cluster
from tests.integration.cluster_status.reported_edges import report
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


@pytest.mark.skipif(os.geteuid() != 0, reason="the settings of a server are for root")
async def test_the_doctor_of_a_server_reads_its_settings(
    cluster: LogCluster,
    settings: VigieSettings,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await report(database, "c", silent_s=42)
    paths = ServerPaths(tmp_path)
    paths.settings.mkdir(parents=True)
    variables = {**cluster.environment(), "VIGIE_DATABASE__URL": settings.database.url}
    for name in variables:
        # Those of the server count, not those of the administrator's shell.
        monkeypatch.setenv(name, "")
    lines = [f"{name}='{value}'\n" for name, value in cluster.environment().items()]
    paths.env_file("vigie").write_text("".join(lines))
    paths.env_file("maintain").write_text(f"VIGIE_DATABASE__URL='{settings.database.url}'\n")
    found = await asyncio.to_thread(lambda: list(examine_server(paths)))
    assert {"edge c", "edges"} <= {each.subject for each in found}
    assert any(each.detail.startswith("edge_silent: ") and each.fix for each in found)
    assert any(each.subject.startswith("database host ") and each.detail == "primary" for each in found)
    paths.env_file("vigie").write_text("")
    found = await asyncio.to_thread(lambda: list(examine_server(paths)))
    assert not any("edge" in each.subject for each in found)
