"""Serves the REST API of replays, which send many deliveries of an endpoint again.

Routes wake the dispatcher after the commit.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.api import replay_requests, webhook_service
from app.notifications.api.dependencies import EndpointNoun, Reader, Writer
from app.notifications.api.replay_requests import REPLAYS
from app.notifications.api.replay_schemas import ReplayCreate, ReplayOut
from app.notifications.delivery.models import Replay
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.ids import parse_id

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)


async def _present_replays(session: AsyncSession, rows: Sequence[Replay]) -> list[ReplayOut]:
    progress = await replay_requests.read_replay_progress(session, rows)
    return [ReplayOut.of(row, progress[row.id]) for row in rows]


@router.get("/replays/{replay}", summary="Read a replay")
async def get_replay(replay: str, principal: Reader, session: ReadSessionDep) -> ReplayOut:
    """Includes how many of its deliveries are due again, and their outcomes."""
    found = await replay_requests.find_replay(session, parse_id(replay, "replay"), principal.visible())
    return (await _present_replays(session, [found]))[0]


@router.delete(
    "/replays/{replay}",
    status_code=204,
    summary="Cancel a replay",
    responses=document_problems(409),
)
async def cancel_replay(replay: str, principal: Writer, session: WriteSessionDep) -> Response:
    """Deliveries that are due already are sent; the others stay as they are. The replay stays in the list."""
    await replay_requests.cancel_replay(
        session, parse_id(replay, "replay"), principal.visible(), datetime.now(UTC)
    )
    return Response(status_code=204)


def add_replay_routes(to: APIRouter, noun: EndpointNoun, *, tag: str) -> None:
    """Add the routes that create and list an endpoint's replays.

    Args:
        to: The router, without a prefix.
        noun: The name of endpoints in paths.
        tag: The tag of the routes in the API documentation.
    """

    @to.post(
        f"/v1/{noun}s/{{{noun}}}/replays",
        status_code=202,
        tags=[tag],
        operation_id=f"create_{noun}_replay",
        summary="Send many deliveries again",
        responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
    )
    async def create_replay(
        identifier: Annotated[str, Path(alias=noun)],
        body: ReplayCreate,
        principal: Writer,
        database: DatabaseDependency,
    ) -> ReplayOut:
        """Sends the endpoint's deliveries since a time again, by default the failed ones.

        Bodies and ids stay the same, and each delivery gets a new retry schedule. Vigie makes some hundred
        deliveries due at a time, oldest first. If the endpoint is disabled, they wait until it is enabled. An
        endpoint may have up to five running replays (409 `too_many_replays`).
        """
        async with database.write() as session:
            endpoint = await webhook_service.get_endpoint(
                session, parse_id(identifier, noun), principal, noun=noun, hold=True
            )
            replay = await replay_requests.create_replay(
                session, principal, endpoint, body, datetime.now(UTC)
            )
            (created,) = await _present_replays(session, [replay])
        await wake_dispatcher_after(database)
        return created

    _add_list(to, noun, tag)


def _add_list(to: APIRouter, noun: EndpointNoun, tag: str) -> None:
    @to.get(
        f"/v1/{noun}s/{{{noun}}}/replays",
        tags=[tag],
        operation_id=f"list_{noun}_replays",
        summary="List replays",
        responses=document_problems(401, 403, 404, 422),
    )
    async def list_replays(
        identifier: Annotated[str, Path(alias=noun)],
        principal: Reader,
        session: ReadSessionDep,
        page: Annotated[PageRequest, Depends(REPLAYS.page_request)],
    ) -> Page[ReplayOut]:
        """Newest first by default."""
        endpoint = await webhook_service.get_endpoint(
            session, parse_id(identifier, noun), principal, noun=noun
        )
        rows = await replay_requests.list_replays(session, endpoint.id, page)
        shown, following = REPLAYS.cut(rows, page)
        return Page(data=await _present_replays(session, shown), next=following)
