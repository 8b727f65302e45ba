"""`vigie simulate box`: one box that measures, and loses nothing."""

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
    """The options of one run; the CLI says what each means."""

    box: str
    interval_s: float
    count: int | None
    batch: int
    faulty: float
    patience_s: float
    organisation: str


async def run_box(target: TargetStack, job: BoxOptions) -> int:
    """Measure and send until the count is reached and every sample is answered, or until Ctrl-C.

    Returns:
        The exit code, 0.
    """
    passwords = PasswordStore.from_file(target.folder / CREDENTIALS_FILE)
    queue = SampleQueue(target.folder / "boxes" / job.box)
    try:
        async with ApiClient(target.api, target.key) as api:

            async def register() -> None:
                owner = await find_or_create_organisation(api, job.organisation)
                spec = BoxSpec(
                    job.box, job.box, _SITE.longitude, _SITE.latitude, math.ceil(job.interval_s), ack=True
                )
                await register_boxes(
                    api, await find_or_create_site(api, _SITE, owner), owner, [spec], passwords
                )

            await retry_until_reachable(register, give_up_after_s=_API_PATIENCE_S)
            async with _connected(target, job, api, passwords, queue) as box:
                await _measure(box, job)
                await box.drain()
    finally:
        print(f"waiting: {len(queue)}, {_given_up(queue)}", flush=True)
        queue.close()
    return 0


def _given_up(queue: SampleQueue) -> str:
    """Say how many samples were given up, why, and where they are."""
    total = queue.given_up.total()
    if not total:
        return "given up: 0"
    codes = ", ".join(f"{code} {count}" for code, count in queue.given_up.most_common())
    return f"given up: {total} ({codes}), kept in {queue.dead_letters}"


@asynccontextmanager
async def _connected(
    target: TargetStack, job: BoxOptions, api: ApiClient, passwords: PasswordStore, queue: SampleQueue
) -> AsyncIterator[ReferenceBox]:
    async def publish(payload: bytes) -> None:
        await link.publish(box_topic(job.box, "telemetry"), payload)

    def receive(name: str, payload: bytes) -> None:
        before = queue.given_up.total()
        box.receive(name, payload)
        stored = len(json.loads(payload).get("seqs", []))
        given_up = queue.given_up.total() - before
        print(f"acknowledged: {stored} stored, {given_up} given up; {len(queue)} wait", flush=True)

    box = ReferenceBox(queue, publish, batch=job.batch, patience_s=job.patience_s)
    link = MqttLink(
        replace(target.broker, username=job.box, password=passwords.known[job.box]),
        identifier=job.box,
        status_of=job.box,
        subscribe=[box_topic(job.box, "ack")],
        receive=receive,
        renew=lambda: renew_password(api, job.box, passwords),
    )
    async with keep_connected([link]):
        sending = asyncio.create_task(box.run())
        try:
            yield box
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _measure(box: ReferenceBox, job: BoxOptions) -> None:
    done = 0
    while job.count is None or done < job.count:
        now_us = time.time_ns() // 1_000
        value = math.nan if random.random() < job.faulty else round(random.uniform(5, 25), 1)
        # Counts up over restarts too, without a file of its own.
        box.add({"seq": now_us, "time": now_us // 1_000, "values": {"pm2_5": value}})
        done += 1
        await asyncio.sleep(job.interval_s)
