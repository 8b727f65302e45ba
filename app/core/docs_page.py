"""The pages of the API's documentation: Swagger UI and ReDoc, from our own files and under a strict policy.

Each page has a script of its own, which its Content-Security-Policy names by its hash.
"""

import base64
import hashlib
import re
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse

_FILES: Final = "/static-offline-docs"
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_COMMON: Final = (
    "default-src 'none'",
    # Both write styles into the page. ReDoc's badge, which it would fetch from its maker's site, stays away.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)


def _guarded(page: HTMLResponse, *more: str) -> HTMLResponse:
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in _INLINE.findall(bytes(page.body))
    ]
    scripts = " ".join(["script-src 'self'", *hashes])
    page.headers["Content-Security-Policy"] = "; ".join([*_COMMON, scripts, *more])
    page.headers["Cache-Control"] = "no-cache"
    return page


def add_docs(app: FastAPI) -> None:
    """Add `/docs` and `/redoc`."""

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return _guarded(
            get_swagger_ui_html(
                openapi_url=f"{root}{app.openapi_url}",
                title=f"{app.title} - Swagger UI",
                swagger_js_url=f"{root}{_FILES}/swagger-ui-bundle.js",
                swagger_css_url=f"{root}{_FILES}/swagger-ui.css",
                swagger_favicon_url=f"{root}{_FILES}/favicon.png",
                swagger_ui_parameters=app.swagger_ui_parameters,
            )
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return _guarded(
            get_redoc_html(
                openapi_url=f"{root}{app.openapi_url}",
                title=f"{app.title} - ReDoc",
                redoc_js_url=f"{root}{_FILES}/redoc.standalone.js",
                redoc_favicon_url=f"{root}{_FILES}/favicon.png",
                with_google_fonts=False,
            ),
            # Its search runs in a worker that it makes of itself.
            "worker-src blob:",
        )
