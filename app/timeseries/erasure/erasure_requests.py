"""Records and reads requests to erase data, and computes the hash that proves which rows were removed.

Creating one closes the ingest barrier: no batch is running then, and the next one refuses samples in the
range.

The digest is a hash chain over the identities of the removed rows. It can verify a list of them later,
without storing it:

    chain = sha256(chain || line)      beginning with 32 zero bytes; one line for each identity, in UTF-8

Lines are `samples BOX TIME` and `events BOX TIME TYPE`, times in RFC 3339 with six digits: boxes in the order
of their registration, each with its samples by time, then its events by time and type. A chain can be
continued at any line, so that it does not depend on the slices of the work.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, insert, select

from app.platform.db.database import ReadSession, WriteSession
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError, TooManyRequestsError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import box_repository, site_repository
from app.timeseries.erasure.models import Erasure, ErasureBox
from app.timeseries.erasure.schemas import ErasureCreate

EMPTY_REMOVAL_DIGEST: Final = bytes(32).hex()
"""The chain without lines."""


def extend_removal_digest(chain: str, lines: Iterable[str]) -> str:
    """Append lines to a chain; both chains are hexadecimal."""
    known = bytes.fromhex(chain)
    for line in lines:
        known = hashlib.sha256(known + line.encode()).digest()
    return known.hex()


MAX_UNFINISHED_ERASURES: Final = 20
"""The most unfinished erasures of an organisation."""
MAX_ERASED_RANGES: Final = 100
"""The most erased ranges of a box, in which samples are refused; adjacent ranges count as one."""

_RETRY_S: Final = 30
ERASURES: Final = SortOrders("erasures", (uuid_sort_key(Erasure.id),), {"created_at": ()}, "-created_at")


async def request_box_erasure(
    session: WriteSession, principal: Principal, box_id: str, body: ErasureCreate, now: datetime
) -> Erasure:
    """Create an erasure of a range of a box.

    Args:
        session: in which it is created.
        principal: the caller.
        box_id: the box.
        body: the request.
        now: the time.

    Raises:
        NotFoundError: The box does not exist in the caller's tenant scope.
        InvalidError: `until_in_future`, `range_reversed`.
        ConflictError: `too_many_erased_ranges`.
        TooManyRequestsError: `too_many_erasures`.
    """
    _check_range(body, now)
    await close_ingest_barrier(session)
    box = await box_repository.get_box(session, box_id, principal.visible(), lock=True)
    erasure = _build_erasure(principal, box.organisation_id, box.site_id, body, now)
    erasure.box = box.id
    return await _enqueue(session, erasure, [box.key])


async def request_site_erasure(
    session: WriteSession, principal: Principal, site: str, body: ErasureCreate, now: datetime
) -> Erasure:
    """Create an erasure of a range of all boxes of a site.

    Args:
        session: in which it is created.
        principal: the caller.
        site: the site.
        body: the request.
        now: the time.

    Raises:
        NotFoundError: The site does not exist in the caller's tenant scope.
        InvalidError: `until_in_future`, `range_reversed`.
        ConflictError: `too_many_erased_ranges`.
        TooManyRequestsError: `too_many_erasures`.
    """
    _check_range(body, now)
    await close_ingest_barrier(session)
    row = await site_repository.find_site(session, parse_id(site, "site"), principal.visible(), lock=True)
    if row is None:
        raise NotFoundError("site", site)
    keys = await box_repository.lock_site_box_keys(session, row.id)
    erasure = _build_erasure(principal, row.organisation_id, row.id, body, now)
    return await _enqueue(session, erasure, keys)


def _build_erasure(
    principal: Principal, organisation_id: UUID, site_id: UUID, body: ErasureCreate, now: datetime
) -> Erasure:
    return Erasure(
        id=new_id(),
        organisation_id=organisation_id,
        site_id=site_id,
        box=None,
        begins_at=body.from_,
        ends_at=body.until or now,
        reason=body.reason,
        created_by=principal.key_id,
        created_at=now,
        chain=EMPTY_REMOVAL_DIGEST,
    )


def _check_range(body: ErasureCreate, now: datetime) -> None:
    if body.until is not None and body.until > now:
        raise InvalidError(
            "`until` is in the future. Give a past time, or omit it for now.", code="until_in_future"
        ).at("body.until")
    if body.from_ is not None and body.from_ >= (body.until or now):
        raise InvalidError("`from` must be before `until`.", code="range_reversed").at("body.from")


async def _enqueue(session: WriteSession, erasure: Erasure, keys: Sequence[int]) -> Erasure:
    """Close the range to new samples, and enqueue the erasure.

    Raises:
        ConflictError: `too_many_erased_ranges`.
        TooManyRequestsError: `too_many_erasures`.
    """
    unfinished = await session.scalar(
        select(func.count()).where(
            Erasure.organisation_id == erasure.organisation_id, Erasure.finished_at.is_(None)
        )
    )
    if (unfinished or 0) >= MAX_UNFINISHED_ERASURES:
        raise TooManyRequestsError(
            f"The organisation has {unfinished} unfinished erasures. Retry when one of them is done.",
            code="too_many_erasures",
            retry_after_s=_RETRY_S,
        )
    ranges = await box_repository.add_erased_range(session, keys, erasure.begins_at, erasure.ends_at)
    if max(ranges, default=0) > MAX_ERASED_RANGES:
        raise ConflictError(
            f"The box already has {MAX_ERASED_RANGES} erased ranges, the limit. Erase a range that joins "
            f"some of them into one.",
            code="too_many_erased_ranges",
        )
    erasure.boxes_total = len(keys)
    session.add(erasure)
    await session.flush()
    if keys:
        rows = [{"erasure_id": erasure.id, "box_key": key} for key in keys]
        await session.execute(insert(ErasureBox), rows)
    return erasure


def _visible_erasures(visible: TenantScope, condition: ColumnElement[bool]) -> Select[Erasure]:
    return select(Erasure).where(*visible.within(Erasure.organisation_id, Erasure.site_id), condition)


async def _concerns_box(session: ReadSession, principal: Principal, box_id: str) -> ColumnElement[bool]:
    box = await box_repository.get_box(session, box_id, principal.visible())
    return exists().where(ErasureBox.erasure_id == Erasure.id, ErasureBox.box_key == box.key)


async def _concerns_site(session: ReadSession, principal: Principal, site: str) -> ColumnElement[bool]:
    row = await site_repository.find_site(session, parse_id(site, "site"), principal.visible())
    if row is None:
        raise NotFoundError("site", site)
    return Erasure.site_id == row.id


async def list_erasures(
    session: ReadSession,
    principal: Principal,
    page_request: PageRequest,
    *,
    box: str | None = None,
    site: str = "",
) -> Sequence[Erasure]:
    """List erasures of a box, or of the boxes of a site; one more than requested (NotFoundError).

    Args:
        session: reads them.
        principal: the caller.
        page_request: order, limit and cursor.
        box: the box; None: use `site`.
        site: the site.
    """
    condition = await (
        _concerns_site(session, principal, site) if box is None else _concerns_box(session, principal, box)
    )
    return (
        await session.scalars(ERASURES.page(_visible_erasures(principal.visible(), condition), page_request))
    ).all()


async def find_erasure(
    session: ReadSession, principal: Principal, erasure_id: str, *, box: str | None = None, site: str = ""
) -> Erasure:
    """Find an erasure of a box, or of the boxes of a site (NotFoundError).

    Args:
        session: reads it.
        principal: the caller.
        erasure_id: the erasure.
        box: the box; None: use `site`.
        site: the site.
    """
    condition = await (
        _concerns_site(session, principal, site) if box is None else _concerns_box(session, principal, box)
    )
    statement = _visible_erasures(principal.visible(), condition).where(
        Erasure.id == parse_id(erasure_id, "erasure")
    )
    found = await session.scalar(statement)
    if found is None:
        raise NotFoundError("erasure", erasure_id)
    return found
