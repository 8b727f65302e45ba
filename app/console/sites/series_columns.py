"""Chooses buckets for charts, and turns series of the API into columns. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

MOST_POINTS: Final = 1_500
"""The most points of a series that a chart can show."""
FLAGS: Final = ("out_of_range", "spike", "flat_line", "warm_up", "late")
"""The quality flags of samples."""
_LADDER: Final = (
    *(("1s", 1), ("2s", 2), ("5s", 5), ("10s", 10), ("15s", 15), ("30s", 30)),
    *(("1m", 60), ("2m", 120), ("5m", 300), ("10m", 600), ("15m", 900), ("30m", 1_800)),
    *(("1h", 3_600), ("2h", 7_200), ("3h", 10_800), ("6h", 21_600), ("12h", 43_200)),
    *(("1d", 86_400), ("1w", 604_800)),
)
BUCKET_SECONDS: Final[Mapping[str, int]] = dict(_LADDER)
"""The buckets of charts, with their widths."""
# Means of less than a day show every night as a dip: over months, that hides the trend.
_DAYS_FROM_S: Final = 120 * 86_400
_DAY: Final = "1d"
# A missing sample or two is not a gap: radios lose some.
_GAP_INTERVALS: Final = 3.5


def choose_bucket(span_s: float, points: int, interval_s: float) -> str | None:
    """Choose the finest bucket for a period; None: the samples themselves fit.

    Args:
        span_s: The length of the period.
        points: How many points the chart has room for.
        interval_s: The shortest interval between samples.
    """
    room = max(50, min(points, MOST_POINTS))
    if span_s <= max(interval_s, 0.001) * room:
        return None
    if span_s >= _DAYS_FROM_S and span_s <= BUCKET_SECONDS[_DAY] * room:
        return _DAY
    return next((text for text, seconds in _LADDER if span_s <= seconds * room), _LADDER[-1][0])


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """A series as a chart takes it: columns of equal length.

    Attributes:
        box: The box.
        metric: The metric.
        unit: Its unit.
        t: Seconds since the epoch.
        v: Values, or means of buckets; None is a gap.
        lo: The lowest value of each bucket; empty for samples.
        hi: The highest value of each bucket; empty for samples.
    """

    box: str
    metric: str
    unit: str
    t: list[float]
    v: list[float | None]
    lo: list[float | None]
    hi: list[float | None]


def join_pages(pages: Iterable[Mapping[str, Any]], intervals_s: Mapping[str, float]) -> list[SeriesColumns]:
    """Join the pages of `GET /v1/readings`, of which one may end within a series.

    Args:
        pages: The pages, in their order.
        intervals_s: The interval of the samples of each box, by which gaps are found.
    """
    found: dict[tuple[str, str], SeriesColumns] = {}
    times = _ParsedTimes()
    for page in pages:
        for series in page["data"]:
            key = (series["box"], series["metric"])
            columns = found.get(key)
            if columns is None:
                columns = found[key] = SeriesColumns(*key, series["unit"], [], [], [], [])
            if series.get("bucket") is None:
                _add_samples(columns, series["points"], intervals_s.get(series["box"], 60))
            else:
                _add_buckets(columns, series["points"], times)
    return list(found.values())


def _add_samples(columns: SeriesColumns, points: Sequence[Mapping[str, Any]], interval_s: float) -> None:
    longest = interval_s * _GAP_INTERVALS
    for point in points:
        at = parse_seconds(point["time"])
        if columns.t and at - columns.t[-1] > longest:
            columns.t.append(round(columns.t[-1] + interval_s, 3))
            columns.v.append(None)
        columns.t.append(at)
        columns.v.append(point["value"])


class _ParsedTimes:
    """Parses the times of series, which mostly have the same buckets as the one before."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._seconds: list[float] = []

    def parse(self, texts: list[str]) -> list[float]:
        """Return the times in seconds."""
        if texts != self._texts:
            self._texts, self._seconds = texts, [parse_seconds(each) for each in texts]
        return self._seconds


def _add_buckets(columns: SeriesColumns, points: Sequence[Mapping[str, Any]], times: _ParsedTimes) -> None:
    columns.t.extend(times.parse([point["time"] for point in points]))
    columns.v.extend([_shorten(point["avg"]) for point in points])
    if points and "min" in points[0]:
        columns.lo.extend([point["min"] for point in points])
        columns.hi.extend([point["max"] for point in points])


def _shorten(value: float | None) -> float | None:
    # A mean has 17 digits, and a chart shows no more than four of them.
    return None if value is None else float(f"{value:.6g}")


def share_times(series: Sequence[SeriesColumns]) -> tuple[list[list[float]], list[dict[str, Any]]]:
    """Return the distinct columns of times, and the series with the position of theirs in it as `grid`."""
    grids: list[list[float]] = []
    shared = []
    for each in series:
        place = next((index for index, grid in enumerate(grids) if grid == each.t), len(grids))
        if place == len(grids):
            grids.append(each.t)
        columns = {"box": each.box, "metric": each.metric, "unit": each.unit, "grid": place}
        shared.append({**columns, "v": each.v, "lo": each.lo, "hi": each.hi})
    return grids, shared


def parse_seconds(at: str) -> float:
    """Parse an instant (RFC 3339) to seconds since the epoch, exact to a millisecond."""
    return round(datetime.fromisoformat(at).timestamp(), 3)


def find_flagged_samples(page: Mapping[str, Any]) -> list[tuple[float, float, str]]:
    """Find the samples with a flag: time, value and the flags, in a page of samples."""
    return [
        (parse_seconds(point["time"]), point["value"], " ".join(point["flags"]))
        for point in page["points"]
        if point.get("flags")
    ]


def find_flagged_buckets(
    whole: Mapping[str, Any], without: Mapping[str, Any]
) -> list[tuple[float, float | None, int]]:
    """Find buckets with flagged samples: time, mean and how many, from a series with and without them."""
    rest = {point["time"]: point["count"] for point in without["points"]}
    found = []
    for point in whole["points"]:
        flagged = (point["count"] or 0) - (rest.get(point["time"]) or 0)
        if flagged > 0:
            found.append((parse_seconds(point["time"]), point["avg"], flagged))
    return found


def describe_alerts(
    alerts: Iterable[Mapping[str, Any]], span: tuple[float, float], language: str
) -> list[dict[str, Any]]:
    """Describe the alerts that fired at some time of a period, the earliest first, each once."""
    known: dict[str, dict[str, Any]] = {}
    for alert in alerts:
        begin = parse_seconds(alert["started_at"])
        end = None if alert["resolved_at"] is None else parse_seconds(alert["resolved_at"])
        if begin >= span[1] or (end is not None and end <= span[0]):
            continue
        known[alert["id"]] = {
            "id": alert["id"],
            "from": begin,
            "to": end,
            "severity": alert["severity"],
            "metric": alert["metric"],
            "box": alert["box"],
            "text": alert["sentence_fr" if language == "fr" else "sentence"],
        }
    return sorted(known.values(), key=lambda each: each["from"])
