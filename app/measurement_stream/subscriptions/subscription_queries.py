"""Queries and locks subscriptions and their batches for the API, within the caller's tenant scope."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, select, update

from app.measurement_stream.subscriptions.models import MeasurementSubscription, StoredBatch
from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import BrokerAccount

SUBSCRIPTIONS: Final = SortOrders(
    "measurement_subscriptions",
    (uuid_sort_key(MeasurementSubscription.id),),
    {"created_at": (), "name": (name_sort_key(MeasurementSubscription.name),)},
    "created_at",
)
BATCHES: Final = SortOrders(
    "measurement_batches",
    (uuid_sort_key(StoredBatch.id),),
    {"created_at": (instant_sort_key(StoredBatch.created_at),)},
    "-created_at",
)


def _visible(visible: TenantScope) -> Select[MeasurementSubscription]:
    return select(MeasurementSubscription).where(*visible.within(MeasurementSubscription.organisation_id))


async def list_subscriptions(
    session: ReadSession,
    visible: TenantScope,
    page: PageRequest,
    *,
    organisation: UUID | None,
    state: str | None,
) -> Sequence[MeasurementSubscription]:
    """Read a page of subscriptions, and one more if there is a next page.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page: The requested page.
        organisation: Only of this organisation.
        state: Only in this state.
    """
    query = _visible(visible)
    if organisation is not None:
        query = query.where(MeasurementSubscription.organisation_id == organisation)
    if state is not None:
        query = query.where(MeasurementSubscription.state == state)
    return (await session.scalars(SUBSCRIPTIONS.page(query, page))).all()


async def get_subscription(
    session: ReadSession | WriteSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> MeasurementSubscription:
    """Read a subscription, and lock it if it will be changed (NotFoundError)."""
    query = _visible(visible).where(MeasurementSubscription.id == identifier)
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError("measurement subscription", identifier)
    return row


async def count_subscriptions(session: WriteSession, organisation: UUID) -> int:
    """Count the subscriptions of an organisation."""
    query = select(func.count()).select_from(MeasurementSubscription)
    query = query.where(MeasurementSubscription.organisation_id == organisation)
    return (await session.execute(query)).scalar_one()


async def has_broker_account(session: WriteSession, organisation: UUID) -> bool:
    """Return whether an organisation has an account at the broker, with which it can read messages."""
    query = select(exists().where(BrokerAccount.organisation_id == organisation))
    return bool(await session.scalar(query))


async def list_batches(
    session: ReadSession, subscription: UUID, page: PageRequest, *, state: str | None
) -> Sequence[StoredBatch]:
    """Read a page of a subscription's batches, and one more if there is a next page."""
    query = select(StoredBatch).where(StoredBatch.subscription_id == subscription)
    if state is not None:
        query = query.where(StoredBatch.state == state)
    return (await session.scalars(BATCHES.page(query, page))).all()


async def get_batch(
    session: ReadSession | WriteSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> StoredBatch:
    """Read a batch, and lock it if it will be changed (NotFoundError)."""
    query = select(StoredBatch).where(
        StoredBatch.id == identifier, *visible.within(StoredBatch.organisation_id)
    )
    row = await session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise NotFoundError("measurement batch", identifier)
    return row


async def find_tests_since(
    session: WriteSession, subscription: UUID, since: datetime
) -> tuple[int, datetime | None]:
    """Count the tests of a subscription since a time, and find the first of them."""
    query = select(func.count(), func.min(StoredBatch.created_at)).where(
        StoredBatch.subscription_id == subscription, StoredBatch.is_test, StoredBatch.created_at > since
    )
    count, first = (await session.execute(query)).one()
    return count, first


async def withdraw_pending_batches(session: WriteSession, subscription: UUID) -> None:
    """Delete the batches that are to be sent first: their items are read again, from the cursor on."""
    await session.execute(
        delete(StoredBatch).where(
            StoredBatch.subscription_id == subscription,
            StoredBatch.state == "pending",
            ~StoredBatch.is_replay,
        )
    )
    await withdraw_replays(session, subscription)


async def withdraw_replays(session: WriteSession, subscription: UUID) -> None:
    """Give up the replays and tests that are to be sent."""
    await session.execute(
        update(StoredBatch)
        .where(
            StoredBatch.subscription_id == subscription, StoredBatch.state == "pending", StoredBatch.is_replay
        )
        .values(state="failed")
    )
