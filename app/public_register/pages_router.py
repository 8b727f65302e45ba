"""The pages of the register, for people: no sign-in, in English and French, complete without scripts."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.public_register.cached_responses import FRESH_S, Made, answer, kept_for
from app.public_register.context import REGISTER_S, Context, RegisterContext
from app.public_register.history_pages import about_page, changes_page, missing_page
from app.public_register.list_page import index_page
from app.public_register.page_frame import Frame, policy
from app.public_register.page_language import language_of
from app.public_register.register_formats import Writing
from app.public_register.register_search import LONGEST, Asked
from app.public_register.site_page import Figures, site_page
from app.public_register.static_files import files

router: Final = APIRouter(prefix="/public", include_in_schema=False)
_HTML: Final = "text/html; charset=utf-8"
# "Near me" asks the browser for a position; no other page does.
_NEAR_ME: Final = {
    "Permissions-Policy": "camera=(), geolocation=(self), microphone=(), payment=(), usb=()",
}
_YEAR_S: Final = 31_536_000
_LAST: Final = 10
_TILES_S: Final = 3_600
_MOST_PAGES: Final = 10_000
_LONGEST_NUMBER: Final = 15


def _frame(request: Request, context: RegisterContext, now: datetime) -> Frame:
    language = language_of(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    return Frame(Writing(language), now, context.tiles)


async def _shown(
    request: Request,
    context: RegisterContext,
    key: Hashable,
    make: Callable[[Frame], Awaitable[str]],
    *,
    status: int = 200,
    more: Mapping[str, str] | None = None,
) -> Response:
    """A page, which is made once for all who ask within some seconds."""
    register = await context.register()
    frame = _frame(request, context, register.at)

    async def made() -> Made:
        return Made.of((await make(frame)).encode(), _HTML)

    page = await context.shelf.get((key, frame.writing.language, status), REGISTER_S, made)
    headers = {
        "Content-Security-Policy": policy(context.tiles),
        "Content-Language": frame.writing.language,
        **kept_for(FRESH_S if status < 400 else 0),  # noqa: PLR2004 (an HTTP status)
        **(more or {}),
    }
    return answer(request, page, headers, status=status)


def _number(text: str | None, most: int) -> int | None:
    """A number of a query; None where it is none."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        return None
    return min(int(text), most)


@router.get("")
async def index(request: Request, context: Context) -> Response:
    """The map and the list."""
    query = request.query_params
    asked = Asked(
        query.get("q", "")[:LONGEST].strip(),
        query.get("purpose", "")[:LONGEST],
        _number(query.get("page"), _MOST_PAGES) or 1,
    )

    async def make(frame: Frame) -> str:
        return index_page(await context.register(), asked, frame)

    return await _shown(request, context, ("index", asked), make, more=_NEAR_ME)


@router.get("/sites/{site_id}")
async def site(site_id: str, request: Request, context: Context) -> Response:
    """All that is public of a site."""
    try:
        _, found = await context.site(site_id)
    except NotFoundError:
        return await _missing(request, context)

    async def make(frame: Frame) -> str:
        register, entry = await context.site(site_id)
        data = await context.open_data(register, entry)
        changes = await context.changes(entry.id)
        recent = await context.recent(entry)
        return site_page(register, entry, Figures(data, recent), changes.entries[:_LAST], frame)

    return await _shown(request, context, ("site", found.id), make)


@router.get("/changes")
async def changes(request: Request, context: Context) -> Response:
    """The history, of all sites or of one."""
    before = _number(request.query_params.get("before"), 2**62)
    named = request.query_params.get("site")
    register = await context.register()
    try:
        wanted = None if named is None else parse_id(named, "site")
    except NotFoundError:
        return await _missing(request, context)

    async def make(frame: Frame) -> str:
        entry = None if wanted is None else register.sites.get(wanted)
        return changes_page(await context.changes(wanted, before), register, frame, site=entry)

    return await _shown(request, context, ("changes page", wanted, before), make)


@router.get("/about")
async def about(request: Request, context: Context) -> Response:
    """How to read the register."""

    async def make(frame: Frame) -> str:
        return about_page(frame)

    return await _shown(request, context, "about", make)


@router.get("/static/{name:path}")
async def static(name: str, request: Request) -> Response:
    """One of the register's own files."""
    found = files().get(name)
    if found is None:
        raise NotFoundError("file", name)
    return answer(request, found, kept_for(_YEAR_S, immutable="v" in request.query_params))


@router.get("/tiles.pmtiles")
async def tiles(context: Context) -> Response:
    """The operator's archive of tiles, of which the map reads ranges."""
    file = context.tiles.file
    if file is None or not file.is_file():
        raise NotFoundError("file", "tiles.pmtiles")
    return FileResponse(file, headers=kept_for(_TILES_S), media_type="application/vnd.pmtiles")


async def _missing(request: Request, context: RegisterContext) -> Response:
    async def make(frame: Frame) -> str:
        return missing_page(frame)

    return await _shown(request, context, "missing", make, status=404)
