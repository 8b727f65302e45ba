"""Who looked at data of other people: each such read passes here, once."""

from collections.abc import Sequence
from uuid import UUID

from app.core.auth import Principal
from app.core.observability import get_logger

_log = get_logger(__name__)


async def note_access(principal: Principal, what: str, identifiers: Sequence[UUID]) -> None:
    """Note that a caller was shown data of persons.

    Args:
        principal: Who was.
        what: `members` or `invitations`.
        identifiers: Which ones.
    """
    if identifiers:
        _log.info(
            "persons_read",
            what=what,
            by=f"{principal.kind}:{principal.key_id}",
            organisation_id=str(principal.organisation_id),
            number=len(identifiers),
        )
