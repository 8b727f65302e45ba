"""The synthetic city through the whole stack."""

from typing import Any

import asyncpg
import pytest

from simulators import events_command
from simulators.city_command import CityOptions, run_city
from simulators.field_faults import FaultShares
from simulators.synthetic_city import CityPlan
from simulators.target_stack import TargetStack
from tests.purposes import approve
from tests.scenarios.processes import RoleProcess, until


def job(city: CityPlan, *, gateway: bool, batch: int = 1) -> CityOptions:
    return CityOptions(
        city=city,
        start_us=None,
        speed=0.0,
        count=40,
        batch=batch,
        rate=None,
        window=20,
        gateway=gateway,
        organisation="Synthetic city",
    )


async def read(target: TargetStack, query: str) -> Any:  # noqa: ANN401 (whatever is asked for)
    assert target.database is not None
    connection = await asyncpg.connect(target.database)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def counted(target: TargetStack, query: str) -> int:
    return int(await read(target, query))


async def approved(target: TargetStack) -> None:
    """All sites may take what boxes hear."""
    assert target.database is not None
    connection = await asyncpg.connect(target.database)
    for (site,) in await connection.fetch("SELECT id FROM sites"):
        await approve(connection, site)
    await connection.close()


async def test_what_was_measured_is_stored_once_whatever_goes_wrong(
    target: TargetStack, ingest: RoleProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest.role == "ingest"
    faults = FaultShares(silence=0.2, spikes=0.1, duplicates=0.2, late=0.2, clock_skew_s=3)
    assert await run_city(target, job(CityPlan(6, prefix="gate", faults=faults), gateway=True)) == 0
    assert await run_city(target, job(CityPlan(6, prefix="own", faults=faults), gateway=False, batch=3)) == 0
    printed = capsys.readouterr().out.split("measured ")
    measured = sum(int(part.split(",")[0]) for part in printed[1:])
    assert len(printed) == 3
    assert 0 < measured < 480

    async def all_there() -> bool:
        stored = await counted(target, "SELECT count(*) FROM samples")
        # Boxes with a connection of their own say that they leave.
        gone = await counted(target, "SELECT count(*) FROM boxes WHERE state = 'offline'")
        return (stored, gone) == (measured, 6)

    assert await until(all_there)
    assert await counted(target, "SELECT count(*) FROM quarantine") == 0
    assert await counted(target, "SELECT count(*) FROM sites") == 3
    await approved(target)
    assert await events_command.run_events(target, [], every_s=0.0, count=10, seed=1) == 0

    async def events_there() -> bool:
        return await counted(target, "SELECT count(*) FROM events WHERE candidates <> '[]'") == 10

    assert await until(events_there)
