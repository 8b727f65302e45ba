"""Serves the chart explorer: series, what to mark in them, and the same values as a file.

All of it is passed through from the public API.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from app.console.framework.api_calls import ApiProblemError, encode_query
from app.console.framework.api_streams import stream_file
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.sites.box_page import build_box_path
from app.console.sites.explorer_state import MOST_BOXES, MOST_METRICS
from app.console.sites.series_columns import (
    BUCKET_SECONDS,
    FLAGS,
    MOST_POINTS,
    choose_bucket,
    describe_alerts,
    find_flagged_buckets,
    find_flagged_samples,
    join_pages,
    parse_seconds,
    share_times,
)
from app.platform.identity.session_cookie import CONSOLE_PATH
from app.platform.kernel.errors import InvalidError

router: Final = APIRouter(prefix=f"{CONSOLE_PATH}/series", include_in_schema=False, route_class=ConsoleRoute)
_PAGE_POINTS: Final = 10_000
# Flags are computed from samples: more of them would keep the page waiting.
_FLAGGED_SAMPLES: Final = 150_000
_FLAGGED_SERIES: Final = 6
BANDS_MOST: Final = 4
"""The most lines with a band from the lowest to the highest value."""
_LISTED: Final = 200
_FIRING_BEFORE_S: Final = 90 * 86_400


@dataclass(frozen=True, slots=True)
class SeriesRequest:
    """What a chart asks for.

    Attributes:
        boxes: The boxes.
        metrics: The metrics.
        first: The begin of the period.
        last: Its end.
        bucket: The bucket; None: the samples themselves.
        interval_s: The shortest interval between samples of these boxes.
    """

    boxes: Sequence[str]
    metrics: Sequence[str]
    first: str
    last: str
    bucket: str | None
    interval_s: float

    @property
    def has_bands(self) -> bool:
        """Whether the chart shows the lowest and highest value of each bucket: not for many lines."""
        return len(self.boxes) * len(self.metrics) <= BANDS_MOST

    @property
    def span(self) -> tuple[float, float]:
        """The period in seconds since the epoch."""
        return parse_seconds(self.first), parse_seconds(self.last)


def _parse_number(text: str | None, default: float) -> float:
    try:
        return float(text or default)
    except ValueError:
        return default


def read_series_request(request: Request) -> SeriesRequest:
    """Read the parameters of a chart.

    Raises:
        InvalidError: `invalid_period`: `from` and `to` are not instants, or not in this order.
    """
    parameters = request.query_params
    try:
        first, last = (datetime.fromisoformat(parameters.get(name) or "") for name in ("from", "to"))
        span_s = (last.astimezone(UTC) - first.astimezone(UTC)).total_seconds()
    except (ValueError, OverflowError):
        span_s = 0.0
    if span_s <= 0:
        raise InvalidError("Give `from` and `to` as instants, the earlier one first.", code="invalid_period")
    interval_s = _parse_number(parameters.get("interval"), 60)
    points = _parse_number(parameters.get("width"), MOST_POINTS)
    chosen = parameters.get("bucket")
    return SeriesRequest(
        parameters.getlist("box")[:MOST_BOXES],
        parameters.getlist("metric")[:MOST_METRICS],
        parameters["from"],
        parameters["to"],
        chosen if chosen in BUCKET_SECONDS else choose_bucket(span_s, int(points), interval_s),
        interval_s,
    )


async def _read_pages(visit: ConsoleVisit, asked: SeriesRequest) -> AsyncIterator[Mapping[str, Any]]:
    cursor: str | None = None
    limit = _PAGE_POINTS
    if asked.bucket is not None:
        # Whole series a page: one that continues on the next page would be computed twice.
        points = int((asked.span[1] - asked.span[0]) / BUCKET_SECONDS[asked.bucket]) + 2
        limit = max(_PAGE_POINTS // points, 1) * min(points, _PAGE_POINTS)
    buckets = (
        {}
        if asked.bucket is None
        else {
            "bucket": asked.bucket,
            "aggregates": "avg,min,max" if asked.has_bands else "avg",
            "fill": "null",
        }
    )
    while True:
        answer = await visit.api.fetch(
            "GET",
            "/v1/readings",
            query={
                "metric": asked.metrics,
                "box": asked.boxes,
                "from": asked.first,
                "to": asked.last,
                **buckets,
                "limit": limit,
                "cursor": cursor,
            },
        )
        page = msgspec.json.decode(answer.content)
        yield page
        cursor = page["next"]
        if cursor is None:
            return


def _answer(content: object, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(content),
        status,
        {"Cache-Control": "no-store"},
        media_type="application/json",
    )


def _refuse(visit: ConsoleVisit, error: ApiProblemError | InvalidError) -> Response:
    return _answer({"detail": visit.texts.explain(error.detail), "code": error.code}, error.status)


@router.get("/values.json")
async def show_values(visit: Visit) -> Response:
    """Read series as columns, in buckets that suit the period and the width of the chart."""
    try:
        asked = read_series_request(visit.request)
        if not asked.boxes or not asked.metrics:
            return _answer({"bucket": asked.bucket, "bucket_s": 0, "grids": [], "series": []})
        pages = [page async for page in _read_pages(visit, asked)]
    except (ApiProblemError, InvalidError) as error:
        return _refuse(visit, error)
    grids, series = share_times(join_pages(pages, dict.fromkeys(asked.boxes, asked.interval_s)))
    return _answer(
        {
            "bucket": asked.bucket,
            "bucket_s": BUCKET_SECONDS.get(asked.bucket or "", 0),
            "grids": grids,
            "series": series,
        }
    )


@router.get("/marks.json")
async def show_marks(visit: Visit) -> Response:
    """Read what to mark in a chart: alerts, events and samples with quality flags."""
    try:
        asked = read_series_request(visit.request)
        alerts = await _read_alerts(visit, asked)
        events = await _read_events(visit, asked)
        flags = await _read_flags(visit, asked)
    except (ApiProblemError, InvalidError) as error:
        return _refuse(visit, error)
    return _answer({"alerts": alerts, "events": events, "flags": flags})


async def _read_alerts(visit: ConsoleVisit, asked: SeriesRequest) -> list[dict[str, Any]]:
    if not visit.can("alerts:read"):
        return []
    site = visit.query.get("site")
    begin = datetime.fromtimestamp(asked.span[0] - _FIRING_BEFORE_S, UTC).isoformat()
    places: list[dict[str, str]] = [{"site": site}] if site else [{"box": box} for box in asked.boxes]
    found: list[Mapping[str, Any]] = []
    for place in places:
        recent = {**place, "from": begin, "to": asked.last}
        for query in (recent, {**place, "state": "firing"}):
            page = await visit.api.get("/v1/alerts", **query, sort="-started_at", limit=_LISTED)
            found += page["data"]
    shown = [each for each in found if each["box"] is None or each["box"] in asked.boxes]
    return describe_alerts(shown, asked.span, visit.language)[-_LISTED:]


async def _read_events(visit: ConsoleVisit, asked: SeriesRequest) -> list[dict[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for box in asked.boxes:
        page = await visit.api.get(
            f"{build_box_path(box)}/events",
            **{"from": asked.first, "to": asked.last},
            sort="-id",
            limit=_LISTED,
        )
        found += page["data"]
    if not found:
        return []
    catalogue = await visit.api.get("/v1/event-catalogue")
    title = "title_fr" if visit.language == "fr" else "title"
    titles = {each["name"]: each[title] for each in catalogue["data"]}
    return [
        {
            "t": parse_seconds(each["time"]),
            "box": each["box"],
            "text": titles.get(each["type"], each["type"]),
            "level": each["level_db"],
        }
        for each in sorted(found, key=lambda each: str(each["time"]))
    ]


async def _read_flags(visit: ConsoleVisit, asked: SeriesRequest) -> list[dict[str, Any]]:
    """Read flagged samples, or buckets that contain some; none where that takes too many samples."""
    pairs = [(box, metric) for box in asked.boxes for metric in asked.metrics]
    samples = (asked.span[1] - asked.span[0]) / max(asked.interval_s, 1) * len(pairs)
    if samples > _FLAGGED_SAMPLES or len(pairs) > _FLAGGED_SERIES:
        return []
    found: list[dict[str, Any]] = []
    for box, metric in pairs:
        path = f"{build_box_path(box)}/readings"
        query: dict[str, str] = {"metric": metric, "from": asked.first, "to": asked.last}
        marks: Sequence[tuple[Any, ...]]
        if asked.bucket is None:
            marks = find_flagged_samples(await visit.api.get(path, **query, flags=True, limit=_PAGE_POINTS))
        else:
            query |= {"bucket": asked.bucket, "aggregates": "avg,count"}
            whole = await visit.api.get(path, **query, limit=_PAGE_POINTS)
            rest = await visit.api.get(path, **query, exclude=",".join(FLAGS), limit=_PAGE_POINTS)
            marks = find_flagged_buckets(whole, rest)
        found += [{"box": box, "metric": metric, "t": t, "v": v, "what": what} for t, v, what in marks]
    return found


@router.get("/download")
async def download_values(visit: Visit) -> Response:
    """Download what a chart shows as a file."""
    parameters = visit.query
    chosen = {name: parameters.getlist(name) for name in ("box", "metric") if parameters.getlist(name)}
    plain = {name: parameters.get(name) for name in ("from", "to", "bucket")}
    kind = "parquet" if parameters.get("format") == "parquet" else "csv"
    return await stream_file(visit.api, "/v1/readings/export", {"format": kind, **chosen, **plain})


def build_download_url(file_format: str, query: Mapping[str, str | Sequence[str] | None]) -> str:
    """Return the address of the download of a chart's values."""
    return f"{CONSOLE_PATH}/series/download?{encode_query({'format': file_format, **query})}"
