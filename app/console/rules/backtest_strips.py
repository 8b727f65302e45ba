"""Prepares the result of a back-test for its page: a strip in time for each box, and a list. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final

from app.presentation.local_formatter import LocalFormatter

WIDTH: Final = 1_000
"""The width of a strip; positions are in this unit."""
STRIPS: Final = 12
LISTED: Final = 50
_LEAST: Final = 3.0
_STEPS: Final = ((10, 1), (32, 5), (100, 15), (370, 60))
_RANKS: Final = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class StripMark:
    """An alert on a strip.

    Attributes:
        x: Its beginning.
        width: Its length; short alerts are drawn wider, so that they can be seen.
        severity: Its highest severity.
        title: When it fired, and how long.
    """

    x: float
    width: float
    severity: str
    title: str


@dataclass(frozen=True, slots=True)
class BacktestStrip:
    """The alerts of one box in time.

    Attributes:
        name: The box, by its name; empty for a rule on a whole site.
        count: The number of its alerts.
        firing_s: How long they fired together.
        marks: The alerts.
    """

    name: str
    count: int
    firing_s: float
    marks: Sequence[StripMark]


@dataclass(frozen=True, slots=True)
class BacktestPicture:
    """What the page of a finished back-test shows.

    Attributes:
        strips: The boxes with the most alerts.
        hidden: The number of boxes with alerts that have no strip.
        quiet: The number of boxes without an alert.
        ticks: Positions of local midnights.
        dates: The dates of the beginning, the middle and the end.
        listed: The newest alerts, with the names of their boxes.
        unlisted: The number of alerts that are not listed.
        share: How much of the time a box fired on average (percent).
    """

    strips: Sequence[BacktestStrip]
    hidden: int
    quiet: int
    ticks: Sequence[float]
    dates: Sequence[str]
    listed: Sequence[tuple[str, Mapping[str, Any]]]
    unlisted: int
    share: float


def draw_backtest(
    found: Mapping[str, Any], names: Mapping[str, str], formatter: LocalFormatter
) -> BacktestPicture | None:
    """Prepare a back-test; None if it has no result.

    Args:
        found: The back-test, as the API returns it.
        names: The names of boxes by id; a missing one is replaced by the id.
        formatter: The language, and the time zone of the site.
    """
    result = found["result"]
    if result is None:
        return None
    start, end = (datetime.fromisoformat(found[name]) for name in ("from", "to"))
    by_box: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for alert in result["alerts"]:
        by_box[alert["box"]].append(alert)
    strips = [
        BacktestStrip(
            "" if box is None else names.get(box) or box,
            len(alerts),
            sum(alert["duration_s"] for alert in alerts),
            [_mark(alert, start, end, formatter) for alert in _by_severity(alerts)],
        )
        for box, alerts in by_box.items()
    ]
    strips.sort(key=lambda strip: (-strip.count, strip.name))
    newest = sorted(result["alerts"], key=lambda alert: alert["started_at"], reverse=True)[:LISTED]
    summary = result["summary"]
    boxes = max(1, summary["boxes"] if None not in by_box else 1)
    return BacktestPicture(
        strips[:STRIPS],
        max(0, len(strips) - STRIPS),
        max(0, boxes - len(strips)),
        list_ticks(start, end, formatter),
        [formatter.short_day(at) for at in (start, start + (end - start) / 2, end)],
        [(names.get(alert["box"] or "") or alert["box"] or "", alert) for alert in newest],
        summary["alerts"] - len(newest),
        100 * summary["firing_s"] / boxes / (end - start).total_seconds(),
    )


def _by_severity(alerts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    # The most severe are drawn last, on top of others.
    return sorted(alerts, key=lambda alert: _RANKS.get(alert["severity"], 0))


def _mark(alert: Mapping[str, Any], start: datetime, end: datetime, formatter: LocalFormatter) -> StripMark:
    began = datetime.fromisoformat(alert["started_at"])
    scale = WIDTH / (end - start).total_seconds()
    width = max(_LEAST, alert["duration_s"] * scale)
    x = min(max(0.0, (began - start).total_seconds() * scale), WIDTH - _LEAST)
    title = f"{formatter.moment(began)}, {formatter.duration(alert['duration_s'])}"
    return StripMark(round(x, 2), round(min(width, WIDTH - x), 2), alert["severity"], title)


def list_ticks(start: datetime, end: datetime, formatter: LocalFormatter) -> list[float]:
    """Return the positions of local midnights in a range, eight or so."""
    days = (end - start).total_seconds() / 86_400
    step = next((step for most, step in _STEPS if days <= most), 60)
    local = formatter.local(start)
    day = local.date() + timedelta(days=1)
    ticks = []
    while (at := datetime.combine(day, time(), formatter.zone)) < end:
        ticks.append(round(WIDTH * (at - start).total_seconds() / (end - start).total_seconds(), 2))
        day += timedelta(days=step)
    return ticks
