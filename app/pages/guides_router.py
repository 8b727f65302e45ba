"""Serves the guides, and the files of these pages."""

import asyncio
from functools import cache
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.pages.guide_rendering import (
    GUIDES,
    guide_files,
    guide_names,
    list_guides,
    read_guide,
    task_table,
)
from app.pages.page_layout import HTML, draw_page, own_files, page_headers, root_of
from app.platform.kernel.errors import NotFoundError
from app.public_register.cached_responses import Made, answer, kept_for
from app.public_register.register_formats import Writing

router: Final = APIRouter(include_in_schema=False)
_FRESH_S: Final = 300
_ICON_S: Final = 86_400
_YEAR_S: Final = 31_536_000
# The guides are written in English.
_ENGLISH: Final = Writing("en")


@cache
def _index(root: str) -> Made:
    body = draw_page(
        "guides.html",
        _ENGLISH,
        root=root,
        title="Guides",
        path=GUIDES,
        tasks=task_table(),
        guides=list_guides(),
    )
    return Made.of(body.encode(), HTML)


@cache
def _page(name: str, root: str) -> Made:
    guide = read_guide(name)
    body = draw_page(
        "guide.html", _ENGLISH, root=root, title=guide.title, path=f"{GUIDES}/{name}", guide=guide
    )
    return Made.of(body.encode(), HTML)


@cache
def _file(name: str) -> Made:
    path, media_type = guide_files()[name]
    return Made.of(path.read_bytes(), media_type)


@router.get(GUIDES)
async def show_guides(request: Request) -> Response:
    """List the guides."""
    made = await asyncio.to_thread(_index, root_of(request))
    return answer(request, made, page_headers(_ENGLISH, **kept_for(_FRESH_S)))


@router.get(GUIDES + "/{name:path}")
async def show_guide(name: str, request: Request) -> Response:
    """Show a guide, or a file that guides show."""
    if not name:
        return RedirectResponse(f"{root_of(request)}{GUIDES}", status_code=308)
    if name in guide_names():
        made = await asyncio.to_thread(_page, name, root_of(request))
        return answer(request, made, page_headers(_ENGLISH, **kept_for(_FRESH_S)))
    if name in guide_files():
        made = await asyncio.to_thread(_file, name)
        return answer(request, made, kept_for(_FRESH_S))
    # As the files are called, for whoever types what they read.
    plain = name.removesuffix(".md").removesuffix("/README").lower()
    if plain != name and plain in guide_names():
        return RedirectResponse(f"{root_of(request)}{GUIDES}/{plain}", status_code=308)
    raise NotFoundError("guide", name)


@router.get("/favicon.ico")
@router.get("/favicon.svg")
@router.get("/assets/{name}")
async def show_file(request: Request) -> Response:
    """Serve an icon, a style sheet or a script of these pages."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    made = own_files().get(path)
    if made is None:
        raise NotFoundError("file", path)
    if "v" in request.query_params:
        return answer(request, made, kept_for(_YEAR_S, immutable=True))
    return answer(request, made, kept_for(_ICON_S))
