"""The register as data: GeoJSON, CSV, JSON, DTPR and Atom. No sign-in, for any web page."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from app.platform.http.contract.problems import document_problems
from app.platform.kernel.ids import parse_id
from app.platform.kernel.spdx_licences import get_licence_url
from app.public_register import atom_feed, csv_tables, dtpr
from app.public_register import register_geojson as geojson
from app.public_register.context import REGISTER_TTL_S, Context, RegisterContext
from app.public_register.page_frame import negotiate_language
from app.public_register.page_texts import WORDS
from app.public_register.recent_schemas import PublicRecent, build_recent_document
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import RegisterSnapshot
from app.public_register.register_schemas import (
    PublicRegister,
    PublicSite,
    build_register_document,
    build_site_document,
)
from app.public_register.register_search import MAX_QUERY_CHARS, SiteSearchQuery, filter_register
from app.public_register.ttl_cache import (
    PAGE_MAX_AGE_S,
    CachedResponse,
    TtlCache,
    build_cache_headers,
    make_conditional_response,
)

router: Final = APIRouter(prefix="/public", tags=["Public register"])
_JSON: Final = "application/json"
_CSV: Final = "text/csv; charset=utf-8"
_encode: Final = msgspec.json.Encoder().encode
_Language = Annotated[
    Literal["en", "fr"] | None,
    Query(alias="lang", description="By default what `Accept-Language` asks for", examples=["fr"]),
]


_Words = Annotated[
    str,
    Query(
        max_length=MAX_QUERY_CHARS,
        description="Words of names, operators and addresses, or a latitude and a longitude",
        examples=["43.6, 1.44"],
    ),
]
_Purpose = Annotated[
    str,
    Query(
        max_length=MAX_QUERY_CHARS,
        description="Only sites with this purpose declared and in force; `undeclared`: those with none",
        examples=["noise"],
    ),
]

# Of one site; its datachains are as long as DTPR has them.
_CHAIN: Final = {
    "site_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
    "attribution": dtpr.ATTRIBUTION,
    "datachains": [{"schema": dtpr.SCHEMA, "datachain": {"type": "device", "version": dtpr.VERSION}}],
}


def _media(
    media_type: str, *, text: bool = False, example: dict[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    schema: dict[str, Any] = {"type": "string"} if text else {"type": "object", "additionalProperties": True}
    shown = {} if example is None else {"example": example}
    return {200: {"content": {media_type: {"schema": schema, **shown}}}}


def _named(site_id: str) -> str:
    """A site's id as it is kept by (NotFoundError): however many ways there are to write it, it is one."""
    return str(parse_id(site_id, "site"))


async def _shown(
    request: Request,
    shelf: TtlCache,
    key: Hashable,
    media_type: str,
    make: Callable[[], Awaitable[bytes]],
    *,
    name: str = "",
    licence: str | None = None,
) -> Response:
    async def made() -> CachedResponse:
        return CachedResponse.of(await make(), media_type)

    found = await shelf.get(("data", key), REGISTER_TTL_S, made)
    # Whoever shows the register on a page of their own may: it is public, and knows of no caller.
    headers = {"Access-Control-Allow-Origin": "*", **build_cache_headers(PAGE_MAX_AGE_S)}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if licence:
        # A table has no place of its own for it (RFC 4946).
        headers["Link"] = f'<{get_licence_url(licence)}>; rel="license"'
    return make_conditional_response(request, found, headers)


@router.get(
    "/register.geojson",
    operation_id="get_register_geojson",
    summary="The register as GeoJSON",
    response_class=Response,
    responses=_media(geojson.MEDIA_TYPE),
)
async def register_geojson(
    request: Request, context: Context, q: _Words = "", purpose: _Purpose = ""
) -> Response:
    """Sites and boxes as points: the middle of the cells of a grid in which they lie (RFC 7946, WGS 84).

    With `q` or `purpose` it has what the list of the register shows of the same search.
    """

    def make(register: RegisterSnapshot) -> bytes:
        return _encode(geojson.build_sites_geojson(list(register.sites.values())))

    return await _found(request, context, SiteSearchQuery(q.strip(), purpose), geojson.MEDIA_TYPE, make)


async def _found(
    request: Request,
    context: RegisterContext,
    asked: SiteSearchQuery,
    media_type: str,
    make: Callable[[RegisterSnapshot], bytes],
    *,
    name: str = "",
) -> Response:
    """Answer with the sites that a search finds. Searches with the same result share a cached document."""
    whole = await context.register()
    register = filter_register(whole, asked) if asked != SiteSearchQuery() else whole
    is_whole = len(register.sites) == len(whole.sites)

    async def made() -> bytes:
        return await asyncio.to_thread(make, register)

    # Whoever asks for many searches pushes out no page.
    shelf = context.shelf if is_whole else context.searches
    key = (media_type, None if is_whole else tuple(register.sites))
    return await _shown(request, shelf, key, media_type, made, name=name)


@router.get(
    "/register.csv",
    operation_id="get_register_csv",
    summary="The register as CSV",
    response_class=Response,
    responses=_media("text/csv", text=True),
)
async def register_csv(
    request: Request, context: Context, q: _Words = "", purpose: _Purpose = ""
) -> Response:
    """A line for each purpose of each site (RFC 4180).

    With `q` or `purpose` it has what the list of the register shows of the same search.
    """

    def make(register: RegisterSnapshot) -> bytes:
        return csv_tables.format_register_csv(register).encode()

    return await _found(
        request, context, SiteSearchQuery(q.strip(), purpose), _CSV, make, name="register.csv"
    )


@router.get(
    "/register.json",
    operation_id="get_register",
    summary="The register as JSON",
    response_model=PublicRegister,
)
async def register_json(
    request: Request, context: Context, q: _Words = "", purpose: _Purpose = ""
) -> Response:
    """All sites with their purposes, boxes, recipients, alerts and refusals.

    With `q` or `purpose` it has what the list of the register shows of the same search.
    """

    def make(register: RegisterSnapshot) -> bytes:
        return build_register_document(register).model_dump_json().encode()

    return await _found(request, context, SiteSearchQuery(q.strip(), purpose), _JSON, make)


@router.get(
    "/changes.atom",
    operation_id="get_register_changes",
    summary="The register's history as a feed",
    response_class=Response,
    responses=_media(atom_feed.MEDIA_TYPE, text=True),
)
async def changes_atom(request: Request, context: Context, lang: _Language = None) -> Response:
    """The last changes of what the register shows (RFC 4287)."""
    return await _feed(request, context, None, lang)


@router.get(
    "/sites/{site_id}/register.geojson",
    operation_id="get_register_site_geojson",
    summary="A site of the register as GeoJSON",
    response_class=Response,
    responses={**_media(geojson.MEDIA_TYPE), **document_problems(404)},
)
async def site_geojson(site_id: str, request: Request, context: Context) -> Response:
    """The site, its boxes, and the cells in which they lie."""
    named = _named(site_id)

    async def make() -> bytes:
        _, site = await context.site(site_id)
        return _encode(geojson.build_site_geojson(site))

    return await _shown(request, context.shelf, ("geojson", named), geojson.MEDIA_TYPE, make)


@router.get(
    "/sites/{site_id}/register.json",
    operation_id="get_register_site",
    summary="A site of the register as JSON",
    response_model=PublicSite,
    responses=document_problems(404),
)
async def site_json(site_id: str, request: Request, context: Context) -> Response:
    """All that is public of a site, but for its figures."""
    named = _named(site_id)

    async def make() -> bytes:
        register, site = await context.site(site_id)
        return build_site_document(site, register.at).model_dump_json().encode()

    return await _shown(request, context.shelf, ("json", named), _JSON, make)


@router.get(
    "/sites/{site_id}/data.csv",
    operation_id="get_register_site_data",
    summary="Open data of a site as CSV",
    response_class=Response,
    responses={**_media("text/csv", text=True), **document_problems(404)},
)
async def site_data(site_id: str, request: Request, context: Context) -> Response:
    """Means over the site's boxes, of the hours of seven days and the days of a year.

    Of purposes whose figures are published, as measured. Sound levels are averaged by energy.
    """
    named = _named(site_id)
    register, site = await context.site(site_id)

    async def make() -> bytes:
        return csv_tables.format_open_data_csv(await context.open_data(register, site)).encode()

    name = f"vigie-{named}.csv"
    return await _shown(request, context.shelf, ("csv", named), _CSV, make, name=name, licence=site.licence)


@router.get(
    "/sites/{site_id}/recent.json",
    operation_id="get_register_site_recent",
    summary="Newest open data of a site",
    response_model=PublicRecent,
    responses=document_problems(404),
)
async def site_recent(site_id: str, request: Request, context: Context) -> Response:
    """The newest value of each published metric, and its last 24 hours, with indices and coverage.

    Means over the site's boxes, a minute old at most. Values with quality flags are left out, but for those
    that came late. Sound levels are averaged by energy.
    """
    named = _named(site_id)
    _, site = await context.site(site_id)

    async def make() -> bytes:
        return build_recent_document(site, await context.recent(site)).model_dump_json().encode()

    return await _shown(request, context.shelf, ("recent", named), _JSON, make, licence=site.licence)


@router.get(
    "/sites/{site_id}/recent.csv",
    operation_id="get_register_site_recent_csv",
    summary="Newest open data of a site as CSV",
    response_class=Response,
    responses={**_media("text/csv", text=True), **document_problems(404)},
)
async def site_recent_csv(site_id: str, request: Request, context: Context) -> Response:
    """The same as CSV, without indices: `span` is `newest` or `quarter` (of an hour)."""
    named = _named(site_id)
    _, site = await context.site(site_id)

    async def make() -> bytes:
        return csv_tables.format_recent_csv(await context.recent(site)).encode()

    name = f"vigie-{named}-recent.csv"
    return await _shown(
        request, context.shelf, ("recent csv", named), _CSV, make, name=name, licence=site.licence
    )


@router.get(
    "/sites/{site_id}/dtpr.json",
    operation_id="get_register_site_dtpr",
    summary="A site in the words of DTPR",
    response_class=Response,
    responses={**_media(_JSON, example=_CHAIN), **document_problems(404)},
)
async def site_dtpr(site_id: str, request: Request, context: Context) -> Response:
    """A datachain of Digital Trust for Places and Routines for each purpose that is in force."""
    named = _named(site_id)

    async def make() -> bytes:
        _, site = await context.site(site_id)
        return _encode(dtpr.build_datachains(site, RegisterFormatter("en")))

    return await _shown(request, context.shelf, ("dtpr", named), _JSON, make)


@router.get(
    "/sites/{site_id}/changes.atom",
    operation_id="get_register_site_changes",
    summary="A site's history as a feed",
    response_class=Response,
    responses={**_media(atom_feed.MEDIA_TYPE, text=True), **document_problems(404)},
)
async def site_changes_atom(
    site_id: str, request: Request, context: Context, lang: _Language = None
) -> Response:
    """The last changes of what the register shows of a site (RFC 4287)."""
    await context.site(site_id)
    return await _feed(request, context, _named(site_id), lang)


async def _feed(
    request: Request, context: RegisterContext, site_id: str | None, lang: str | None
) -> Response:
    writing = RegisterFormatter(negotiate_language(lang, request.headers.get("accept-language", "")))

    base: str = request.app.state.installation.base_url

    async def make() -> bytes:
        register = await context.register()
        title, path, wanted = writing.said(WORDS["register"]), "/public/changes", None
        licence = context.licence
        if site_id is not None:
            _, site = await context.site(site_id)
            title, path, wanted = f"{title}: {site.name}", f"/public/sites/{site.id}/changes", site.id
            licence = site.licence
        entries = (await context.changes(wanted)).entries
        rights = "" if licence is None else writing.licence(licence)
        return atom_feed.build_atom_feed(
            entries, writing, base=base, path=path, title=title, now=register.at, rights=rights
        )

    return await _shown(
        request, context.shelf, ("atom", site_id, writing.language), atom_feed.MEDIA_TYPE, make
    )
