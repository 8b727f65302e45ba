"""`vigie simulate box`: one box that measures, and loses nothing."""

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from simulators.box import ReferenceBox, SampleQueue
from simulators.enrol import BoxPasswords, BoxSpec, SiteSpec, boxes, organisation, renew, site
from simulators.mqtt import MqttLink, linked, topic
from simulators.rest import ApiClient, persistently
from simulators.target import StackTarget

_API_PATIENCE_S = 30.0
_SITE = SiteSpec("Reference box", "street", "Europe/Paris", 1.4442, 43.6047)


@dataclass(frozen=True, slots=True)
class BoxJob:
    """The options of one run; the CLI says what each means."""

    box: str
    interval_s: float
    count: int | None
    batch: int
    faulty: float
    patience_s: float
    organisation: str


async def run(target: StackTarget, job: BoxJob) -> int:
    """Measure and send until the count is reached and every sample is answered, or until Ctrl-C.

    Returns:
        The exit code, 0.
    """
    passwords = BoxPasswords.in_file(target.folder / "simulator-passwords.json")
    queue = SampleQueue(target.folder / "boxes" / job.box)
    try:
        async with ApiClient(target.api, target.key) as api:

            async def register() -> None:
                owner = await organisation(api, job.organisation)
                spec = BoxSpec(
                    job.box, job.box, _SITE.longitude, _SITE.latitude, math.ceil(job.interval_s), ack=True
                )
                await boxes(api, await site(api, _SITE, owner), owner, [spec], passwords)

            await persistently(register, give_up_after_s=_API_PATIENCE_S)
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
    target: StackTarget, job: BoxJob, api: ApiClient, passwords: BoxPasswords, queue: SampleQueue
) -> AsyncIterator[ReferenceBox]:
    async def publish(payload: bytes) -> None:
        await link.publish(topic(job.box, "telemetry"), payload)

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
        subscribe=[topic(job.box, "ack")],
        receive=receive,
        renew=lambda: renew(api, job.box, passwords),
    )
    async with linked([link]):
        sending = asyncio.create_task(box.run())
        try:
            yield box
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _measure(box: ReferenceBox, job: BoxJob) -> None:
    done = 0
    while job.count is None or done < job.count:
        now_us = time.time_ns() // 1_000
        value = math.nan if random.random() < job.faulty else round(random.uniform(5, 25), 1)
        # Counts up over restarts too, without a file of its own.
        box.add({"seq": now_us, "time": now_us // 1_000, "values": {"pm2_5": value}})
        done += 1
        await asyncio.sleep(job.interval_s)
