"""(c) The pipeline of the usual tutorial: json, one INSERT for each reading, a narrow table.

It acknowledges on arrival, as aiomqtt does when nobody tells it otherwise.
"""

import asyncio
import json
from datetime import UTC, datetime

import asyncpg

from bench.competitors.task import CompetitorTask, say
from bench.publisher import client

_TABLE = (
    "CREATE TABLE readings (time timestamptz NOT NULL, box text NOT NULL, metric text NOT NULL, value float8)"
)
_INSERT = "INSERT INTO readings (time, box, metric, value) VALUES ($1, $2, $3, $4)"


async def drain(task: CompetitorTask) -> None:
    """Store each reading as it comes."""
    database = await asyncpg.connect(task.database)
    await database.execute(_TABLE)
    seen = 0
    async with client(task.account, task.client_id) as connection:
        async for message in connection.messages:
            box = message.topic.value.split("/")[2]
            if not isinstance(message.payload, bytes):
                raise TypeError(f"not bytes: {message.payload!r}")
            sample = json.loads(message.payload)
            moment = datetime.fromtimestamp(sample["time"] / 1000, UTC)
            for metric, value in sample["values"].items():
                await database.execute(_INSERT, moment, box, metric, value)
            seen += 1
            if seen == task.messages:
                break
        say("done")
    await database.close()


if __name__ == "__main__":
    asyncio.run(drain(CompetitorTask.given()))
