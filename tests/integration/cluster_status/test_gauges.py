"""The maintainer sets the gauges of a real log, and a worker those of its partitions."""

from pathlib import Path

import httpx

from app.standalone.free_ports import find_free_port
from tests.integration.edge.machines import PARTITIONS, LogCluster
from tests.scenarios.processes import role, until


async def scrape(port: int) -> dict[str, float]:
    """Read the metrics of a process; none while it does not serve them yet."""
    try:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
    except httpx.TransportError:
        return {}
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("vigie_"))
    return {name: float(value) for name, _, value in lines}


async def test_what_prometheus_gets(cluster: LogCluster, tmp_path: Path) -> None:
    ingest_port, maintain_port = find_free_port(), find_free_port()
    async with (
        role("ingest", tmp_path, VIGIE_METRICS_PORT=str(ingest_port)),
        role("maintain", tmp_path, VIGIE_METRICS_PORT=str(maintain_port)),
    ):
        lags = {f'vigie_ingest_partition_lag_records{{partition="{each}"}}' for each in range(PARTITIONS)}

        async def owned() -> bool:
            found = await scrape(ingest_port)
            return found.get("vigie_ingest_partitions_owned") == PARTITIONS and lags <= found.keys()

        assert await until(owned)

        async def replicated() -> dict[str, float] | None:
            found = await scrape(maintain_port)
            return found if found.get("vigie_log_replicas_in_sync") == 3 * PARTITIONS else None

        maintainer = await until(replicated)
        assert maintainer is not None
        assert maintainer["vigie_log_replicas_missing"] == 0
        async with cluster.suspended():

            async def alarmed() -> bool:
                found = await scrape(maintain_port)
                names = ("vigie_log_partitions_without_majority", "vigie_log_unreachable")
                return any(found.get(name, 0) > 0 for name in names)

            assert await until(alarmed)
