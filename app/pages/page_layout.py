"""Owns the frame of these pages: their template, language, policy, and their own files.

They share the public register's style sheet, and so its colours and type.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Request

from app.platform.config.settings import Settings
from app.public_register.cached_responses import Made
from app.public_register.page_frame import Frame, rendered
from app.public_register.page_language import language_of
from app.public_register.register_formats import Writing
from app.public_register.static_files import FOLDER as REGISTER_FILES

HTML: Final = "text/html; charset=utf-8"
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# In texts quotation marks are escaped: these are attributes of our templates.
_PATHS: Final = re.compile(r'(\b(?:href|src|action)=")/(?!/)')
_TEMPLATES: Final = Path(__file__).parent / "templates"
_STATIC: Final = Path(__file__).parent / "static"
_FILES: Final[Mapping[str, tuple[Path, str]]] = {
    "/favicon.ico": (_STATIC / "favicon.ico", "image/x-icon"),
    "/favicon.svg": (REGISTER_FILES / "icon.svg", "image/svg+xml"),
    "/assets/pages.css": (_STATIC / "pages.css", "text/css; charset=utf-8"),
    "/assets/welcome.js": (_STATIC / "welcome.js", "text/javascript; charset=utf-8"),
}


@cache
def own_files() -> Mapping[str, Made]:
    """The files of these pages, by their path."""
    return MappingProxyType(
        {address: Made.of(path.read_bytes(), kind) for address, (path, kind) in _FILES.items()}
    )


def _versioned(address: str) -> str:
    """An address with a mark that changes when the file does."""
    mark = hashlib.sha256(own_files()[address].body).hexdigest()[:10]
    return f"{address}?v={mark}"


def writing_for(request: Request) -> Writing:
    """The language of a request: that of its address, else the one that the browser prefers."""
    return Writing(language_of(request.query_params.get("lang"), request.headers.get("accept-language", "")))


def root_of(request: Request) -> str:
    """The path at which a proxy has the installation, as its public address says; empty: none."""
    settings: Settings = request.app.state.settings
    return urlsplit(settings.api.base_url).path


def draw_page(template: str, writing: Writing, *, root: str, title: str, path: str, **more: Any) -> str:  # noqa: ANN401 (whatever the template takes)
    """Render a page of ours.

    Args:
        template: Its file.
        writing: Its language.
        root: What stands before each of our paths (`root_of`).
        title: Its title.
        path: Its address.
        **more: What else the template takes.
    """
    page = rendered(
        template,
        Frame(writing, datetime.now(UTC)),
        folder=_TEMPLATES,
        title=title,
        path=path,
        own=_versioned,
        **more,
    )
    return _PATHS.sub(rf"\g<1>{root}/", page) if root else page


def page_headers(writing: Writing, **more: str) -> dict[str, str]:
    """The headers of a page of ours."""
    return {"Content-Security-Policy": POLICY, "Content-Language": writing.language, **more}
