"""Serves Swagger UI from Vigie's own files under a strict Content-Security-Policy.

The page has one script (`swagger.js`), which the policy allows by its hash, and one style sheet
(`swagger.css`), which makes the page fit a phone.
"""

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse

_FILES: Final = "/static-offline-docs"
_SCRIPT: Final = Path(__file__).with_name("swagger.js").read_text(encoding="utf-8")
_STYLE: Final = Path(__file__).with_name("swagger.css").read_text(encoding="utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' 'sha256-{_HASH}'",
        # Swagger UI writes styles into the page.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_PARAMETERS: Final[dict[str, Any]] = {
    "deepLinking": True,
    "displayRequestDuration": True,
    "filter": True,
    "persistAuthorization": True,
    "showCommonExtensions": True,
    "showExtensions": True,
    # With all of 230 operations open the page takes four seconds to show.
    "docExpansion": "none",
    # Each response shows its schema; a list of all schemas took another second.
    "defaultModelsExpandDepth": -1,
}
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Swagger UI</title>
<link rel="icon" href="{root}/favicon.ico" sizes="32x32">
<link rel="icon" href="{root}/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{root}{files}/swagger-ui.css">
<style>{style}</style>
</head>
<body>
<div id="swagger-ui" data-document="{root}{document}" data-parameters="{parameters}"></div>
<script src="{root}{files}/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body>
</html>
"""


def add_docs_pages(app: FastAPI) -> None:
    """Add `/docs`, and redirect `/redoc` to it."""

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui(request: Request) -> HTMLResponse:
        page = _PAGE.format(
            title=escape(app.title),
            root=escape(request.scope.get("root_path", "")),
            files=_FILES,
            document=app.openapi_url,
            parameters=escape(json.dumps(_PARAMETERS)),
            script=_SCRIPT,
            style=_STYLE,
        )
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"})

    # ReDoc took 40 s and a core to show a document of this size.
    @app.get("/docs/", include_in_schema=False)
    @app.get("/redoc", include_in_schema=False)
    async def redirect_to_docs(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs", status_code=308)
