"""Serves the catalogue of event types, and adds the events to the `webhooks` of the OpenAPI document.

The webhook routes are never called: they describe the clients' own routes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Response
from pydantic import BaseModel, Field
from starlette.routing import BaseRoute

from app.notifications.events.event_examples import EXAMPLES
from app.notifications.events.event_schemas import EVENT_SCHEMAS
from app.notifications.events.event_types import EVENTS, EventEnvelope
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.identity.caller_authentication import require_scope

router: Final = APIRouter(
    prefix="/v1", tags=["Webhooks"], dependencies=[Depends(require_scope("webhooks:read"))]
)


class EventTypeOut(BaseModel):
    """A type of event."""

    type: str = Field(examples=["alert.firing"])
    description: str
    subscribable: bool = Field(description="Whether an endpoint's `events` may contain it")
    event_schema: dict[str, Any] = Field(
        serialization_alias="schema", description="The schema of the native body: JSON Schema 2020-12"
    )
    example: dict[str, Any]


def _present_type(type_: str, body: type[EventEnvelope]) -> EventTypeOut:
    return EventTypeOut(
        type=type_,
        description=(body.__doc__ or "").strip(),
        subscribable=type_ in EVENTS,
        event_schema=body.model_json_schema(mode="serialization"),
        example=EXAMPLES[type_],
    )


_ALL: Final = Page[EventTypeOut](
    data=[_present_type(type_, body) for type_, body in EVENT_SCHEMAS.items()], next=None
)


@router.get("/event-types", summary="List event types", responses=document_problems(403))
async def list_event_types() -> Page[EventTypeOut]:
    """All event types, each with the schema of its body and an example. Fields may be added later."""
    return _ALL


_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "410": {"description": "Gone: Vigie disables the endpoint and stops sending to it"},
    "default": {"description": "Any other status, also a redirect, is a failed attempt, which is retried"},
}


def add_openapi_webhooks(webhooks: APIRouter) -> None:
    """Add the events to an application's OpenAPI `webhooks`."""
    webhooks.routes.extend(_receivers())


@functools.cache
def _receivers() -> Sequence[BaseRoute]:
    # Cached: the same for every application of a process.
    webhooks = APIRouter()
    for type_, body in EVENT_SCHEMAS.items():
        webhooks.add_api_route(
            type_,
            _receiver(type_, body),
            methods=["POST"],
            operation_id=f"receive_{type_.replace('.', '_')}",
            summary=(body.__doc__ or "").strip().partition("\n")[0],
            tags=["Webhooks"],
            status_code=204,
            response_class=Response,
            response_description="Accepted, as with any status from 200 to 299: the event is not sent again",
            responses=_RESPONSES,
            openapi_extra={"security": []},
        )
    return webhooks.routes


def _receiver(type_: str, body: type[EventEnvelope]) -> Callable[..., None]:
    """Build a client's route, whose signature FastAPI reads."""

    def receive(
        event: Annotated[body, Body(examples=[EXAMPLES[type_]])],  # type: ignore[valid-type] # known at run time
        webhook_id: Annotated[str, Header(description="The same on every attempt, replay and endpoint")],
        webhook_timestamp: Annotated[
            int, Header(description="The time of the attempt: seconds since the epoch")
        ],
        webhook_signature: Annotated[
            str, Header(description="`v1,` and base64; during a rotation several, separated by spaces")
        ],
    ) -> None: ...

    receive.__doc__ = (
        f"`{type_}`, signed according to Standard Webhooks 1.0, in the endpoint's `format`: this is `native`."
    )
    return receive
