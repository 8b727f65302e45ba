"""`vigie simulate city`: registers and runs a synthetic city, and prints counts."""

import asyncio
import time
from dataclasses import asdict, dataclass

from simulators.progress_bar import show_progress
from simulators.registration import CREDENTIALS_FILE, PasswordStore
from simulators.rest_client import ApiClient, retry_until_reachable
from simulators.synthetic_city import CityPace, CityPlan, CityRun
from simulators.target_stack import TargetStack

_API_PATIENCE_S = 30.0
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class CityOptions:
    """The options of one run, as the CLI documents them. `choose_start` replaces a missing `start_us`."""

    city: CityPlan
    start_us: int | None
    speed: float
    count: int | None
    batch: int
    rate: float | None
    window: int
    gateway: bool
    organisation: str


def choose_start(options: CityOptions, now_us: int) -> int:
    """Choose the time of the first samples (µs).

    A live run begins now. A faster run would reach the future, so it ends now.
    """
    if options.start_us is not None:
        return options.start_us
    if options.speed == 1 or options.count is None:
        return now_us
    return now_us - round((options.count + 1) * options.city.interval_s * _US_PER_S)


async def run_city(target: TargetStack, options: CityOptions) -> int:
    """Register the boxes, and publish until the count is reached or until Ctrl-C.

    Returns:
        The exit code, 0.
    """
    start_us = choose_start(options, time.time_ns() // 1_000)
    pace = CityPace(start_us, options.speed, options.count, options.batch, options.rate, options.window)
    passwords = None if options.gateway else PasswordStore.from_file(target.folder / CREDENTIALS_FILE)
    async with ApiClient(target.api, target.key, timeout_s=120.0) as api:
        it = CityRun(api, target.broker, options.city, pace, passwords)
        created = await retry_until_reachable(
            lambda: it.register(options.organisation), give_up_after_s=_API_PATIENCE_S
        )
        print(f"boxes: {options.city.boxes}, created now: {created}", flush=True)
        total = options.count * options.city.boxes if options.count else None
        started = time.monotonic()
        try:
            with show_progress("samples taken by the broker", total) as advance:
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
