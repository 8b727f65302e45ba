"""Defines the commands of `vigie simulate`: parses options and calls the other modules."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.platform.kernel.instants import parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError
from simulators import box_command, city_command, events_command, replay_command, shots_command
from simulators.cli_options import (
    ApiAddress,
    ApiKey,
    ByGateway,
    Count,
    DatabaseAddress,
    DuplicateShare,
    Duration,
    Interval,
    LateShare,
    MqttAddress,
    OrganisationName,
    RunFile,
    Seed,
    SilenceShare,
    Speed,
    SpikeShare,
    require_positive,
)
from simulators.demo import LOOPBACK, run_demo
from simulators.demo_replay import CATCH_UP_SPEED
from simulators.event_stream_client import StreamFilter, follow_stream
from simulators.field_faults import FaultShares
from simulators.rest_client import ApiError, UnreachableError
from simulators.sound_events import SOUND_CLASSES
from simulators.station_replay import ReplayPace
from simulators.synthetic_city import CityPlan
from simulators.synthetic_values import SITE_KINDS
from simulators.target_stack import DEFAULT_RUN_FILE, TargetError, find_api, find_target
from simulators.webhook_receiver import ReceiverBehaviour, WebhookReceiver, run_receiver

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

SHIPPED_ARCHIVE = Path(__file__).parent / "data" / "aberdeen"
_MAX_BATCH = 1000
_DEMO_STOPS_WITHIN_S = 1.8


@app.callback()
def main(*, verbose: Annotated[bool, typer.Option(help="Log the state of connections")] = False) -> None:
    """Simulate fleets, boxes and events, replay real data, receive webhooks, follow the event stream."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(name)s: %(message)s")


@app.command()
def replay(
    *,
    data: Annotated[Path, typer.Option(help="Folder of Sensor.Community archive files")] = SHIPPED_ARCHIVE,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Measured seconds per second; 0: as fast as possible")
    ] = 0.0,
    since: Annotated[str | None, typer.Option("--from", help="Start, included (RFC 3339)")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, excluded (RFC 3339)")] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=_MAX_BATCH, help="Samples per message; default 100, with a speed 1"),
    ] = None,
    window: Annotated[int, typer.Option(min=1, max=1000, help="Messages in flight per station")] = 20,
    repeat: Annotated[int, typer.Option(min=1, help="Number of times to send all samples")] = 1,
    shift_to_now: Annotated[bool, typer.Option(help="Shift all times so that the newest is now")] = False,
    on_day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Shift all times by whole local days, so that this is the first day",
        ),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Compare the stored values with the files")] = False,
    patience: Annotated[
        float, typer.Option(min=0.0, help="With --verify: seconds without a new row until the wait ends")
    ] = 60.0,
    prefix: Annotated[str, typer.Option(help="What the boxes' ids begin with")] = "aberdeen",
    organisation: OrganisationName = "Sensor.Community",
    site: Annotated[str, typer.Option(help="Name of the site; found or created")] = "Aberdeen",
    run: RunFile = DEFAULT_RUN_FILE,
    api: ApiAddress = None,
    key: ApiKey = None,
    mqtt: MqttAddress = None,
    database: DatabaseAddress = None,
) -> None:
    """Replay recorded measurements, each station as a box with its own credentials."""
    if shift_to_now and on_day:
        raise typer.BadParameter("choose one of --shift-to-now and --on-day", param_hint="--on-day")
    options = replay_command.ReplayOptions(
        data=data,
        pace=ReplayPace(speed, batch or (1 if speed > 0 else 100), window),
        since_us=_instant(since),
        until_us=_instant(until),
        repeat=repeat,
        shift_to_now=shift_to_now,
        day=None if on_day is None else on_day.date(),
        verify=verify,
        patience_s=patience,
        prefix=prefix,
        organisation=organisation,
        site=site,
    )
    _run(lambda: replay_command.run_replay(find_target(run, api, key, mqtt, database), options))


@app.command()
def city(
    *,
    boxes: Annotated[int, typer.Option(min=1, max=100_000, help="Number of boxes")] = 30,
    kinds: Annotated[str, typer.Option(help="Kinds of site, separated by commas")] = ",".join(SITE_KINDS),
    interval: Interval = 60.0,
    count: Count = None,
    duration: Duration = None,
    start: Annotated[
        str | None, typer.Option(help="First time (RFC 3339); default: now, or so that the run ends now")
    ] = None,
    speed: Speed = 1.0,
    batch: Annotated[int, typer.Option(min=1, max=_MAX_BATCH, help="Samples per message")] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Largest number of messages per second", callback=require_positive)
    ] = None,
    window: Annotated[int, typer.Option(min=1, max=1000, help="Messages in flight per connection")] = 20,
    seed: Seed = 1,
    gateway: ByGateway = False,
    silence: SilenceShare = 0.0,
    spikes: SpikeShare = 0.0,
    duplicates: DuplicateShare = 0.0,
    late: LateShare = 0.0,
    clock_skew: Annotated[float, typer.Option(min=0.0, help="Largest clock error of a box (seconds)")] = 0.0,
    prefix: Annotated[str, typer.Option(help="What the boxes' ids begin with")] = "city",
    organisation: OrganisationName = "Synthetic city",
    run: RunFile = DEFAULT_RUN_FILE,
    api: ApiAddress = None,
    key: ApiKey = None,
    mqtt: MqttAddress = None,
) -> None:
    """Simulate a city with any number of boxes, and inject faults of the field."""
    faults = FaultShares(silence, spikes, duplicates, late, clock_skew)
    plan = CityPlan(boxes, _kinds(kinds), prefix, seed, interval, faults)
    if count is None and duration is not None:
        count = max(1, round(duration / interval))
    options = city_command.CityOptions(
        city=plan,
        start_us=_instant(start),
        speed=speed,
        count=count,
        batch=batch,
        rate=rate,
        window=window,
        gateway=gateway,
        organisation=organisation,
    )
    _run(lambda: city_command.run_city(find_target(run, api, key, mqtt, None), options))


@app.command()
def events(
    *,
    box: Annotated[
        list[str] | None, typer.Option(help="Id of a box that reports; may be repeated. Default: all boxes")
    ] = None,
    every: Annotated[float, typer.Option(min=0.0, help="Mean time between two events (seconds)")] = 10.0,
    count: Annotated[int | None, typer.Option(min=1, help="Number of events; default: until stopped")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the events repeatable")] = None,
    run: RunFile = DEFAULT_RUN_FILE,
    api: ApiAddress = None,
    key: ApiKey = None,
    mqtt: MqttAddress = None,
) -> None:
    """Report gunshots and similar sounds, with candidates, through the gateway's account."""
    _run(
        lambda: events_command.run_events(
            find_target(run, api, key, mqtt, None), box or [], every_s=every, count=count, seed=seed
        )
    )


@app.command()
def box(
    *,
    name: Annotated[
        str, typer.Option("--id", help="Id of the box, which is registered with `ack`")
    ] = "reference-box",
    interval: Interval = 10.0,
    count: Count = None,
    batch: Annotated[int, typer.Option(min=1, max=_MAX_BATCH, help="Samples per message")] = 60,
    faulty: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of samples with NaN, which are refused")
    ] = 0.0,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Seconds until unacknowledged samples are sent again")
    ] = 60.0,
    organisation: OrganisationName = "Synthetic city",
    run: RunFile = DEFAULT_RUN_FILE,
    api: ApiAddress = None,
    key: ApiKey = None,
    mqtt: MqttAddress = None,
) -> None:
    """Run the reference box: store samples until they are acknowledged, give up refused ones."""
    options = box_command.BoxOptions(name, interval, count, batch, faulty, patience, organisation)
    _run(lambda: box_command.run_box(find_target(run, api, key, mqtt, None), options))


def _place(value: str) -> tuple[float, float]:
    longitude, latitude = (float(part) for part in value.split(","))
    return longitude, latitude


@app.command()
def shots(
    *,
    site: Annotated[str, typer.Option(help="Id of the site whose boxes report the shots")],
    at: Annotated[
        str | None, typer.Option(help="Longitude,latitude; default: random places between the boxes")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help=f"One of: {', '.join(SOUND_CLASSES)}; default: random")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=30, help="Rounds per shot; default: 1 to 3")
    ] = None,
    every: Annotated[float, typer.Option(min=0.0, help="Mean time between two shots (seconds)")] = 30.0,
    count: Annotated[int | None, typer.Option(min=1, help="Number of shots; default: until stopped")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes places and sources repeatable")] = None,
    run: RunFile = DEFAULT_RUN_FILE,
    api: ApiAddress = None,
    key: ApiKey = None,
    mqtt: MqttAddress = None,
) -> None:
    """Simulate shots at a site: each box reports when the sound arrives, with its own clock error."""
    if source is not None and source not in SOUND_CLASSES:
        raise typer.BadParameter(f"one of {', '.join(SOUND_CLASSES)}", param_hint="--source")
    try:
        place = None if at is None else _place(at)
    except ValueError:
        raise typer.BadParameter("longitude,latitude in degrees", param_hint="--at") from None
    options = shots_command.ShotsOptions(every, count, seed, place, source, rounds)
    _run(lambda: shots_command.run_shots(find_target(run, api, key, mqtt, None), site, options))


@app.command()
def receiver(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Secret, whsec_…; may be repeated during a rotation. Default: no verification"),
    ] = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="Status of answers")] = 204,
    fail_first: Annotated[int, typer.Option(min=0, help="Number of first requests that fail with 500")] = 0,
    delay: Annotated[float, typer.Option(min=0.0, help="Delay of each answer (seconds)")] = 0.0,
    retry_after: Annotated[
        int | None,
        typer.Option(min=0, help="Retry-After of failures (seconds), for example with --status 429"),
    ] = None,
    hang: Annotated[bool, typer.Option("--hang", help="Never answer")] = False,
) -> None:
    """Receive webhooks: verify signatures, detect duplicates, print a line for each."""
    behaviour = ReceiverBehaviour(status, fail_first, delay, retry_after, hang)
    try:
        it = WebhookReceiver(
            host=host,
            port=port,
            secret=secret,
            unsigned=not secret,
            behaviour=behaviour,
            print_line=_print_line,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--secret") from None
    _run(lambda: run_receiver(it))


@app.command()
def listen(
    *,
    after: Annotated[
        str | None, typer.Option(help="Resume after the event with this id; default: new events only")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option(help="Only events of this type; may be repeated. Default: all")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Only events of the site with this id")] = None,
    min_severity: Annotated[
        str | None, typer.Option(help="Lowest severity of alerts: info, warning, critical")
    ] = None,
    organisation: Annotated[
        str | None, typer.Option(help="Name or id, for the administrator's key. Default: the key's own")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Number of events; default: until stopped")] = None,
    run: RunFile = DEFAULT_RUN_FILE,
    api: ApiAddress = None,
    key: ApiKey = None,
) -> None:
    """Follow the event stream and print a line for each event; resume after a lost connection."""
    wish = StreamFilter(after, tuple(types or ()), site, min_severity, organisation, count)
    _run(lambda: follow_stream(*find_api(run, api, key), wish, _print_line))


@app.command()
def demo(
    *,
    run: RunFile = DEFAULT_RUN_FILE,
    replay_speed: Annotated[
        float,
        typer.Option(
            help="Measured seconds per second while past samples are replayed", callback=require_positive
        ),
    ] = CATCH_UP_SPEED,
    receiver_name: Annotated[
        str,
        typer.Option(
            help="Name or address under which `deliver` reaches this process; with any other than 127.0.0.1 "
            "the receiver of webhooks listens on all addresses"
        ),
    ] = LOOPBACK,
) -> None:
    """Run the demo city of `vigie up` until it is stopped."""
    # `vigie up` waits for this process when it stops; the demo saves its state every 5 s, so it may end fast.
    _run(
        lambda: run_demo(
            find_target(run, None, None, None, None), replay_speed=replay_speed, receiver_name=receiver_name
        ),
        stop_within_s=_DEMO_STOPS_WITHIN_S,
    )


def _print_line(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _instant(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except RejectedError as error:
        raise typer.BadParameter(error.detail) from None


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in text.split(",") if kind.strip())
    if not kinds or not set(kinds) <= set(SITE_KINDS):
        raise typer.BadParameter(f"kinds are {', '.join(SITE_KINDS)}", param_hint="--kinds")
    return kinds


def _run(begin: Callable[[], Coroutine[Any, Any, int | None]], *, stop_within_s: float | None = None) -> None:
    """Run a coroutine until it ends or a signal stops it, which exits with 0.

    An error that a user can fix is printed in one line.
    """
    code: int | None = 1
    try:
        code = asyncio.run(_stoppable(begin, stop_within_s))
    except* (TargetError, ApiError, UnreachableError, TimeoutError, FileNotFoundError) as group:
        for error in _leaves(group):
            typer.echo(f"vigie simulate: {str(error) or 'timed out'}", err=True)
    raise typer.Exit(code or 0)


async def _stoppable(
    begin: Callable[[], Coroutine[Any, Any, int | None]], stop_within_s: float | None
) -> int | None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(begin())

    def stop() -> None:
        task.cancel()
        if stop_within_s is not None:
            loop.call_later(stop_within_s, os._exit, 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return 0


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
