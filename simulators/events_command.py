"""`vigie simulate events`: publishes invented sound events of boxes."""

import asyncio
import json
import random
import time
from collections.abc import Sequence

from simulators.mqtt_link import MqttLink, box_topic, keep_connected
from simulators.rest_client import ApiClient, retry_until_reachable
from simulators.sound_events import describe_event, make_sound_event
from simulators.target_stack import TargetError, TargetStack

_API_PATIENCE_S = 30.0


async def run_events(
    target: TargetStack, boxes: Sequence[str], *, every_s: float, count: int | None, seed: int | None
) -> int:
    """Publish events through the gateway's account.

    Args:
        target: The stack.
        boxes: Ids of the boxes that report; if empty, all boxes that the key may read.
        every_s: Mean time between two events (seconds); 0 sends without a pause.
        count: The number of events; None until cancelled.
        seed: Makes the events repeatable, apart from their times.

    Returns:
        The exit code, 0.

    Raises:
        TargetError: There is no box.
    """
    async with ApiClient(target.api, target.key) as api:

        async def list_boxes() -> list[str]:
            return [str(box["id"]) async for box in api.list("/v1/boxes")]

        names = list(boxes) or await retry_until_reachable(list_boxes, give_up_after_s=_API_PATIENCE_S)
    if not names:
        raise TargetError("there is no box: create one, or run `vigie simulate city` first")
    link = MqttLink(target.broker)
    async with keep_connected([link]):
        sent = await _publish_events(link, names, every_s=every_s, count=count, seed=seed)
    print(f"events: {sent}")
    return 0


async def _publish_events(
    link: MqttLink, boxes: Sequence[str], *, every_s: float, count: int | None, seed: int | None
) -> int:
    chance = random.Random(seed)
    sent = 0
    while count is None or sent < count:
        if every_s > 0:
            await asyncio.sleep(chance.expovariate(1 / every_s))
        box = chance.choice(boxes)
        # seq follows the clock, so that it increases over restarts without a stored counter.
        now_us = time.time_ns() // 1_000
        event = make_sound_event(chance, now_us // 1_000, now_us)
        await link.publish(box_topic(box, "event"), json.dumps(event).encode())
        sent += 1
        print(f"{box} {describe_event(event)}", flush=True)
    return sent
