"""Serves the style sheets and scripts of the console from memory."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fastapi import APIRouter, Request, Response

from app.platform.http.contract.cached_response import (
    CachedResponse,
    build_cache_headers,
    make_conditional_response,
)
from app.platform.kernel.errors import NotFoundError
from app.presentation.design_tokens import read_design_tokens

router: Final = APIRouter(include_in_schema=False)
STATIC_PATH: Final = "/console/static"
_FOLDER: Final = Path(__file__).parent.parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_STYLES: Final = "console.css"
_HOUR_S: Final = 3_600
_YEAR_S: Final = 31_536_000


@cache
def load_console_files() -> Mapping[str, CachedResponse]:
    """Load all files, by their path below the folder."""
    paths = sorted(path for path in _FOLDER.rglob("*") if path.suffix in _TYPES)
    contents = {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in paths}
    contents[_STYLES] = read_design_tokens().encode() + contents[_STYLES]
    return MappingProxyType(
        {name: CachedResponse.of(body, _TYPES[Path(name).suffix]) for name, body in contents.items()}
    )


@cache
def build_console_url(name: str) -> str:
    """Return the address of a file. Its hash lets browsers cache the file for a year."""
    digest = hashlib.sha256(load_console_files()[name].body).hexdigest()[:10]
    return f"{STATIC_PATH}/{name}?v={digest}"


@router.get(STATIC_PATH + "/{name:path}")
async def show_console_file(name: str, request: Request) -> Response:
    """Serve a file."""
    made = load_console_files().get(name)
    if made is None:
        raise NotFoundError("file", name)
    seconds = _YEAR_S if "v" in request.query_params else _HOUR_S
    return make_conditional_response(
        request, made, build_cache_headers(seconds, immutable="v" in request.query_params)
    )
