"""(b) aiomqtt with its callback replaced by one that appends, acknowledged in batches; stores nothing."""

import asyncio
from itertools import chain

from paho.mqtt.client import Client, MQTTMessage

from bench.competitors.task import CompetitorTask, say
from bench.publisher import client

_PUBACK = 0x40
_EVERY_S = 0.02


def _pubacks(ids: list[int]) -> bytes:
    return bytes(chain.from_iterable((_PUBACK, 2, number >> 8, number & 0xFF) for number in ids))


async def drain(task: CompetitorTask) -> None:
    """Let messages gather for a moment, then acknowledge all of them in one write."""
    connection = client(task.account, task.client_id)
    inner = connection._client  # noqa: SLF001 - aiomqtt has no other door to the callback
    inner.manual_ack_set(True)
    waiting: list[MQTTMessage] = []

    def keep(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        waiting.append(message)

    inner.on_message = keep  # before connecting: afterwards is a race
    seen = 0
    async with connection:
        while seen < task.messages:
            await asyncio.sleep(_EVERY_S)
            if waiting:
                batch = waiting.copy()
                waiting.clear()
                seen += len(batch)
                ids = [message.mid for message in batch]
                inner._packet_queue(_PUBACK, _pubacks(ids), 0, 1)  # noqa: SLF001 - ack() makes a write for each
        say("done")


if __name__ == "__main__":
    asyncio.run(drain(CompetitorTask.given()))
