"""REST for sending many deliveries again, of endpoints of any kind.

Owns the HTTP side only: shapes, statuses, who may call. What wakes the dispatcher does so after the commit.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.api import replay_service, webhook_service
from app.notifications.api.dependencies import DatabaseDependency, EndpointNoun, Reader, Writer
from app.notifications.api.replay_schemas import ReplayCreate, ReplayOut
from app.notifications.api.replay_service import REPLAYS
from app.notifications.delivery.models import Replay
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.ids import parse_id

router = APIRouter(prefix="/v1", tags=["Webhooks"], route_class=StrictRoute)


async def _shown(session: AsyncSession, rows: Sequence[Replay]) -> list[ReplayOut]:
    progress = await replay_service.read_replay_progress(session, rows)
    return [ReplayOut.of(row, progress[row.id]) for row in rows]


@router.get(
    "/replays/{replay}",
    operation_id="get_replay",
    summary="Read a replay",
    responses=document_problems(401, 403, 404),
)
async def get_replay(replay: str, principal: Reader, session: ReadSessionDep) -> ReplayOut:
    """How many of its deliveries are due again by now, and what became of them."""
    found = await replay_service.find_replay(session, parse_id(replay, "replay"), principal.visible())
    return (await _shown(session, [found]))[0]


@router.delete(
    "/replays/{replay}",
    status_code=204,
    operation_id="cancel_replay",
    summary="Cancel a replay",
    responses=document_problems(401, 403, 404, 409),
)
async def cancel_replay(replay: str, principal: Writer, session: WriteSessionDep) -> Response:
    """What is not yet due again stays as it is; what is due goes out. The replay stays in the list."""
    await replay_service.cancel_replay(
        session, parse_id(replay, "replay"), principal.visible(), datetime.now(UTC)
    )
    return Response(status_code=204)


def add_replay_routes(to: APIRouter, noun: EndpointNoun, *, tag: str) -> None:
    """Add replays below an endpoint's path.

    Args:
        to: The router, without a prefix.
        noun: What the endpoints are called in paths.
        tag: Under which tag of the documentation.
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
        """Those that failed since a time, or others; the same bodies and ids, each with its whole schedule.

        They are made due some hundred at a time, the oldest first. For a disabled endpoint they wait until it
        is enabled. Up to five replays of an endpoint may be running (409 `too_many_replays`).
        """
        async with database.write() as session:
            endpoint = await webhook_service.get_endpoint(
                session, parse_id(identifier, noun), principal, noun=noun, hold=True
            )
            made = await replay_service.create_replay(session, principal, endpoint, body, datetime.now(UTC))
            (answer,) = await _shown(session, [made])
        await wake_dispatcher_after(database)
        return answer

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
        asked: Annotated[PageRequest, Depends(REPLAYS.page_request)],
    ) -> Page[ReplayOut]:
        """By default the newest first."""
        endpoint = await webhook_service.get_endpoint(
            session, parse_id(identifier, noun), principal, noun=noun
        )
        rows = await replay_service.list_replays(session, endpoint.id, asked)
        kept, following = REPLAYS.cut(rows, asked)
        return Page(data=await _shown(session, kept), next=following)
