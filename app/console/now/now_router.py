"""Serves the first page: what is wrong now, on a map and in a list; the same for a wall; and the search."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.now.current_problems import arrange_problems
from app.console.now.search_targets import build_search_results
from app.platform.http.contract.compressed_response import accepts_gzip, compress
from app.platform.identity.session_cookie import CONSOLE_PATH

router: Final = APIRouter(prefix=CONSOLE_PATH, include_in_schema=False, route_class=ConsoleRoute)
_LISTED: Final = 30
_LISTED_INCIDENTS: Final = 6
_NOT_MODIFIED: Final = 304
_GZIP_LEVEL: Final = 4
_MOST_RESULTS: Final = 6
_ALERTS: Final = "alerts:read"
_BOXES: Final = "sites:read"


@router.get("")
async def show_now(visit: Visit) -> Response:
    """Show what is wrong now. A person who may not read alerts gets the sites instead."""
    if not visit.can(_ALERTS):
        return redirect_to(visit.request, f"{CONSOLE_PATH}/sites")
    overview, changes, firing = await _read(visit)
    boxes = overview["boxes"]
    if boxes is not None and boxes["total"] == 0 and visit.can("boxes:write"):
        return redirect_to(visit.request, f"{CONSOLE_PATH}/start")
    return _render(visit, "now/now.html", overview, changes, firing)


@router.get("/wall")
async def show_wall(visit: Visit) -> Response:
    """Show the same for a wall screen, without controls."""
    overview, changes, firing = await _read(visit)
    return _render(visit, "now/wall.html", overview, changes, firing)


async def _read(visit: ConsoleVisit) -> tuple[Any, Any, Any]:
    since = datetime.now(UTC) - timedelta(hours=1)
    overview, changes, firing = await asyncio.gather(
        visit.api.get("/v1/overview"),
        visit.api.get("/v1/overview/changes", since=since.isoformat(), language=visit.language),
        visit.api.get("/v1/alerts", state="firing", sort="-severity", limit=_LISTED),
    )
    return overview, changes, firing


def _render(visit: ConsoleVisit, template: str, overview: Any, changes: Any, firing: Any) -> Response:  # noqa: ANN401 (JSON)
    return render_console_page(
        visit,
        template,
        title=visit.t("Now"),
        section="now",
        overview=overview,
        counts=overview["firing"],
        boxes=overview["boxes"],
        endpoints=overview["endpoints"],
        changes=changes,
        problems=arrange_problems(overview, firing["data"], most_incidents=_LISTED_INCIDENTS),
    )


@router.get("/boxes.json")
async def read_boxes(visit: Visit) -> Response:
    """Pass on the boxes of the map. A map without changes is 304."""
    headers = {}
    known = visit.request.headers.get("if-none-match")
    if known is not None:
        headers["If-None-Match"] = known
    answer = await visit.api.fetch("GET", "/v1/overview/boxes", headers=headers)
    passed = {"Cache-Control": "private, no-cache"}
    if "etag" in answer.headers:
        passed["ETag"] = answer.headers["etag"]
    if answer.status_code == _NOT_MODIFIED:
        return Response(status_code=_NOT_MODIFIED, headers=passed)
    body = answer.content
    if accepts_gzip(visit.request.headers.get("accept-encoding", "")):
        passed["Content-Encoding"] = "gzip"
        # Columns of 10,000 boxes take a few milliseconds.
        body = await asyncio.to_thread(compress, body, _GZIP_LEVEL)
    return Response(body, headers=passed, media_type="application/json")


@router.get("/search.json")
async def search_for_palette(visit: Visit, q: str = "") -> Response:
    """Find sites, boxes, alerts, rules and incidents for the palette."""
    if not q.strip():
        return JSONResponse({"results": []})
    try:
        found = await visit.api.get("/v1/search", q=q.strip(), limit=_MOST_RESULTS)
    except ApiProblemError as error:
        return JSONResponse({"results": [], "problem": visit.texts.explain(error.detail)})
    return JSONResponse({"results": build_search_results(found["data"], visit.texts)})


@router.get("/search")
async def show_search(visit: Visit, q: str = "") -> Response:
    """Show the results of a search on a page, for browsers without scripts."""
    results = []
    if q.strip():
        found = await visit.api.get("/v1/search", q=q.strip(), limit=20)
        results = build_search_results(found["data"], visit.texts)
    return render_console_page(visit, "now/search.html", title=visit.t("Search"), results=results, q=q)
