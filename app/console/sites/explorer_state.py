"""Reads the state of the chart explorer from the address of its page. Pure: `now` is an argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from app.console.sites.series_columns import BUCKET_SECONDS

RANGES: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "1y": timedelta(days=365),
}
"""The periods that end now."""
DEFAULT_RANGE: Final = "24h"
MOST_BOXES: Final = 10
MOST_METRICS: Final = 6
_SHOWN_AT_FIRST: Final = ("pm2_5", "laeq", "no2", "co2", "temperature", "pm10", "humidity")
_SECOND: Final = timedelta(seconds=1)


class Parameters(Protocol):
    """The query parameters of a page."""

    def get(self, key: str, /) -> str | None:
        """Return the value of a parameter."""

    def getlist(self, key: str, /) -> list[str]:
        """Return all values of a parameter."""


@dataclass(frozen=True, slots=True)
class ExplorerState:
    """What the chart shows.

    Attributes:
        metrics: The metrics.
        boxes: The boxes.
        span: The name of the period (`RANGES`); empty: `first` and `last` were chosen.
        first: The begin of the period.
        last: Its end.
        compares: Whether the period before is shown too.
        bucket: The chosen bucket; empty: what fits the period.
        refused: Whether the period of the address was unusable.
    """

    metrics: Sequence[str]
    boxes: Sequence[str]
    span: str
    first: datetime
    last: datetime
    compares: bool
    bucket: str = ""
    refused: bool = False

    def query(self) -> dict[str, str | list[str]]:
        """Return the state as parameters of an address."""
        period: dict[str, str | list[str]]
        if self.span:
            period = {"range": self.span}
        else:
            period = {"from": format_instant(self.first), "to": format_instant(self.last)}
        return {
            "metric": list(self.metrics),
            "box": list(self.boxes),
            **period,
            "compare": "previous" if self.compares else "",
            "bucket": self.bucket,
        }


def format_instant(at: datetime) -> str:
    """Format an instant for the API."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")


def parse_local_instant(text: str | None, zone: ZoneInfo) -> datetime | None:
    """Parse an instant; one without an offset, as a form sends it, is local. None: it is no instant."""
    try:
        at = datetime.fromisoformat(text or "")
        return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_explorer_state(
    parameters: Parameters,
    *,
    metrics: Sequence[str],
    boxes: Sequence[str],
    zone: ZoneInfo,
    now: datetime,
    preferred: Sequence[str | None] = (),
) -> ExplorerState:
    """Read the state from an address. What is unknown or missing there gets its default.

    Args:
        parameters: The query parameters.
        metrics: The metrics that the boxes send, in the order of the catalogue.
        boxes: The boxes that can be shown; the first one by default.
        zone: The time zone of the site.
        now: The time of the page.
        preferred: The metrics of which one is shown by default.
    """
    chosen = [name for name in dict.fromkeys(parameters.getlist("metric")) if name in metrics]
    shown = [name for name in dict.fromkeys(parameters.getlist("box")) if name in boxes]
    first = parse_local_instant(parameters.get("from"), zone)
    last = parse_local_instant(parameters.get("to"), zone)
    is_given = bool(parameters.get("from") or parameters.get("to"))
    is_usable = first is not None and last is not None and last - first >= _SECOND
    span = "" if is_usable else parameters.get("range") or DEFAULT_RANGE
    if first is None or last is None or not is_usable:
        span = span if span in RANGES else DEFAULT_RANGE
        first, last = now - RANGES[span], now
    bucket = parameters.get("bucket") or ""
    return ExplorerState(
        metrics=chosen[:MOST_METRICS] or _choose_metrics(metrics, preferred),
        boxes=shown[:MOST_BOXES] or list(boxes[:1]),
        span=span,
        first=first,
        last=last,
        compares=parameters.get("compare") == "previous",
        bucket=bucket if bucket in BUCKET_SECONDS else "",
        refused=is_given and not is_usable,
    )


def _choose_metrics(metrics: Sequence[str], preferred: Sequence[str | None]) -> list[str]:
    known = [name for name in (*preferred, *_SHOWN_AT_FIRST) if name is not None and name in metrics]
    return (known or list(metrics))[:1]
