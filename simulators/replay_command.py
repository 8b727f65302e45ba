"""`vigie simulate replay`: replays archive files, compares with the database, and prints counts."""

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
    """The options of one replay, as the CLI documents them."""

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


async def run_replay(target: TargetStack, options: ReplayOptions) -> int:
    """Replay stations, and verify the stored samples if requested.

    Returns:
        The exit code: 1 if stored samples differ from sent ones.

    Raises:
        TargetError: The database or samples of the period are missing.
    """
    if options.verify and target.database is None:
        raise TargetError("--verify reads the database: name it with --database")
    stations, found = load_archive(options.data)
    stations = select_period(stations, options.since_us, options.until_us)
    if not stations:
        raise TargetError("there are no samples between --from and --to")
    if options.shift_to_now:
        newest = max(station.samples[-1].time_us for station in stations)
        stations = shift_times(stations, int(time.time()) * _US_PER_S - newest)
    elif options.day is not None:
        stations = move_to_day(stations, options.day, ZoneInfo(STATION_ZONE))
    _print_found(found, stations)
    passwords = PasswordStore.from_file(target.folder / CREDENTIALS_FILE)
    async with ApiClient(target.api, target.key) as api:
        replay = StationReplay(api, target.broker, stations, options.prefix, passwords, options.pace)
        created = await retry_until_reachable(
            lambda: replay.register(options.organisation, options.site), give_up_after_s=_API_PATIENCE_S
        )
        print(f"boxes: {len(stations)}, created now: {created}", flush=True)
        await _send(replay, options)
    if not options.verify or target.database is None:
        return 0
    return await _verify(target.database, stations, options)


async def _send(replay: StationReplay, options: ReplayOptions) -> None:
    total = sum(len(station.samples) for station in replay.stations) * options.repeat
    messages, started = 0, time.monotonic()
    with show_progress("samples taken by the broker", total) as advance:
        replay.progress = advance
        for _ in range(options.repeat):
            messages += await replay.run()
    took = time.monotonic() - started
    print(
        f"sent: {total} samples in {messages} messages in {took:.1f} s: {total / took:.0f} samples/s",
        flush=True,
    )


async def _verify(database: str, stations: list[RecordedStation], options: ReplayOptions) -> int:
    sent: dict[str, BoxSeries] = {
        make_box_id(options.prefix, station): {sample.time_us: sample.values for sample in station.samples}
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

            await wait_until_stored(connection, sent, patience_s=options.patience_s, progress=counted)
        result = await compare_with_database(connection, sent)
    finally:
        await connection.close()
    _print_comparison(result)
    # An earlier replay that was shifted to its own now left rows in between: printed, but not an error.
    wrong = result.different or result.missing or result.missing_rows
    return 1 if wrong or (not result.clean and not options.shift_to_now) else 0


def _print_found(found: ArchiveSummary, stations: list[RecordedStation]) -> None:
    print(
        f"files: {found.files} ({found.other_files} of another format ignored), rows: {found.rows}, "
        f"values: {found.values}"
    )
    print(
        f"rows merged into a sample of the same second: {found.joined_rows}; repeated values of a metric: "
        f"{found.repeated_equal} equal, {found.repeated_different} different (the first one is used)"
    )
    print(f"empty fields: {found.empty_fields}, unreadable rows or fields: {found.unreadable}")
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
