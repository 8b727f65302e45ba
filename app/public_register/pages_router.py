"""Serves the pages of the register, in English and French. They need no sign-in and no scripts."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.platform.http.contract.cached_response import (
    CachedResponse,
    build_cache_headers,
    make_conditional_response,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.public_register.change_history import (
    render_about_page,
    render_changes_page,
    render_missing_page,
)
from app.public_register.page_rendering import (
    PageContext,
    build_page_csp,
    load_static_files,
    negotiate_language,
)
from app.public_register.register_context import REGISTER_TTL_S, Context, RegisterContext
from app.public_register.register_search import MAX_QUERY_CHARS, SiteSearchQuery
from app.public_register.register_value_formatter import RegisterFormatter
from app.public_register.site_list_page import render_index_page
from app.public_register.site_page import PublishedFigures, render_site_page
from app.public_register.ttl_cache import PAGE_MAX_AGE_S

router: Final = APIRouter(prefix="/public", include_in_schema=False)
_HTML: Final = "text/html; charset=utf-8"
# Only the first page may ask the browser for a position ("Near me").
_NEAR_ME: Final = {
    "Permissions-Policy": "camera=(), geolocation=(self), microphone=(), payment=(), usb=()",
}
_YEAR_S: Final = 31_536_000
_LATEST_CHANGES: Final = 10
_TILES_S: Final = 3_600
_MOST_PAGES: Final = 10_000
_LONGEST_NUMBER: Final = 15


def _frame(request: Request, context: RegisterContext, now: datetime) -> PageContext:
    language = negotiate_language(
        request.query_params.get("lang"), request.headers.get("accept-language", "")
    )
    return PageContext(RegisterFormatter(language), now, context.tiles)


async def _respond(
    request: Request,
    context: RegisterContext,
    key: Hashable,
    make: Callable[[PageContext], Awaitable[str]],
    *,
    status: int = 200,
    more: Mapping[str, str] | None = None,
) -> Response:
    """Respond with a page out of the cache, which renders it once for all requests of some seconds."""
    register = await context.register()
    frame = _frame(request, context, register.at)

    async def build() -> CachedResponse:
        return CachedResponse.of((await make(frame)).encode(), _HTML)

    page = await context.cache.get((key, frame.formatter.language, status), REGISTER_TTL_S, build)
    headers = {
        "Content-Security-Policy": build_page_csp(context.tiles),
        "Content-Language": frame.formatter.language,
        **build_cache_headers(PAGE_MAX_AGE_S if status < 400 else 0),  # noqa: PLR2004 (an HTTP status)
        **(more or {}),
    }
    return make_conditional_response(request, page, headers, status=status)


def _number(text: str | None, most: int) -> int | None:
    """Parse a number of a query, at most `most`; None if it is none."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        return None
    return min(int(text), most)


@router.get("")
async def index(request: Request, context: Context) -> Response:
    """Show the map and the list of sites."""
    query = request.query_params
    search = SiteSearchQuery(
        query.get("q", "")[:MAX_QUERY_CHARS].strip(),
        query.get("purpose", "")[:MAX_QUERY_CHARS],
        _number(query.get("page"), _MOST_PAGES) or 1,
    )

    async def make(frame: PageContext) -> str:
        return render_index_page(await context.register(), search, frame)

    return await _respond(request, context, ("index", search), make, more=_NEAR_ME)


@router.get("/sites/{site_id}")
async def site(site_id: str, request: Request, context: Context) -> Response:
    """Show the page of a site."""
    try:
        _, found = await context.site(site_id)
    except NotFoundError:
        return await _missing(request, context)

    async def make(frame: PageContext) -> str:
        register, entry = await context.site(site_id)
        data = await context.open_data(register, entry)
        changes = await context.changes(entry.id)
        recent = await context.recent(entry)
        return render_site_page(
            register, entry, PublishedFigures(data, recent), changes.entries[:_LATEST_CHANGES], frame
        )

    return await _respond(request, context, ("site", found.id), make)


@router.get("/changes")
async def changes(request: Request, context: Context) -> Response:
    """Show the history of all sites, or of one (`?site=`)."""
    before = _number(request.query_params.get("before"), 2**62)
    named = request.query_params.get("site")
    register = await context.register()
    try:
        site_key = None if named is None else parse_id(named, "site")
    except NotFoundError:
        return await _missing(request, context)

    async def make(frame: PageContext) -> str:
        entry = None if site_key is None else register.sites.get(site_key)
        return render_changes_page(await context.changes(site_key, before), register, frame, site=entry)

    return await _respond(request, context, ("changes page", site_key, before), make)


@router.get("/about")
async def about(request: Request, context: Context) -> Response:
    """Show the page "How to read it"."""

    async def make(frame: PageContext) -> str:
        return render_about_page(frame)

    return await _respond(request, context, "about", make)


@router.get("/static/{name:path}")
async def static(name: str, request: Request) -> Response:
    """Serve a static file of the register."""
    found = load_static_files().get(name)
    if found is None:
        raise NotFoundError("file", name)
    return make_conditional_response(
        request, found, build_cache_headers(_YEAR_S, immutable="v" in request.query_params)
    )


@router.get("/tiles.pmtiles")
async def tiles(context: Context) -> Response:
    """Serve the operator's archive of map tiles. The map requests ranges of it."""
    file = context.tiles.file
    if file is None or not file.is_file():
        raise NotFoundError("file", "tiles.pmtiles")
    return FileResponse(file, headers=build_cache_headers(_TILES_S), media_type="application/vnd.pmtiles")


async def _missing(request: Request, context: RegisterContext) -> Response:
    async def make(frame: PageContext) -> str:
        return render_missing_page(frame)

    return await _respond(request, context, "missing", make, status=404)
