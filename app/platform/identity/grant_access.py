"""Opens routes to callers with the key of a grant, and counts what they read.

A grant's key opens no route by default. A route that limits its answer to the grant says so:

    @router.get("/boxes/{box}/latest")
    @open_to_grants("latest")
    async def get_box_latest(…) -> Response:

The route reports what it shows with `count_granted_values`, or part by part with `record_granted_part`. A use
is stored before the answer is sent, so that nothing leaves without a record.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from app.platform.db.database import ReadSession
from app.platform.kernel.errors import ForbiddenError

if TYPE_CHECKING:
    from app.platform.identity.caller_authentication import Principal

GrantUseKind = Literal[
    "grant", "catalogue", "sites", "boxes", "latest", "readings", "export", "stream", "sensorthings"
]
"""What a call with a grant's key read."""
_MARK: Final = "grant_use_kind"


@dataclass(slots=True)
class GrantUse:
    """What one call, or a part of it, reads by a grant.

    Attributes:
        grant_id: the grant.
        key_id: its key.
        values: number of values that are shown.
        sites, metrics: of these values.
    """

    grant_id: UUID
    key_id: UUID
    values: int = 0
    sites: set[UUID] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class GrantUseRecorder:
    """Stores uses of grants.

    Attributes:
        record: stores a use of a kind; `calls` is 0 for further values of a call that was stored before.
    """

    record: Callable[[GrantUse, GrantUseKind, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _RunningUse:
    use: GrantUse
    recorder: GrantUseRecorder


_running: Final[ContextVar[_RunningUse | None]] = ContextVar("vigie_grant_use", default=None)


def begin_grant_use(
    principal: "Principal", route: object, find_recorder: Callable[[], GrantUseRecorder]
) -> None:
    """Begin to count what a caller reads by a grant; do nothing for all other callers.

    Args:
        principal: the caller.
        route: the route of the request.
        find_recorder: returns where uses are stored.

    Raises:
        ForbiddenError: `not_for_grants`: the route does not limit its answer to a grant.
    """
    grant = principal.tenant_scope.grant
    if grant is None:
        _running.set(None)
        return
    if not hasattr(getattr(route, "endpoint", None), _MARK):
        raise ForbiddenError(
            "The key of a grant reads measurements alone, and this call is not among those that accept it. "
            "The guide to grants lists them; `GET /v1/grant` shows what the grant includes.",
            code="not_for_grants",
        )
    use = GrantUse(grant.grant_id, principal.key_id)
    _running.set(_RunningUse(use, find_recorder()))


def count_granted_values(
    number: int, *, sites: Iterable[UUID | None] = (), metrics: Iterable[str] = ()
) -> None:
    """Count values that the running call shows; does nothing unless a grant's key called.

    Args:
        number: of values.
        sites: of the boxes that measured them, where they are known.
        metrics: of the values.
    """
    running = _running.get()
    if running is None:
        return
    running.use.values += number
    if number:
        running.use.sites.update(site for site in sites if site is not None)
        running.use.metrics.update(metrics)


async def record_granted_part(
    kind: GrantUseKind, number: int, *, sites: Iterable[UUID], metrics: Iterable[str]
) -> None:
    """Store values before they are sent as a part of a file or a stream; only if a grant's key called.

    Args:
        kind: what is sent.
        number: of values.
        sites: of the boxes that measured them.
        metrics: of the values.

    Raises:
        UnauthorisedError: `grant_ended`: the part may not be sent.
    """
    running = _running.get()
    if running is not None:
        part = GrantUse(running.use.grant_id, running.use.key_id, number, set(sites), set(metrics))
        await running.recorder.record(part, kind, 0)


def open_to_grants[**P, Answer](
    kind: GrantUseKind,
) -> Callable[[Callable[P, Awaitable[Answer]]], Callable[P, Awaitable[Answer]]]:
    """Open a route to the keys of grants. The route must limit its answer to `TenantScope.grant`.

    Args:
        kind: what the route shows.
    """

    def mark(endpoint: Callable[P, Awaitable[Answer]]) -> Callable[P, Awaitable[Answer]]:
        @wraps(endpoint)
        async def call(*arguments: P.args, **named: P.kwargs) -> Answer:
            answer = await endpoint(*arguments, **named)
            running = _running.get()
            if running is not None:
                await _end_session(named)
                await running.recorder.record(running.use, kind, 1)
            return answer

        setattr(call, _MARK, kind)
        return call

    return mark


async def _end_session(arguments: dict[str, Any]) -> None:
    """Return the connection of a route's session: storing the use takes another one of the pool."""
    session = arguments.get("session")
    if isinstance(session, ReadSession):
        await session.close()
