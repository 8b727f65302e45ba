"""Serves the guides, and the styles, icons and scripts of all pages except those of the public register."""

import asyncio
from functools import cache
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.pages.guide_rendering import (
    GUIDES_PATH,
    list_guides,
    map_guide_files,
    map_guide_sources,
    read_guide,
    render_task_table,
)
from app.pages.page_layout import (
    HTML_MEDIA_TYPE,
    build_page_headers,
    load_page_assets,
    read_root_path,
    render_layout,
)
from app.platform.kernel.errors import NotFoundError
from app.public_register.register_value_formatter import RegisterFormatter
from app.public_register.ttl_cache import CachedResponse, build_cache_headers, make_conditional_response

router: Final = APIRouter(include_in_schema=False)
_FRESH_S: Final = 300
_ICON_S: Final = 86_400
_YEAR_S: Final = 31_536_000
# The guides are written in English.
_ENGLISH: Final = RegisterFormatter("en")


@cache
def _index(root: str) -> CachedResponse:
    body = render_layout(
        "guides.html",
        _ENGLISH,
        root=root,
        title="Guides",
        path=GUIDES_PATH,
        tasks=render_task_table(),
        guides=list_guides(),
    )
    return CachedResponse.of(body.encode(), HTML_MEDIA_TYPE)


@cache
def _page(name: str, root: str) -> CachedResponse:
    guide = read_guide(name)
    body = render_layout(
        "guide.html", _ENGLISH, root=root, title=guide.title, path=f"{GUIDES_PATH}/{name}", guide=guide
    )
    return CachedResponse.of(body.encode(), HTML_MEDIA_TYPE)


@cache
def _file(name: str) -> CachedResponse:
    path, media_type = map_guide_files()[name]
    return CachedResponse.of(path.read_bytes(), media_type)


@router.get(GUIDES_PATH)
async def show_guides(request: Request) -> Response:
    """List the guides."""
    made = await asyncio.to_thread(_index, read_root_path(request))
    return make_conditional_response(
        request, made, build_page_headers(_ENGLISH, **build_cache_headers(_FRESH_S))
    )


@router.get(GUIDES_PATH + "/{name:path}")
async def show_guide(name: str, request: Request) -> Response:
    """Show a guide, or serve an image or file of the guides."""
    if not name:
        return RedirectResponse(f"{read_root_path(request)}{GUIDES_PATH}", status_code=308)
    if name in map_guide_sources():
        made = await asyncio.to_thread(_page, name, read_root_path(request))
        return make_conditional_response(
            request, made, build_page_headers(_ENGLISH, **build_cache_headers(_FRESH_S))
        )
    if name in map_guide_files():
        made = await asyncio.to_thread(_file, name)
        return make_conditional_response(request, made, build_cache_headers(_FRESH_S))
    # Guides mention file names such as `docs/rules.md`, which people type.
    plain = name.removesuffix(".md").removesuffix("/README").lower()
    if plain != name and plain in map_guide_sources():
        return RedirectResponse(f"{read_root_path(request)}{GUIDES_PATH}/{plain}", status_code=308)
    raise NotFoundError("guide", name)


@router.get("/favicon.ico")
@router.get("/favicon.svg")
@router.get("/assets/{name}")
async def show_file(request: Request) -> Response:
    """Serve an icon, a style sheet or a script of these pages."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    made = load_page_assets().get(path)
    if made is None:
        raise NotFoundError("file", path)
    if "v" in request.query_params:
        return make_conditional_response(request, made, build_cache_headers(_YEAR_S, immutable=True))
    return make_conditional_response(request, made, build_cache_headers(_ICON_S))
