"""Serves the register as data: GeoJSON, CSV, JSON, DTPR and Atom.

No sign-in. Any web page may load these data (CORS `*`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from app.platform.http.contract.cached_response import (
    CachedResponse,
    build_cache_headers,
    make_conditional_response,
)
from app.platform.http.contract.problems import document_problems
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.ids import parse_id
from app.platform.runtime.stored_settings import InstallationSettings
from app.public_register import atom_feed, csv_tables, dtpr
from app.public_register import register_geojson as geojson
from app.public_register.page_rendering import negotiate_language
from app.public_register.page_texts import WORDS
from app.public_register.recent_schemas import PublicRecent, build_recent_document
from app.public_register.register_context import REGISTER_TTL_S, Context, RegisterContext
from app.public_register.register_model import RegisterSnapshot
from app.public_register.register_schemas import (
    PublicRegister,
    PublicSite,
    build_register_document,
    build_site_document,
)
from app.public_register.register_search import MAX_QUERY_CHARS, SiteSearchQuery, filter_register
from app.public_register.register_value_formatter import RegisterFormatter
from app.public_register.ttl_cache import PAGE_MAX_AGE_S, TtlCache
from app.registry.spdx_licences import get_licence_url

router: Final = APIRouter(prefix="/public", tags=["Public register"])
_JSON: Final = "application/json"
_CSV: Final = "text/csv; charset=utf-8"
_encode: Final = msgspec.json.Encoder().encode
_Language = Annotated[
    Literal["en", "fr"] | None,
    Query(alias="lang", description="The language. By default that of `Accept-Language`.", examples=["fr"]),
]
_Words = Annotated[
    str,
    Query(
        max_length=MAX_QUERY_CHARS,
        description="Words of names, operators and addresses, or a latitude and a longitude.",
        examples=["43.6, 1.44"],
    ),
]
_Purpose = Annotated[
    str,
    Query(
        max_length=MAX_QUERY_CHARS,
        description="Only sites with this purpose declared and in force. `undeclared`: sites without any.",
        examples=["noise"],
    ),
]


async def _read_search(q: _Words = "", purpose: _Purpose = "") -> SiteSearchQuery:
    return SiteSearchQuery(q.strip(), purpose)


_Search = Annotated[SiteSearchQuery, Depends(_read_search)]

# Shortened: a real datachain has all categories and elements of DTPR.
_DTPR_EXAMPLE: Final = {
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


def _normalise_id(site_id: str) -> str:
    """Return a site's id in its canonical form, so that other notations share its cache entries.

    Raises:
        NotFoundError: The text is not a UUID.
    """
    return str(parse_id(site_id, "site"))


async def _respond(
    request: Request,
    cache: TtlCache,
    key: Hashable,
    media_type: str,
    make: Callable[[], Awaitable[bytes]],
    *,
    name: str = "",
    licence: str | None = None,
) -> Response:
    """Respond with a document out of a cache; `name` makes it a download, `licence` adds a `Link`."""

    async def build() -> CachedResponse:
        return CachedResponse.of(await make(), media_type)

    found = await cache.get(("data", key), REGISTER_TTL_S, build)
    # Any page may load it: the data are public, and do not depend on the caller.
    headers = {"Access-Control-Allow-Origin": "*", **build_cache_headers(PAGE_MAX_AGE_S)}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if licence:
        # CSV has no metadata, so the licence is a header (RFC 4946).
        headers["Link"] = f'<{get_licence_url(licence)}>; rel="license"'
    return make_conditional_response(request, found, headers)


@router.get(
    "/register.geojson",
    operation_id="get_register_geojson",
    summary="The register as GeoJSON",
    response_class=Response,
    responses={**_media(geojson.MEDIA_TYPE), **document_problems(422)},
)
async def register_geojson(request: Request, context: Context, search: _Search) -> Response:
    """Return sites and boxes as points (RFC 7946, WGS 84).

    A point is the middle of a grid cell, not the exact location. `q` and `purpose` filter as the list of the
    register does.
    """

    def make(register: RegisterSnapshot) -> bytes:
        return _encode(geojson.build_sites_geojson(list(register.sites.values())))

    return await _respond_to_search(request, context, search, geojson.MEDIA_TYPE, make)


async def _respond_to_search(
    request: Request,
    context: RegisterContext,
    search: SiteSearchQuery,
    media_type: str,
    make: Callable[[RegisterSnapshot], bytes],
    *,
    name: str = "",
) -> Response:
    """Respond with the sites that a search finds. Searches with the same result share a cached document."""
    whole = await context.register()
    register = filter_register(whole, search) if search != SiteSearchQuery() else whole
    is_whole = len(register.sites) == len(whole.sites)

    async def build() -> bytes:
        return await asyncio.to_thread(make, register)

    # Many different searches must not evict pages.
    cache = context.cache if is_whole else context.search_cache
    key = (media_type, None if is_whole else tuple(register.sites))
    return await _respond(request, cache, key, media_type, build, name=name)


@router.get(
    "/register.csv",
    operation_id="get_register_csv",
    summary="The register as CSV",
    response_class=Response,
    responses={**_media("text/csv", text=True), **document_problems(422)},
)
async def register_csv(request: Request, context: Context, search: _Search) -> Response:
    """Return a row for each purpose of each site (RFC 4180).

    `q` and `purpose` filter as the list of the register does.
    """

    def make(register: RegisterSnapshot) -> bytes:
        return csv_tables.format_register_csv(register).encode()

    return await _respond_to_search(request, context, search, _CSV, make, name="register.csv")


@router.get(
    "/register.json",
    operation_id="get_register",
    summary="The register as JSON",
    response_model=PublicRegister,
    responses=document_problems(422),
)
async def register_json(request: Request, context: Context, search: _Search) -> Response:
    """Return all sites with their purposes, boxes, recipients, alerts and refusals.

    `q` and `purpose` filter as the list of the register does.
    """

    def make(register: RegisterSnapshot) -> bytes:
        return build_register_document(register).model_dump_json().encode()

    return await _respond_to_search(request, context, search, _JSON, make)


@router.get(
    "/changes.atom",
    operation_id="get_register_changes",
    summary="The register's history as a feed",
    response_class=Response,
    responses={**_media(atom_feed.MEDIA_TYPE, text=True), **document_problems(422)},
)
async def changes_atom(request: Request, context: Context, lang: _Language = None) -> Response:
    """Return the latest changes of the register's content (RFC 4287)."""
    return await _feed(request, context, None, lang)


@router.get(
    "/sites/{site_id}/register.geojson",
    operation_id="get_register_site_geojson",
    summary="A site of the register as GeoJSON",
    response_class=Response,
    responses={**_media(geojson.MEDIA_TYPE), **document_problems(404)},
)
async def site_geojson(site_id: str, request: Request, context: Context) -> Response:
    """Return the site, its boxes, and their grid cells."""
    site_key = _normalise_id(site_id)

    async def make() -> bytes:
        _, site = await context.site(site_id)
        return _encode(geojson.build_site_geojson(site))

    return await _respond(request, context.cache, ("geojson", site_key), geojson.MEDIA_TYPE, make)


@router.get(
    "/sites/{site_id}/register.json",
    operation_id="get_register_site",
    summary="A site of the register as JSON",
    response_model=PublicSite,
    responses=document_problems(404),
)
async def site_json(site_id: str, request: Request, context: Context) -> Response:
    """Return all public data of a site, except its figures."""
    site_key = _normalise_id(site_id)

    async def make() -> bytes:
        register, site = await context.site(site_id)
        return build_site_document(site, register.at).model_dump_json().encode()

    return await _respond(request, context.cache, ("json", site_key), _JSON, make)


@router.get(
    "/sites/{site_id}/data.csv",
    operation_id="get_register_site_data",
    summary="Open data of a site as CSV",
    response_class=Response,
    responses={**_media("text/csv", text=True), **document_problems(404)},
)
async def site_data(site_id: str, request: Request, context: Context) -> Response:
    """Return hourly means of 7 days and daily means of 365 days, over the site's boxes.

    Only purposes with published figures are included. Values are raw. Sound levels are averaged by energy.
    """
    site_key = _normalise_id(site_id)
    register, site = await context.site(site_id)

    async def make() -> bytes:
        return csv_tables.format_open_data_csv(await context.open_data(register, site)).encode()

    name = f"vigie-{site_key}.csv"
    return await _respond(
        request, context.cache, ("csv", site_key), _CSV, make, name=name, licence=site.licence
    )


@router.get(
    "/sites/{site_id}/recent.json",
    operation_id="get_register_site_recent",
    summary="Newest open data of a site",
    response_model=PublicRecent,
    responses=document_problems(404),
)
async def site_recent(site_id: str, request: Request, context: Context) -> Response:
    """Return the newest value of each published metric, and its last 24 hours, with indices and coverage.

    Values are means over the site's boxes, at most a minute old. Values with quality flags are left out; late
    values are included. Sound levels are averaged by energy.
    """
    site_key = _normalise_id(site_id)
    _, site = await context.site(site_id)

    async def make() -> bytes:
        return build_recent_document(site, await context.recent(site)).model_dump_json().encode()

    return await _respond(request, context.cache, ("recent", site_key), _JSON, make, licence=site.licence)


@router.get(
    "/sites/{site_id}/recent.csv",
    operation_id="get_register_site_recent_csv",
    summary="Newest open data of a site as CSV",
    response_class=Response,
    responses={**_media("text/csv", text=True), **document_problems(404)},
)
async def site_recent_csv(site_id: str, request: Request, context: Context) -> Response:
    """Return the newest open data as CSV, without indices.

    `span` is `newest`, or `quarter` for means of 15 minutes.
    """
    site_key = _normalise_id(site_id)
    _, site = await context.site(site_id)

    async def make() -> bytes:
        return csv_tables.format_recent_csv(await context.recent(site)).encode()

    name = f"vigie-{site_key}-recent.csv"
    return await _respond(
        request, context.cache, ("recent csv", site_key), _CSV, make, name=name, licence=site.licence
    )


@router.get(
    "/sites/{site_id}/dtpr.json",
    operation_id="get_register_site_dtpr",
    summary="A site as DTPR datachains",
    response_class=Response,
    responses={**_media(_JSON, example=_DTPR_EXAMPLE), **document_problems(404)},
)
async def site_dtpr(site_id: str, request: Request, context: Context) -> Response:
    """Return a datachain of Digital Trust for Places and Routines (DTPR) for each purpose in force."""
    site_key = _normalise_id(site_id)

    async def make() -> bytes:
        _, site = await context.site(site_id)
        return _encode(dtpr.build_datachains(site, RegisterFormatter("en")))

    return await _respond(request, context.cache, ("dtpr", site_key), _JSON, make)


@router.get(
    "/sites/{site_id}/changes.atom",
    operation_id="get_register_site_changes",
    summary="A site's history as a feed",
    response_class=Response,
    responses={**_media(atom_feed.MEDIA_TYPE, text=True), **document_problems(404, 422)},
)
async def site_changes_atom(
    site_id: str, request: Request, context: Context, lang: _Language = None
) -> Response:
    """Return the latest changes of a site's public content (RFC 4287)."""
    await context.site(site_id)
    return await _feed(request, context, _normalise_id(site_id), lang)


async def _feed(
    request: Request, context: RegisterContext, site_id: str | None, lang: str | None
) -> Response:
    formatter = RegisterFormatter(negotiate_language(lang, request.headers.get("accept-language", "")))
    base = get_resource(request.app, InstallationSettings).base_url

    async def make() -> bytes:
        register = await context.register()
        title, path, key = formatter.translate(WORDS["register"]), "/public/changes", None
        licence = context.licence
        if site_id is not None:
            _, site = await context.site(site_id)
            title, path, key = f"{title}: {site.name}", f"/public/sites/{site.id}/changes", site.id
            licence = site.licence
        entries = (await context.changes(key)).entries
        rights = "" if licence is None else formatter.licence(licence)
        return atom_feed.build_atom_feed(
            entries, formatter, base=base, path=path, title=title, now=register.at, rights=rights
        )

    return await _respond(
        request, context.cache, ("atom", site_id, formatter.language), atom_feed.MEDIA_TYPE, make
    )
