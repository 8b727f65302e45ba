"""Prepares the chart explorer of a page: its state, what can be chosen, and the summary of the period."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from app.catalogue.metric_display_names import get_metric_title
from app.catalogue.metrics import CATALOGUE, METRICS_BY_NAME
from app.console.framework.api_calls import ApiProblemError, encode_query
from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.metric_names import name_metric
from app.console.framework.page_translation import mark_text
from app.console.sites.explorer_state import (
    DEFAULT_RANGE,
    RANGES,
    ExplorerState,
    format_instant,
    read_explorer_state,
)
from app.console.sites.series_columns import BUCKET_SECONDS
from app.console.sites.series_router import build_download_url
from app.presentation.languages import Language

_SUMMED_SERIES: Final = 6
_SHORTEST: Final = timedelta(minutes=10)
RANGE_LABELS: Final[Mapping[str, str]] = {
    "1h": mark_text("1 hour"),
    "24h": mark_text("24 hours"),
    "7d": mark_text("7 days"),
    "30d": mark_text("30 days"),
    "1y": mark_text("1 year"),
}
_SCRIPT_TEXTS: Final[Mapping[str, str]] = {
    "previous": mark_text("period before"),
    "loading": mark_text("Reading values…"),
    "nothing": mark_text("No values in this period."),
    "failed": mark_text("The values could not be read:"),
    "samples": mark_text("Each sample"),
    "mean": mark_text("Mean of {bucket}, with the lowest and highest value"),
    "flagged": mark_text("flagged as doubtful"),
    "out_of_range": mark_text("out of the usual range"),
    "spike": mark_text("spike"),
    "flat_line": mark_text("does not change"),
    "warm_up": mark_text("while warming up"),
    "late": mark_text("arrived late"),
    "time": mark_text("Time"),
    "no_marks": mark_text("No alert and no event in this period."),
    "still_firing": mark_text("still firing"),
    "critical": mark_text("Critical"),
    "warning": mark_text("Warning"),
    "info": mark_text("Info"),
    "chart": mark_text("Chart"),
    "rows": mark_text("The table shows {shown} of {all} rows. Download the file for all of them."),
}


@dataclass(frozen=True, slots=True)
class Explorer:
    """The chart explorer of a page.

    Attributes:
        path: The path of the page.
        zone: The time zone of the site.
        state: What is shown.
        boxes: The boxes that can be shown, with their names.
        metrics: The metrics that can be shown: name, symbol, title and unit.
        summary: Means and extremes, as `GET /v1/readings/comparison` returns them.
        summary_problem: Why there is no summary; empty: there is one, or nothing to sum up.
        data: What the script needs.
    """

    path: str
    zone: str
    state: ExplorerState
    boxes: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, str]]
    summary: Sequence[Mapping[str, Any]]
    summary_problem: str
    data: Mapping[str, Any]

    def link(self, **changes: str | Sequence[str]) -> str:
        """Return the address of the page with changes of the state."""
        query = {**self.state.query(), **changes}
        if "range" in changes:
            query |= {"from": "", "to": ""}
        return f"{self.path}?{encode_query(query)}#chart"

    def download(self, file_format: str) -> str:
        """Return the address of the file with the shown values."""
        state = self.state
        return build_download_url(
            file_format,
            {
                "box": state.boxes,
                "metric": state.metrics,
                "from": format_instant(state.first),
                "to": format_instant(state.last),
                "bucket": state.bucket,
            },
        )

    def name_box(self, box: str) -> str:
        """Return the name of a box, or its id."""
        return next((each["name"] for each in self.boxes if each["id"] == box), box)

    def local(self, at: datetime) -> str:
        """Return an instant as a field of a form takes it."""
        return at.astimezone(ZoneInfo(self.zone)).strftime("%Y-%m-%dT%H:%M")


def list_metrics(names: set[str], language: Language) -> list[dict[str, str]]:
    """Describe metrics in the order of the catalogue."""
    return [
        {
            "name": each.name,
            "symbol": name_metric(each.name, language),
            "title": get_metric_title(each.name, language),
            "unit": each.unit,
        }
        for each in CATALOGUE
        if each.name in names
    ]


async def prepare_explorer(
    visit: ConsoleVisit,
    *,
    path: str,
    zone: str,
    boxes: Sequence[Mapping[str, Any]],
    latest: Sequence[Mapping[str, Any]],
    site: str = "",
    preferred: Sequence[str | None] = (),
) -> Explorer:
    """Prepare the explorer of a page.

    Args:
        visit: The visit.
        path: The path of the page.
        zone: The time zone of the site.
        boxes: The boxes that can be shown, as the API returns them; the first one is shown by default.
        latest: Their latest values.
        site: The site whose alerts are marked; empty: only alerts of the shown boxes.
        preferred: The metrics of firing alerts, one of which is shown at first.
    """
    names = {name for each in latest for name in each["values"] if name in METRICS_BY_NAME}
    metrics = list_metrics(names, visit.language)
    state = read_explorer_state(
        visit.query,
        metrics=[each["name"] for each in metrics],
        boxes=[each["id"] for each in boxes],
        zone=ZoneInfo(zone),
        now=datetime.now(UTC),
        preferred=preferred,
    )
    since = await _find_beginning(visit, state, boxes)
    if since is not None:
        state = replace(state, first=since)
    named = [
        {"id": each["id"], "name": each["name"] or each["id"], "interval_s": each["interval_s"]}
        for each in boxes
    ]
    summary, problem = await _sum_up(visit, state)
    data = {
        "zone": zone,
        "site": site,
        "boxes": named,
        "metrics": [{**each, "unit_text": visit.formatter().unit(each["unit"])} for each in metrics],
        "since": None if since is None else since.timestamp(),
        **_describe(visit, state),
    }
    return Explorer(path, zone, state, named, metrics, summary, problem, data)


async def _find_beginning(
    visit: ConsoleVisit, state: ExplorerState, boxes: Sequence[Mapping[str, Any]]
) -> datetime | None:
    """Find the first sample of a box that is younger than the default period; None for any other chart."""
    shown = [each for each in boxes if each["id"] in state.boxes]
    chosen = visit.query
    if len(shown) != 1 or not state.metrics or any(chosen.get(name) for name in ("range", "from", "to")):
        return None
    (box,) = shown
    if datetime.fromisoformat(box["created_at"]) <= state.first:
        return None
    page = await visit.api.get_unless_refused(
        f"/v1/boxes/{quote(box['id'], safe='')}/readings",
        metric=state.metrics[0],
        **{"from": format_instant(state.first), "to": format_instant(state.last)},
        limit=1,
    )
    if not page or not page["points"]:
        return None
    first = datetime.fromisoformat(page["points"][0]["time"])
    # At least some minutes, so that the first samples do not fill the chart.
    return min(first, state.last - _SHORTEST)


async def _sum_up(visit: ConsoleVisit, state: ExplorerState) -> tuple[list[Mapping[str, Any]], str]:
    if not state.metrics or not state.boxes or len(state.boxes) * len(state.metrics) > _SUMMED_SERIES:
        return [], ""
    try:
        found = await visit.api.get(
            "/v1/readings/comparison",
            **{
                "metric": state.metrics,
                "box": state.boxes,
                "from": format_instant(state.first),
                "to": format_instant(state.last),
            },
        )
    except ApiProblemError as error:
        # A chart of a period that is too long to sum up is better than no page.
        return [], error.detail
    return list(found["data"]), ""


def _describe(visit: ConsoleVisit, state: ExplorerState) -> dict[str, Any]:
    return {
        "state": {
            "metrics": list(state.metrics),
            "boxes": list(state.boxes),
            "range": state.span,
            "from": state.first.timestamp(),
            "to": state.last.timestamp(),
            "compare": state.compares,
            "bucket": state.bucket,
        },
        "default": DEFAULT_RANGE,
        "ranges": {name: span.total_seconds() for name, span in RANGES.items()},
        "buckets": list(BUCKET_SECONDS.items()),
        "texts": {name: visit.t(text) for name, text in _SCRIPT_TEXTS.items()},
    }
