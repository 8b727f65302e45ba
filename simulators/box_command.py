"""`vigie simulate box`: runs the reference box against a stack."""

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from simulators.mqtt_link import MqttLink, box_topic, keep_connected
from simulators.reference_box import ReferenceBox, SampleQueue
from simulators.registration import (
    CREDENTIALS_FILE,
    BoxSpec,
    PasswordStore,
    SiteSpec,
    find_or_create_organisation,
    find_or_create_site,
    register_boxes,
    renew_password,
)
from simulators.rest_client import ApiClient, retry_until_reachable
from simulators.target_stack import TargetStack

_API_PATIENCE_S = 30.0
_SITE = SiteSpec("Reference box", "street", "Europe/Paris", 1.4442, 43.6047)


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """The options of one run, as the CLI documents them."""

    box: str
    interval_s: float
    count: int | None
    batch: int
    faulty: float
    patience_s: float
    organisation: str


async def run_box(target: TargetStack, options: BoxOptions) -> int:
    """Measure and send until the count is reached and every sample is acknowledged, or until Ctrl-C.

    Returns:
        The exit code, 0.
    """
    passwords = PasswordStore.from_file(target.folder / CREDENTIALS_FILE)
    queue = SampleQueue(target.folder / "boxes" / options.box)
    try:
        async with ApiClient(target.api, target.key) as api:

            async def register() -> None:
                owner = await find_or_create_organisation(api, options.organisation)
                spec = BoxSpec(
                    options.box,
                    options.box,
                    _SITE.longitude,
                    _SITE.latitude,
                    math.ceil(options.interval_s),
                    ack=True,
                )
                await register_boxes(
                    api, await find_or_create_site(api, _SITE, owner), owner, [spec], passwords
                )

            await retry_until_reachable(register, give_up_after_s=_API_PATIENCE_S)
            async with _connected(target, options, api, passwords, queue) as box:
                await _measure(box, options)
                await box.drain()
    finally:
        print(f"waiting: {len(queue)}, {_given_up(queue)}", flush=True)
        queue.close()
    return 0


def _given_up(queue: SampleQueue) -> str:
    """Format the number of samples given up, by code, with the file that has them."""
    total = queue.given_up.total()
    if not total:
        return "given up: 0"
    codes = ", ".join(f"{code} {count}" for code, count in queue.given_up.most_common())
    return f"given up: {total} ({codes}), stored in {queue.dead_letters}"


@asynccontextmanager
async def _connected(
    target: TargetStack, options: BoxOptions, api: ApiClient, passwords: PasswordStore, queue: SampleQueue
) -> AsyncIterator[ReferenceBox]:
    async def publish(payload: bytes) -> None:
        await link.publish(box_topic(options.box, "telemetry"), payload)

    def receive(name: str, payload: bytes) -> None:
        before = queue.given_up.total()
        box.receive(name, payload)
        stored = len(json.loads(payload).get("seqs", []))
        given_up = queue.given_up.total() - before
        print(f"acknowledged: {stored} stored, {given_up} given up; waiting: {len(queue)}", flush=True)

    box = ReferenceBox(queue, publish, batch=options.batch, patience_s=options.patience_s)
    link = MqttLink(
        replace(target.broker, username=options.box, password=passwords.known[options.box]),
        identifier=options.box,
        status_of=options.box,
        subscribe=[box_topic(options.box, "ack")],
        receive=receive,
        renew=lambda: renew_password(api, options.box, passwords),
    )
    async with keep_connected([link]):
        sending = asyncio.create_task(box.run())
        try:
            yield box
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _measure(box: ReferenceBox, options: BoxOptions) -> None:
    done = 0
    while options.count is None or done < options.count:
        now_us = time.time_ns() // 1_000
        value = math.nan if random.random() < options.faulty else round(random.uniform(5, 25), 1)
        # seq follows the clock, so that it increases over restarts without a stored counter.
        box.add({"seq": now_us, "time": now_us // 1_000, "values": {"pm2_5": value}})
        done += 1
        await asyncio.sleep(options.interval_s)
