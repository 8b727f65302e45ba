"""A machine's clock that jumps by an hour, forwards and backwards, while its roles run."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from standardwebhooks import Webhook

from app.platform.kernel.atomic_files import replace_file_text
from app.settings import VigieSettings
from tests import shifted_clock
from tests.conftest import Tenant
from tests.faults.fleet import FaultFleet
from tests.faults.harness import FaultOutcome, FaultReport, FaultSize
from tests.integration.notifications.receivers import Receiver, receiving, status
from tests.scenarios.processes import role

pytestmark = pytest.mark.fault

_START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)


class Clock:
    """The clock of the processes that run with `environment`; time that only goes on is left alone."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock"
        self.set("+0")
        self.environment = {
            **shifted_clock.preload(),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
        }

    def set(self, offset: str) -> None:
        replace_file_text(self._offset, offset)  # never read when it is half written

    def seen(self, log: Path, hours: int) -> bool:
        """Whether a process's own log carries the other time."""
        last = log.read_text(encoding="utf-8").splitlines()[-1]
        told = datetime.fromisoformat(json.loads(last)["timestamp"])
        return abs(told - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=5)


# Debug: a line for each delivery, also of those that succeed.
_DELIVER = {"VIGIE_WEBHOOKS__POLL_S": "0.3", "VIGIE_LOG__LEVEL": "debug"}


async def _alarm(fleet: FaultFleet, round_: int) -> None:
    """Every box fires, and resolves: samples of the past, whatever the clocks say."""
    async with fleet.gateway() as client:
        for step, value in enumerate((40.0, 5.0)):
            seq = round_ * 2 + step
            fleet.note_all(seq)
            sample = {
                "seq": seq,
                "time": (_START + timedelta(seconds=seq)).isoformat(),
                "values": {"pm2_5": value},
            }
            await asyncio.gather(
                *(
                    client.publish(f"vigie/v1/{box}/telemetry", json.dumps(sample), qos=1)
                    for box in fleet.boxes
                )
            )


async def _deliver(receiver: Receiver, secret: str, number: int) -> None:
    """Wait for so many deliveries in all; each must verify now, by this machine's true clock."""
    verified = len(receiver.got)
    await receiver.wait(number)
    for got in receiver.got[verified:]:
        Webhook(secret).verify(got.body, got.headers)


async def test_14_clock_jumps(
    *,
    fleet: FaultFleet,
    tenant: Tenant,
    settings: VigieSettings,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """Each event once, signed with the time that is, whatever the roles' clock says; no lease is lost."""
    clock = Clock(tmp_path)
    fleet.patience_s = 60
    async with (
        receiving(status(204)) as receiver,
        role("ingest", tmp_path, **clock.environment),
        role("deliver", tmp_path, **_DELIVER, **clock.environment),
    ):
        wanted = {"url": receiver.url, "events": ["alert.firing", "alert.resolved"]}
        endpoint = (await tenant.client.post("/v1/webhooks", json=wanted)).raise_for_status().json()
        await fleet.consuming()
        jumps = [0, 1, -1, *size.of([], [1, 0, -1, 1] * 3)]
        for round_, hours in enumerate(jumps):
            clock.set(f"{hours:+}h" if hours else "+0")
            await _alarm(fleet, round_)
            await _deliver(receiver, endpoint["secret"], (round_ + 1) * 2 * len(fleet.boxes))
            assert clock.seen(tmp_path / "deliver.log", hours)
        fleet.healed()
        outcome = await fleet.outcome()
        told = [
            (data["alert_id"], data["sequence"])
            for data in (json.loads(got.body)["data"] for got in receiver.got)
        ]
        report.add(
            "14 clock jumps by an hour",
            FaultOutcome(
                outcome.published,
                outcome.stored,
                outcome.lost,
                outcome.twice + len(told) - len(set(told)),
                outcome.recovery_s,
            ),
        )
    connection = await asyncpg.connect(settings.database.url)
    leased = await connection.fetchval("SELECT count(*) FROM deliveries WHERE leased_until IS NOT NULL")
    attempts = await connection.fetchval(
        "SELECT count(*) FROM delivery_attempts WHERE abs(extract(epoch FROM now() - started_at)) > 300"
    )
    await connection.close()
    assert (leased, attempts) == (0, 0)
    firing = (await tenant.client.get("/v1/alerts", params={"state": "firing"})).raise_for_status().json()
    assert firing["data"] == []
