"""What keeps an organisation from being deleted: how much of it there is, and what to do first."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, ScalarSelect, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.kernel.errors import ConflictError
from app.registry.models import Box, Organisation, Site

# Webhooks and channels belong to a room above this one: only how many there are matters here.
_ENDPOINTS: Final = table("webhook_endpoints", column("organisation_id"), column("kind"))
_WEBHOOK: Final = "webhook"


class _Kind(NamedTuple):
    """One kind of what can be left: what one is called, what several are, and what to do."""

    one: str
    several: str
    first: str


# In the order in which they can be deleted. Rules and alerts are at sites, and go with them.
_KINDS: Final[Mapping[str, _Kind]] = {
    "clients": _Kind("client", "clients", "delete its clients, each in the same way"),
    "boxes": _Kind("box", "boxes", "delete its boxes"),
    "deleted_boxes": _Kind(
        "deleted box whose samples are being removed",
        "deleted boxes whose samples are being removed",
        "wait until those samples are removed, which takes some minutes",
    ),
    "sites": _Kind("site", "sites", "delete its sites, and before each one the rules there"),
    "webhooks": _Kind("webhook", "webhooks", "delete its webhooks"),
    "channels": _Kind("channel", "channels", "delete its channels"),
}


def _number(of: type[Any] | FromClause, *where: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(of).where(*where).scalar_subquery()


async def count_deletion_blockers(session: AsyncSession, organisation_id: UUID) -> dict[str, int]:
    """How much an organisation has of what keeps it, by kind, as far as the caller sees it.

    Kinds that it has none of are left out.
    """
    mine = Box.organisation_id == organisation_id
    own = _ENDPOINTS.c.organisation_id == organisation_id
    counts = {
        "clients": _number(Organisation, Organisation.parent_id == organisation_id),
        "boxes": _number(Box, mine, Box.deleted_at.is_(None)),
        "deleted_boxes": _number(Box, mine, Box.deleted_at.is_not(None)),
        "sites": _number(Site, Site.organisation_id == organisation_id),
        "webhooks": _number(_ENDPOINTS, own, _ENDPOINTS.c.kind == _WEBHOOK),
        "channels": _number(_ENDPOINTS, own, _ENDPOINTS.c.kind != _WEBHOOK),
    }
    found = await session.execute(select(*(count.label(kind) for kind, count in counts.items())))
    return {str(kind): number for kind, number in found.mappings().one().items() if number}


def make_not_empty_error(remaining: Mapping[str, int]) -> ConflictError:
    """The refusal to delete an organisation that has this left; empty: it came just now, or is not shown."""
    if remaining:
        said = ", ".join(
            f"{number} {_KINDS[kind].one if number == 1 else _KINDS[kind].several}"
            for kind, number in remaining.items()
        )
        steps = "; ".join(_KINDS[kind].first for kind in remaining)
        detail = f"The organisation still has {said}. First {steps}."
    else:
        detail = (
            "The organisation still has something that came just now, or that you do not see. Have its "
            "clients, boxes, sites, webhooks and channels deleted, then try again."
        )
    return ConflictError(detail, code="organisation_not_empty", extra={"remaining": dict(remaining)})
