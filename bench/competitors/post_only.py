"""(i) What aiohttp can do: the same bodies posted from memory, signed, eight at once; nothing is stored."""

import asyncio
import sys
import time
from collections.abc import Iterator

import aiohttp
import asyncpg
import uvloop

from app.notifications.http.webhook_signatures import sign_message
from bench.competitors.task import say

_AT_ONCE = 8


async def _work(client: aiohttp.ClientSession, jobs: Iterator[asyncpg.Record], url: str, secret: str) -> None:
    for row in jobs:
        identifier = f"msg_{row['id']}"
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(now),
            "webhook-signature": sign_message(secret, identifier, now, row["body"]),
        }
        async with client.post(url, data=row["body"], headers=headers) as answer:
            await answer.read()


async def deliver(database: str, url: str, secret: str) -> None:
    """Read all bodies, then post them."""
    connection = await asyncpg.connect(database)
    jobs = iter(await connection.fetch("SELECT id, body FROM jobs ORDER BY id"))
    await connection.close()
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(_work(client, jobs, url, secret))
    say("done")


if __name__ == "__main__":
    uvloop.run(deliver(*sys.argv[1:4]))
