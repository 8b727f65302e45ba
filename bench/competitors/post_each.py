"""(h) Webhooks as they are usually written: a row for each, read, posted and written back one by one.

Eight at once, httpx, a signature; a delivery is chosen with FOR UPDATE SKIP LOCKED, as a queue in a table is.
"""

import asyncio
import sys
import time

import asyncpg
import httpx

from app.notifications.http.webhook_signatures import sign_message
from bench.competitors.task import say

_NEXT = """
UPDATE jobs SET state = 'running' WHERE id = (
    SELECT id FROM jobs WHERE state = 'pending' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id, body
"""
_DONE = "UPDATE jobs SET state = 'delivered', status = $2, attempted_at = now() WHERE id = $1"
_AT_ONCE = 8


async def _work(pool: asyncpg.Pool, client: httpx.AsyncClient, url: str, secret: str) -> None:
    while (row := await pool.fetchrow(_NEXT)) is not None:
        identifier = f"msg_{row['id']}"
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": identifier,
            "webhook-timestamp": str(now),
            "webhook-signature": sign_message(secret, identifier, now, row["body"]),
        }
        answer = await client.post(url, content=row["body"], headers=headers)
        await pool.execute(_DONE, row["id"], answer.status_code)


async def deliver(database: str, url: str, secret: str) -> None:
    """Deliver all that waits in the table `jobs`."""
    async with (
        asyncpg.create_pool(database, min_size=_AT_ONCE, max_size=_AT_ONCE) as pool,
        httpx.AsyncClient() as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(_AT_ONCE):
            group.create_task(_work(pool, client, url, secret))
    say("done")


if __name__ == "__main__":
    asyncio.run(deliver(*sys.argv[1:4]))
