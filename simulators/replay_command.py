"""`vigie simulate replay`: from the files to the figures.

Owns the order of the steps and what is printed. The format is sensor_community.py's, sending is replay.py's,
the comparison is verify.py's.
"""

import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg

from app.platform.kernel.instants import format_us
from simulators.progress_bar import show_progress
from simulators.registration import CREDENTIALS_FILE, PasswordStore
from simulators.replay_verification import (
    BoxSeries,
    StorageComparison,
    compare_with_database,
    wait_until_stored,
)
from simulators.rest_client import ApiClient, retry_until_reachable
from simulators.sensor_community import (
    ArchiveSummary,
    RecordedStation,
    load_archive,
    move_to_day,
    select_period,
    shift_times,
)
from simulators.station_replay import STATION_ZONE, ReplayPace, StationReplay, make_box_id
from simulators.target_stack import TargetError, TargetStack

_API_PATIENCE_S = 30.0
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of one replay; the CLI says what each means."""

    data: Path
    pace: ReplayPace
    since_us: int | None
    until_us: int | None
    repeat: int
    shift_to_now: bool
    day: date | None
    verify: bool
    patience_s: float
    prefix: str
    organisation: str
    site: str


async def run_replay(target: TargetStack, job: ReplayOptions) -> int:
    """Replay, and verify where that is wished.

    Returns:
        The exit code: 1 if the database does not hold what was sent.

    Raises:
        TargetError: An option asks for what is not there.
    """
    if job.verify and target.database is None:
        raise TargetError("--verify reads the database: name it with --database")
    stations, found = load_archive(job.data)
    stations = select_period(stations, job.since_us, job.until_us)
    if not stations:
        raise TargetError("there are no samples between --from and --to")
    if job.shift_to_now:
        newest = max(station.samples[-1].time_us for station in stations)
        stations = shift_times(stations, int(time.time()) * _US_PER_S - newest)
    elif job.day is not None:
        stations = move_to_day(stations, job.day, ZoneInfo(STATION_ZONE))
    _print_found(found, stations)
    passwords = PasswordStore.from_file(target.folder / CREDENTIALS_FILE)
    async with ApiClient(target.api, target.key) as api:
        replay = StationReplay(api, target.broker, stations, job.prefix, passwords, job.pace)
        created = await retry_until_reachable(
            lambda: replay.register(job.organisation, job.site), give_up_after_s=_API_PATIENCE_S
        )
        print(f"boxes: {len(stations)}, created now: {created}", flush=True)
        await _send(replay, job)
    if not job.verify or target.database is None:
        return 0
    return await _verify(target.database, stations, job)


async def _send(replay: StationReplay, job: ReplayOptions) -> None:
    total = sum(len(station.samples) for station in replay.stations) * job.repeat
    messages, started = 0, time.monotonic()
    with show_progress("samples taken by the broker", total) as advance:
        replay.progress = advance
        for _ in range(job.repeat):
            messages += await replay.run()
    took = time.monotonic() - started
    print(
        f"sent: {total} samples in {messages} messages in {took:.1f} s: {total / took:.0f} samples/s",
        flush=True,
    )


async def _verify(database: str, stations: list[RecordedStation], job: ReplayOptions) -> int:
    sent: dict[str, BoxSeries] = {
        make_box_id(job.prefix, station): {sample.time_us: sample.values for sample in station.samples}
        for station in stations
    }
    connection = await asyncpg.connect(database)
    try:
        expected = sum(len(series) for series in sent.values())
        seen = 0
        with show_progress("rows in the database", expected) as advance:

            def counted(stored: int, _expected: int) -> None:
                nonlocal seen
                advance(stored - seen)
                seen = stored

            await wait_until_stored(connection, sent, patience_s=job.patience_s, progress=counted)
        result = await compare_with_database(connection, sent)
    finally:
        await connection.close()
    _print_comparison(result)
    # Rows of an earlier replay, shifted to another now, lie between these: they are shown, but no fault.
    wrong = result.different or result.missing or result.missing_rows
    return 1 if wrong or (not result.clean and not job.shift_to_now) else 0


def _print_found(found: ArchiveSummary, stations: list[RecordedStation]) -> None:
    print(
        f"files: {found.files} ({found.other_files} in another format left alone), rows: {found.rows}, "
        f"values: {found.values}"
    )
    print(
        f"rows joined to a sample of the same second: {found.joined_rows}; a metric twice in a second: "
        f"{found.repeated_equal} equal, {found.repeated_different} different (the first kept)"
    )
    print(f"fields left empty: {found.empty_fields}, unreadable rows or fields: {found.unreadable}")
    for problem in found.problems:
        print(f"  {problem}")
    samples = [sample.time_us for station in stations for sample in (station.samples[0], station.samples[-1])]
    total = sum(len(station.samples) for station in stations)
    print(
        f"stations: {len(stations)}, distinct (station, time): {total}, "
        f"from {format_us(min(samples))} to {format_us(max(samples))}",
        flush=True,
    )


def _print_comparison(result: StorageComparison) -> None:
    for name, count in result.figures().items():
        print(f"{name.replace('_', ' ')}: {count}")
    for text in result.shown:
        print(f"  {text}")
    print("verified: every value is equal" if result.clean else "NOT VERIFIED", flush=True)
