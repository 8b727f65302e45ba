"""(d) Binary COPY of the same rows, already decoded, straight into the same table. No MQTT, no checks."""

import asyncio
from datetime import UTC, datetime
from itertools import batched

import asyncpg
import uvloop

from bench.competitors.task import CompetitorTask, say, wait_for_go
from bench.load import METRICS, MessageLoad, box_id

_BATCH = 10_000


async def drain(task: CompetitorTask) -> None:
    """Prepare all rows, then write them."""
    database = await asyncpg.connect(task.database)
    keys = {row["id"]: row["key"] for row in await database.fetch("SELECT id, key FROM boxes")}
    load = MessageLoad(task.messages, task.boxes, task.start_ms, task.seed)
    rows = [
        (keys[box_id(box)], datetime.fromtimestamp(time_ms / 1000, UTC), seq, *values)
        for box, seq, time_ms, values in load.samples()
    ]
    await asyncio.to_thread(wait_for_go)
    for batch in batched(rows, _BATCH):
        await database.copy_records_to_table(
            "samples", records=batch, columns=["box_key", "time", "seq", *METRICS]
        )
    say("done")
    await database.close()


if __name__ == "__main__":
    uvloop.run(drain(CompetitorTask.given()))
