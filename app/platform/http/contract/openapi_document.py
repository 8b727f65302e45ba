"""Serves the OpenAPI document."""

import asyncio
import json
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from app.platform.http.contract.cached_response import CachedResponse, make_conditional_response

_HEADERS: Final = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


class OpenApiDocument:
    """The OpenAPI document of an application, encoded and compressed once.

    That takes seconds of CPU, so a thread does it, and other calls are answered meanwhile.

    Args:
        app: The application.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._encoding: asyncio.Task[CachedResponse] | None = None

    async def respond(self, request: Request) -> Response:
        """Respond with the document, or with 304 if the client has it."""
        if self._encoding is None:
            self._encoding = asyncio.create_task(asyncio.to_thread(self._encode))
        # A client that disconnects does not end it for the others.
        encoded = await asyncio.shield(self._encoding)
        return make_conditional_response(request, encoded, _HEADERS)

    def _encode(self) -> CachedResponse:
        document = json.dumps(self._app.openapi(), ensure_ascii=False, separators=(",", ":"))
        return CachedResponse.of(document.encode(), "application/json")


def serve_openapi_document(app: FastAPI) -> None:
    """Serve the document at its address, instead of FastAPI's route, which encodes it at each call."""
    routes, path = app.router.routes, str(app.openapi_url)
    (place,) = (at for at, route in enumerate(routes) if isinstance(route, Route) and route.path == path)
    routes[place] = Route(path, OpenApiDocument(app).respond, include_in_schema=False)
