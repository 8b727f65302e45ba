"""A square with boxes at its edges, shots on it, and who works on what the boxes heard."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.sound_incidents.settings import IncidentSettings
from app.sound_incidents.sound_clustering_worker import IncidentWorker
from simulators.shot_reports import LonLat, SimulatedShot, simulate_reports
from simulators.sound_events import EventPayload
from tests.conftest import Tenant

CENTRE: Final = (1.4442, 43.6043)
BOXES: Final[dict[str, LonLat]] = {
    "square-1": (1.4412, 43.6061),
    "square-2": (1.4447, 43.6066),
    "square-3": (1.4474, 43.6052),
    "square-4": (1.4471, 43.6026),
    "square-5": (1.4437, 43.6020),
    "square-6": (1.4409, 43.6034),
}
SHOT: Final = (1.4450, 43.6047)

type Report = tuple[str, EventPayload]


@dataclass
class Square:
    """Boxes with places, and the processes that see to what they report.

    Attributes:
        owner: a connection that may see and do all.
        door: the connection of the consumer's pipeline.
        maintainer: that of the maintain role.
    """

    tenant: Tenant
    site: str
    owner: asyncpg.Connection
    door: asyncpg.Connection
    maintainer: asyncpg.Connection
    settings: IncidentSettings = field(default_factory=lambda: IncidentSettings(gather_s=0))
    pipeline: IngestPipeline = field(
        default_factory=lambda: IngestPipeline(RegistryCache(), is_consumer=True)
    )

    async def send(self, reports: Sequence[Report]) -> BatchReceipt:
        """Have the consumer store events, in the order given."""
        now = datetime.now(UTC)
        intake = decode_batch(
            [f"vigie/v1/{box}/event" for box, _ in reports],
            [json.dumps(event).encode() for _, event in reports],
            retained=(),
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        receipt = await self.pipeline.commit(self.door, intake, now=now)
        assert not receipt.rejections, receipt.rejections
        return receipt

    async def work(self) -> None:
        """Have the maintain role do all that is due."""
        worker = IncidentWorker(self.settings)
        while await worker.run_once(self.maintainer):
            pass

    async def incidents(self) -> list[dict[str, Any]]:
        rows = await self.owner.fetch("SELECT * FROM incidents ORDER BY id")
        return [dict(row) for row in rows]

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What is in the outbox of incidents, in its order."""
        rows = await self.owner.fetch(
            "SELECT type, payload::text FROM outbox WHERE type LIKE 'incident.%' ORDER BY position"
        )
        return [(kind, json.loads(payload)) for kind, payload in rows]


def now_us() -> int:
    return round(datetime.now(UTC).timestamp() * 1_000_000)


def shot(
    seed: int = 1,
    *,
    ago_s: float = 60.0,
    boxes: dict[str, LonLat] = BOXES,
    place: LonLat = SHOT,
    **more: Any,  # noqa: ANN401 (a Shot's fields)
) -> list[Report]:
    """What the boxes report of a pistol's shot some time ago."""
    given: dict[str, Any] = {"echo": 0.0} | more
    chance = random.Random(seed)  # noqa: S311 (simulated)
    return simulate_reports(chance, SimulatedShot(place, now_us() - round(ago_s * 1e6), **given), boxes)
