"""Defines the MCP server: its tools and resources, and where the key of a call comes from."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from app import __version__
from app.client.api_connection import ApiConnection
from app.client.client_errors import ClientError
from app.client.mcp_server import read_tools
from app.client.mcp_server.bounded_answers import WARNING
from app.client.mcp_server.read_tools import MOST_ENTRIES, ApiReader
from app.client.profiles import Profile, check_key

INSTRUCTIONS: Final = (
    "Reads an installation of Vigie: sensors of a city, their values, alerts, indices and public register. "
    "Nothing can be changed. Begin with list_sites and list_boxes; the resources have the catalogues. Quote "
    "coverage, flags and notes with each figure: a value with little coverage or with flags is doubtful. "
    "If a call is refused with not_for_grants, metric_not_granted or outside_grant, read the tool grant. "
    f"{WARNING}"
)
_READ_ONLY: Final = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
_BEARER: Final = "bearer "
_CATALOGUES: Final = {
    "metrics": ("/v1/metrics", "Metrics with their units and bounds"),
    "indices": ("/v1/indices", "Methods of indices with their sources"),
    "purposes": ("/v1/purposes", "Purposes that a site can declare"),
    "event-types": ("/v1/event-catalogue", "Events that boxes recognise"),
}

Limit = Annotated[int, Field(ge=1, le=MOST_ENTRIES, description="The most entries")]
SiteId = Annotated[UUID | None, Field(description="Id of a site (list_sites)")]
Words = Annotated[str | None, Field(max_length=200, description="A part of the name")]
BoxId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Id of a box (list_boxes)")]
Instant = Annotated[str | None, Field(max_length=40, description="RFC 3339. Default: the last 24 hours")]
Severity = Annotated[
    Literal["info", "warning", "critical"] | None, Field(description="Only alerts of this severity")
]


_authorization: ContextVar[str] = ContextVar("authorization", default="")


class KeySource:
    """Opens a connection for a call.

    Args:
        url: The address of the API.
        profile: The key of the process, over standard input; None: each HTTP request brings its own.
    """

    def __init__(self, url: str, profile: Profile | None) -> None:
        self._url = url
        self._profile = profile

    @contextmanager
    def open(self) -> Iterator[ApiReader]:
        """Connect as the caller (ToolError: the request has no key, or the API refused)."""
        try:
            with ApiConnection(self._profile or Profile(self._url, self._read_key())) as api:
                yield api
        except ClientError as error:
            raise ToolError(str(error)) from None

    def _read_key(self) -> str:
        header = _authorization.get()
        if not header.lower().startswith(_BEARER):
            raise ToolError("The request has no API key. Send the header `Authorization: Bearer vg_…`.")
        return check_key(header[len(_BEARER) :])


async def _note_authorization(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Keep the header of a request for its handlers: resources without parameters do not get the request."""
    request = ctx.request
    _authorization.set("" if request is None else request.headers.get("authorization", ""))
    return await call_next(ctx)


def make_server(keys: KeySource) -> MCPServer[Any]:
    """Make a server whose calls use the keys of a source."""
    server: MCPServer[Any] = MCPServer(
        "vigie",
        title="Vigie (read-only)",
        instructions=INSTRUCTIONS,
        version=__version__,
        log_level="WARNING",
        middleware=[_note_authorization],
    )
    # A log of each request would have the addresses, and so filters.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for tool in _make_tools(keys):
        server.add_tool(tool, annotations=_READ_ONLY)
    for name, (path, description) in _CATALOGUES.items():
        _add_catalogue(server, keys, name, path, description)
    return server


def _add_catalogue(server: MCPServer[Any], keys: KeySource, name: str, path: str, description: str) -> None:
    @server.resource(
        f"vigie://catalogue/{name}", name=name, description=description, mime_type="application/json"
    )
    def read() -> str:
        try:
            with keys.open() as api:
                return json.dumps(api.get(path), ensure_ascii=False)
        except ToolError as error:
            raise ResourceError(str(error)) from None


def _make_tools(keys: KeySource) -> list[Callable[..., dict[str, Any]]]:
    def list_sites(q: Words = None, limit: Limit = 50) -> dict[str, Any]:
        """List the sites that your key may read."""
        with keys.open() as api:
            return read_tools.read_sites(api, q=q, limit=limit)

    def list_boxes(site_id: SiteId = None, q: Words = None, limit: Limit = 100) -> dict[str, Any]:
        """List boxes (devices with sensors) with their state and the time of their newest sample."""
        with keys.open() as api:
            return read_tools.read_boxes(api, site_id=site_id, q=q, limit=limit)

    def latest_values(box: BoxId | None = None, site_id: SiteId = None, limit: Limit = 100) -> dict[str, Any]:
        """Read the newest value of each metric, of one box or of all boxes of a site."""
        if (box is None) == (site_id is None):
            raise ToolError("Name either a `box` or a `site_id`.")
        with keys.open() as api:
            return read_tools.read_latest(api, box=box, site_id=site_id, limit=limit)

    def series(
        box: BoxId,
        metric: Annotated[str, Field(max_length=64, description="Such as pm2_5 or laeq (resource metrics)")],
        begin: Instant = None,
        end: Instant = None,
        bucket: Annotated[
            str | None, Field(max_length=16, description="15m, 1h, 1d …; null: raw values with their flags")
        ] = "1h",
    ) -> dict[str, Any]:
        """Read values of a metric over time. Buckets have coverage and the number of flagged values."""
        with keys.open() as api:
            return read_tools.read_series(api, box=box, metric=metric, begin=begin, end=end, bucket=bucket)

    def alerts(
        state: Annotated[Literal["firing", "resolved"] | None, Field(description="Default: both")] = None,
        site_id: SiteId = None,
        severity: Severity = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """List alerts, the newest first, each with the sentence that people read."""
        with keys.open() as api:
            return read_tools.read_alerts(api, state=state, site_id=site_id, severity=severity, limit=limit)

    return [list_sites, list_boxes, latest_values, series, alerts, *_make_further_tools(keys)]


def _make_further_tools(keys: KeySource) -> list[Callable[..., dict[str, Any]]]:
    def indices(
        site_id: Annotated[UUID, Field(description="Id of a site (list_sites)")],
        methods: Annotated[list[str], Field(max_length=20, description="Only these (resource indices)")] = [],  # noqa: B006
        boxes: Annotated[list[str], Field(max_length=50, description="Only these boxes")] = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Read current indices of air, noise and rooms of a site, with class, coverage and source."""
        with keys.open() as api:
            return read_tools.read_indices(api, site_id=site_id, methods=methods, boxes=boxes)

    def incidents(
        state: Annotated[
            Literal["open", "confirmed", "dismissed"] | None, Field(description="Default: all")
        ] = None,
        site_id: SiteId = None,
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """List sound incidents (such as shots that several boxes detected), the newest first."""
        with keys.open() as api:
            return read_tools.read_incidents(api, state=state, site_id=site_id, limit=limit)

    def register(q: Words = None) -> dict[str, Any]:
        """Search the public register: which sites measure what, for which purpose, and who answers for it."""
        with keys.open() as api:
            return read_tools.read_register(api, q=q)

    def grant() -> dict[str, Any]:
        """Read what a key of a grant (`vgg_…`) may read: sites, metrics and times. Other keys: refused."""
        with keys.open() as api:
            return read_tools.read_grant(api)

    return [indices, incidents, register, grant]
