"""The maintainer sets the gauges of a real log, and a worker those of its partitions."""

from pathlib import Path

import httpx

from app.standalone.free_ports import find_free_port
from tests.integration.edge.machines import PARTITIONS, LogCluster
from tests.scenarios.processes import role, until


async def scrape(port: int) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("vigie_"))
    return {name: float(value) for name, _, value in lines}


async def test_what_prometheus_is_told(cluster: LogCluster, tmp_path: Path) -> None:
    ingest_port, maintain_port = find_free_port(), find_free_port()
    async with (
        role("ingest", tmp_path, VIGIE_METRICS_PORT=str(ingest_port)),
        role("maintain", tmp_path, VIGIE_METRICS_PORT=str(maintain_port)),
    ):

        async def owned() -> dict[str, float] | None:
            found = await scrape(ingest_port)
            return found if found["vigie_ingest_partitions_owned"] == PARTITIONS else None

        worker = await until(owned)
        assert worker is not None
        lags = {f'vigie_ingest_partition_lag_records{{partition="{each}"}}' for each in range(PARTITIONS)}
        assert lags <= worker.keys()

        async def replicated() -> dict[str, float] | None:
            found = await scrape(maintain_port)
            return found if found["vigie_log_replicas_in_sync"] == 3 * PARTITIONS else None

        maintainer = await until(replicated)
        assert maintainer is not None
        assert maintainer["vigie_log_replicas_missing"] == 0
        async with cluster.suspended():

            async def alarmed() -> bool:
                found = await scrape(maintain_port)
                return found["vigie_log_partitions_without_majority"] + found["vigie_log_unreachable"] > 0

            assert await until(alarmed)
