"""Enqueues, reads and cancels back-tests. The worker runs them."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import undefer

from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError, TooManyRequestsError
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Organisation
from app.rules.backtests.models import Backtest
from app.rules.backtests.schemas import BacktestCreate
from app.rules.definitions import rule_queries
from app.rules.definitions.definition_changes import iterate_rule_boxes
from app.rules.definitions.models import Rule, RuleVersion

WAITING_LIMIT: Final = 3
"""The number of unfinished back-tests that an organisation may have."""

_RETRY_S: Final = 30
_UNFINISHED: Final = ("queued", "running")

BACKTESTS: Final = SortOrders("backtests", (uuid_sort_key(Backtest.id),), {"created_at": ()}, "-created_at")


async def enqueue_backtest(session: WriteSession, principal: Principal, body: BacktestCreate) -> UUID:
    """Put a back-test into the queue, and return its id.

    Raises:
        NotFoundError: the caller cannot see such a site, rule, version or box.
        InvalidError: `site_missing` if neither the rule nor the body names a site; `unknown_box_in_rule`.
        TooManyRequestsError: `too_many_backtests`.
    """
    rule, home = await _candidate(session, principal, body)
    against = against_home = None
    compared = body.compare_to or (body.rule_id if body.version is not None else None)
    if compared is not None:
        present = await _rule(session, compared, principal.visible())
        against, against_home = _as_json(present), present.site_id
    site_id = body.site_id or home
    if site_id is None:
        raise InvalidError("The back-test needs a site. Send `site_id`.", code="site_missing")
    owner = await rule_queries.find_site_owner(session, site_id, principal.visible())
    if owner is None:
        raise NotFoundError("site", site_id)
    await _check_boxes(session, site_id, body.boxes)
    # A stored rule on its own site may name boxes that have left: live it ignores them, too.
    if body.rule is not None or home != site_id:
        await _check_named(session, site_id, rule["definition"], "rule" if body.rule else "rule_id")
    if against is not None and against_home != site_id:
        await _check_named(session, site_id, against["definition"], "compare_to")
    await _check_waiting(session, owner)
    backtest = Backtest(
        id=new_id(),
        organisation_id=owner,
        site_id=site_id,
        rule=rule,
        against=against,
        boxes=body.boxes,
        begins_at=body.from_,
        ends_at=body.to,
        created_by=principal.key_id,
    )
    session.add(backtest)
    await session.flush()
    return backtest.id


async def find_backtest(
    session: ReadSession, backtest_id: UUID, visible: TenantScope, *, result: bool = False
) -> Backtest:
    """Read a back-test.

    Args:
        session: to the database.
        backtest_id: the back-test.
        visible: the tenant scope of the caller.
        result: whether to load the result, too.

    Raises:
        NotFoundError: the caller cannot see such a back-test.
    """
    query = select(Backtest).where(Backtest.id == backtest_id, *_owned(visible))
    if result:
        query = query.options(undefer(Backtest.result))
    found = await session.scalar(query)
    if found is None:
        raise NotFoundError("back-test", backtest_id)
    return found


async def read_backtest_page(
    session: ReadSession, visible: TenantScope, page: PageRequest, *, state: str | None, site_id: UUID | None
) -> Sequence[Backtest]:
    """Read a page of back-tests without their results, and one row more.

    Args:
        session: to the database.
        visible: the tenant scope of the caller.
        page: the requested page.
        state: only back-tests in this state.
        site_id: only back-tests of this site.
    """
    query = select(Backtest).where(*_owned(visible))
    if state is not None:
        query = query.where(Backtest.state == state)
    if site_id is not None:
        query = query.where(Backtest.site_id == site_id)
    return (await session.scalars(BACKTESTS.page(query, page))).all()


async def mark_backtest_cancelled(session: WriteSession, backtest_id: UUID, visible: TenantScope) -> bool:
    """Cancel a back-test; False if it was cancelled before. Its worker notices when it renews the lease.

    Raises:
        NotFoundError: the caller cannot see such a back-test.
        ConflictError: `backtest_finished`.
    """
    found = await session.scalar(
        select(Backtest).where(Backtest.id == backtest_id, *_owned(visible)).with_for_update()
    )
    if found is None:
        raise NotFoundError("back-test", backtest_id)
    if found.state == "cancelled":
        return False
    if found.state not in _UNFINISHED:
        raise ConflictError("The back-test is finished and cannot be cancelled.", code="backtest_finished")
    found.state = "cancelled"
    found.finished_at = await session.scalar(select(func.now()))
    found.leased_until = None
    return True


async def _candidate(
    session: WriteSession, principal: Principal, body: BacktestCreate
) -> tuple[dict[str, Any], UUID | None]:
    """Find the rule to try, and its site."""
    if body.rule is not None:
        rule = {
            "id": None,
            "version": None,
            "name": body.rule.name,
            "definition": body.rule.definition(),
        }
        return rule, body.rule.site_id
    assert body.rule_id is not None  # noqa: S101 (the body has one of the two)
    found = await _rule(session, body.rule_id, principal.visible())
    if body.version is None:
        return _as_json(found), found.site_id
    version = await session.get(RuleVersion, (found.id, body.version))
    if version is None:
        raise NotFoundError("version", body.version)
    return _as_json(version), found.site_id


async def _rule(session: WriteSession, rule_id: UUID, visible: TenantScope) -> Rule:
    query = select(Rule).where(Rule.id == rule_id, Rule.deleted_at.is_(None))
    query = query.where(*visible.within(Rule.organisation_id, Rule.site_id))
    found = await session.scalar(query)
    if found is None:
        raise NotFoundError("rule", rule_id)
    return found


def _as_json(rule: Rule | RuleVersion) -> dict[str, Any]:
    identifier = rule.id if isinstance(rule, Rule) else rule.rule_id
    return {
        "id": str(identifier),
        "version": rule.version,
        "name": rule.name,
        "definition": rule.definition,
    }


async def _check_boxes(session: WriteSession, site_id: UUID, boxes: Sequence[str] | None) -> None:
    if boxes is None:
        return
    there = select(Box.id).where(Box.site_id == site_id, Box.deleted_at.is_(None), Box.id.in_(boxes))
    known = set(await session.scalars(there))
    for box in boxes:
        if box not in known:
            raise NotFoundError("box of this site", box)


async def _check_named(session: WriteSession, site_id: UUID, definition: dict[str, Any], within: str) -> None:
    """Refuse a rule that names a box that the site does not have: it would never be known.

    `within`: the field of the body with the rule.
    """
    named = {box: path for path, box in iterate_rule_boxes(definition)}
    missing = (
        named.keys() - await rule_queries.find_site_boxes(session, site_id, named.keys()) if named else ()
    )
    for box in sorted(missing):
        path = ".".join(map(str, named[box]))
        where = f"{within}.{path}" if within == "rule" else f"{within} ({path})"
        raise InvalidError(f"body.{where}: the site has no box {box}.", code="unknown_box_in_rule")


async def _check_waiting(session: WriteSession, organisation_id: UUID) -> None:
    """Check the limit of unfinished back-tests. The row lock serialises concurrent requests."""
    await session.execute(
        select(Organisation.id).where(Organisation.id == organisation_id).with_for_update(key_share=True)
    )
    waiting = await session.scalar(
        select(func.count()).where(
            Backtest.organisation_id == organisation_id, Backtest.state.in_(_UNFINISHED)
        )
    )
    if (waiting or 0) >= WAITING_LIMIT:
        raise TooManyRequestsError(
            f"The organisation has {WAITING_LIMIT} unfinished back-tests. Wait for one, or cancel one.",
            retry_after_s=_RETRY_S,
            code="too_many_backtests",
        )


def _owned(visible: TenantScope) -> tuple[Any, ...]:
    return visible.within(Backtest.organisation_id, Backtest.site_id)
