"""Serves the built guides, and the styles, icons and scripts of all other pages but those of the register."""

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.pages.built_guides import GUIDES_PATH, INDEX, find_guides, load_guide
from app.pages.page_layout import build_page_headers, load_page_assets, read_root_path, render_layout
from app.platform.http.contract.cached_response import build_cache_headers, make_conditional_response
from app.platform.kernel.errors import NotFoundError
from app.public_register.register_value_formatter import RegisterFormatter

router: Final = APIRouter(include_in_schema=False)
_FRESH_S: Final = 300
_ICON_S: Final = 86_400
_YEAR_S: Final = 31_536_000
_NOT_BUILT: Final = 503
# The guides are written in English.
_ENGLISH: Final = RegisterFormatter("en")
# The search reads its results' pages (`connect-src`); the style sheet contains its icons (`data:`).
GUIDES_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@router.get(GUIDES_PATH)
async def show_guides(request: Request) -> Response:
    """Redirect to the first page of the guides: its links are relative to the folder."""
    return RedirectResponse(f"{read_root_path(request)}{GUIDES_PATH}/{INDEX}", status_code=308)


@router.get(GUIDES_PATH + "/{name:path}")
async def show_guide(name: str, request: Request) -> Response:
    """Serve a page or a file of the guides."""
    guides = await asyncio.to_thread(find_guides)
    if guides is None:
        return _explain_build(request)
    if target := guides.moved.get(name):
        return RedirectResponse(f"{read_root_path(request)}{GUIDES_PATH}/{target}", status_code=308)
    path = guides.files.get(name)
    if path is None:
        raise NotFoundError("guide", name)
    made = await asyncio.to_thread(load_guide, path, guides.build)
    # Sphinx adds a hash of their content to the addresses of styles and scripts.
    fixed = name.startswith("_static/") and "v" in request.query_params
    fresh = build_cache_headers(_YEAR_S, immutable=True) if fixed else build_cache_headers(_FRESH_S)
    headers = build_page_headers(_ENGLISH, **fresh) | {"Content-Security-Policy": GUIDES_CSP}
    return make_conditional_response(request, made, headers)


def _explain_build(request: Request) -> Response:
    page = render_layout(
        "guides_missing.html",
        _ENGLISH,
        root=read_root_path(request),
        title="The guides are not built",
        path=GUIDES_PATH,
    )
    return HTMLResponse(page, _NOT_BUILT, build_page_headers(_ENGLISH, **{"Cache-Control": "no-store"}))


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
