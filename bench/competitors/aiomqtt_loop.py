"""(a) The plain aiomqtt loop with manual acknowledgement, which stores nothing."""

import asyncio

from bench.competitors.task import CompetitorTask, say
from bench.publisher import client


async def drain(task: CompetitorTask) -> None:
    """Take each message out of aiomqtt's queue and acknowledge it."""
    connection = client(task.account, task.client_id)
    inner = connection._client  # noqa: SLF001 - aiomqtt has no other door to manual acknowledgement
    inner.manual_ack_set(True)
    seen = 0
    async with connection:
        async for message in connection.messages:
            inner.ack(message.mid, message.qos)
            seen += 1
            if seen == task.messages:
                break
        say("done")


if __name__ == "__main__":
    asyncio.run(drain(CompetitorTask.given()))
