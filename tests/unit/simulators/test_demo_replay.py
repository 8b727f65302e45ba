"""Which day the demo replays, and when each sample is due. No broker is asked: delays are looked at."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from simulators.cli import SHIPPED_ARCHIVE
from simulators.demo_replay import DayReplay
from simulators.registration import PasswordStore
from simulators.rest_client import ApiClient
from simulators.sensor_community import RecordedStation, load_archive
from simulators.station_replay import ReplayPace, StationReplay, make_box_id
from simulators.target_stack import BrokerAddress

LONDON = ZoneInfo("Europe/London")
NOON = datetime(2026, 11, 28, 12, tzinfo=LONDON).timestamp()
SPEED = 720.0


@dataclass(slots=True)
class Sent:
    """What would be sent: by box, seconds since 1970 of each sample and of its sending."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    days: int = 0


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Sending is noted, and stops after three days."""
    noted = Sent()

    async def run(replay: StationReplay) -> int:
        assert replay.delay_s is not None
        for station in replay.stations:
            box = make_box_id(replay.prefix, station)
            for sample in station.samples:
                seconds = sample.time_us / 1e6
                noted.samples.setdefault(box, []).append((seconds, NOON + replay.delay_s(sample.time_us)))
                replay.reached[box] = sample.time_us
        noted.days += 1
        if noted.days == 3:
            raise asyncio.CancelledError
        return 0

    monkeypatch.setattr(StationReplay, "run", run)
    return noted


async def replayed(
    stations: list[RecordedStation], reached: dict[str, int], print_line: Callable[[str], None]
) -> None:
    api = ApiClient("http://127.0.0.1:1", "")
    broker = BrokerAddress("127.0.0.1", 1, None, None, tls=False)
    passwords = PasswordStore({}, lambda _known: None)
    replay = StationReplay(api, broker, stations, "demo", passwords, ReplayPace(batch=1), reached=reached)
    with pytest.raises(asyncio.CancelledError):
        await DayReplay(replay, SPEED, print_line, clock=lambda: NOON).run()


async def test_a_first_start_has_yesterday_and_today_in_four_minutes_and_nothing_early(sent: Sent) -> None:
    stations, _ = load_archive(SHIPPED_ARCHIVE)
    lines: list[str] = []
    await replayed(stations, {}, lines.append)
    every = [each for samples in sent.samples.values() for each in samples]
    days = sorted({datetime.fromtimestamp(at, LONDON).date().isoformat() for at, _ in every})
    assert days == ["2026-11-27", "2026-11-28", "2026-11-29"]
    assert all(due >= at for at, due in every)
    past = [due for at, due in every if at <= NOON]
    assert min(past) == NOON
    assert max(past) < NOON + 240
    # Well after that each is sent at its own time.
    assert all(due == pytest.approx(at) for at, due in every if at > NOON + 300)
    assert "measured on 2019-03-10, are replayed as of 2026-11-27" in lines[0]


MIDNIGHT = datetime(2026, 11, 27, tzinfo=LONDON)


@pytest.mark.parametrize(
    ("stopped", "goes_on"),
    [
        (datetime(2026, 11, 28, 11, 59, tzinfo=LONDON), datetime(2026, 11, 28, 11, 59, tzinfo=LONDON)),
        (datetime(2026, 11, 27, 18, 0, tzinfo=LONDON), datetime(2026, 11, 27, 18, 0, tzinfo=LONDON)),
        (datetime(2026, 11, 20, 18, 0, tzinfo=LONDON), MIDNIGHT),
        # What an earlier version replayed, at the times of the recording.
        (datetime(2019, 3, 10, 23, 59, tzinfo=LONDON), MIDNIGHT),
    ],
)
async def test_a_later_start_goes_on_where_the_last_one_stopped(
    sent: Sent, stopped: datetime, goes_on: datetime
) -> None:
    stations, _ = load_archive(SHIPPED_ARCHIVE)
    reached = dict.fromkeys(
        (make_box_id("demo", station) for station in stations), int(stopped.timestamp()) * 1_000_000
    )
    await replayed(stations, reached, lambda _line: None)
    earliest = min(at for samples in sent.samples.values() for at, _ in samples)
    assert 0 < earliest - goes_on.timestamp() < 60
    for samples in sent.samples.values():
        times = [at for at, _ in samples]
        assert times == sorted(set(times))
