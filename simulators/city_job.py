"""`vigie simulate city`: from the options to the figures. Owns the order of the steps and what is printed."""

import asyncio
import time
from dataclasses import asdict, dataclass

from simulators.city import CityRun, SendingPace, SimulatedCity
from simulators.enrol import BoxPasswords
from simulators.progress import progress
from simulators.replay_job import PASSWORDS
from simulators.rest import ApiClient, persistently
from simulators.target import StackTarget

_API_PATIENCE_S = 30.0
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class CityJob:
    """The options of one run; the CLI says what each means. Without `start_us` it starts now, or ends now."""

    city: SimulatedCity
    start_us: int | None
    speed: float
    count: int | None
    batch: int
    rate: float | None
    window: int
    gateway: bool
    organisation: str


def start_of(job: CityJob, now_us: int) -> int:
    """When the samples begin (µs).

    A live run begins now. One that is faster than time would run into the future, so it ends now.
    """
    if job.start_us is not None:
        return job.start_us
    if job.speed == 1 or job.count is None:
        return now_us
    return now_us - round((job.count + 1) * job.city.interval_s * _US_PER_S)


async def run(target: StackTarget, job: CityJob) -> int:
    """Register the boxes and let them publish until the count is reached, or until Ctrl-C.

    Returns:
        The exit code, 0.
    """
    start_us = start_of(job, time.time_ns() // 1_000)
    pace = SendingPace(start_us, job.speed, job.count, job.batch, job.rate, job.window)
    passwords = None if job.gateway else BoxPasswords.in_file(target.folder / PASSWORDS)
    async with ApiClient(target.api, target.key, timeout_s=120.0) as api:
        it = CityRun(api, target.broker, job.city, pace, passwords)
        created = await persistently(lambda: it.register(job.organisation), give_up_after_s=_API_PATIENCE_S)
        print(f"boxes: {job.city.boxes}, created now: {created}", flush=True)
        total = job.count * job.city.boxes if job.count else None
        started = time.monotonic()
        try:
            with progress("samples taken by the broker", total) as advance:
                it.progress = advance
                await it.run()
        except asyncio.CancelledError:
            _print(it, time.monotonic() - started)
            raise
        _print(it, time.monotonic() - started)
    return 0


def _print(it: CityRun, took_s: float) -> None:
    faults = ", ".join(f"{name} {count}" for name, count in asdict(it.counts).items())
    print(f"samples: {faults}")
    print(f"messages: {it.messages} in {took_s:.1f} s: {it.messages / max(took_s, 1e-9):.0f}/s", flush=True)
