"""Publishes the desired configurations of boxes as retained messages, and stores the reported ones.

Owns `box_configs` and the topic `vigie/v1/{box}/config`. A change is committed before it is published. If the
broker is unreachable the change stays due, and `vigie maintain` publishes it later, in the order of changes.

In an installation with several brokers each edge publishes all configurations to its own
(`app.edge.configuration_publisher`), with the queries in the second half of this module. `published_at` then
says that the first of them has it.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import aiomqtt
from sqlalchemy import ARRAY, ColumnElement, Integer, Row, any_, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.platform.broker.broker_client_factory import make_broker_client
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.advisory_lock_keys import CONFIG_PUBLISHER
from app.platform.db.database import Database, RawConnection, ReadSession, WriteSession
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import BoxConfig

MAX_BYTES: Final = 16_384
"""The largest configuration as JSON, desired or reported. Boxes have little memory."""

_TIMEOUT_S: Final = 3.0
_BATCH_SIZE: Final = 500
# The resolution of PostgreSQL's times.
_MICROSECOND: Final = timedelta(microseconds=1)
# A row without `desired_at` holds a reported configuration only: there is nothing to publish.
# For a deleted box, the configuration of the box that has its id now: a late removal must not remove that.
_DUE: Final = text(
    "SELECT b.id, c.box_key, CASE WHEN b.deleted_at IS NULL THEN c.desired ELSE (SELECT live.desired "
    "FROM boxes other JOIN box_configs live ON live.box_key = other.key "
    "WHERE other.id = b.id AND other.deleted_at IS NULL) END AS desired, c.desired_at "
    "FROM box_configs c JOIN boxes b ON b.key = c.box_key "
    "WHERE c.desired_at IS NOT NULL AND (c.published_at IS NULL OR c.published_at < c.desired_at) "
    "ORDER BY c.desired_at LIMIT :most"
)
_PUBLISHED: Final = text(
    "UPDATE box_configs SET published_at = :at WHERE box_key = :key "
    "AND (published_at IS NULL OR published_at < :at)"
)
_HORIZON: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
# By id, not by key: another box may have the id of a deleted one, and a configuration of its own.
_CHANGED: Final = """
SELECT changed.box_key, box.id, changed.desired_at, live.desired::text AS desired
FROM box_configs changed JOIN boxes box ON box.key = changed.box_key
LEFT JOIN (boxes other JOIN box_configs live ON live.box_key = other.key)
    ON other.id = box.id AND other.deleted_at IS NULL
WHERE changed.desired_xid >= $1 ORDER BY changed.desired_at, changed.box_key
"""
_ALL_DESIRED: Final = """
SELECT c.box_key, b.id, c.desired::text FROM box_configs c JOIN boxes b ON b.key = c.box_key
WHERE c.box_key > $1 AND c.desired IS NOT NULL AND b.deleted_at IS NULL ORDER BY c.box_key LIMIT $2
"""
_DESIRED_OF: Final = """
SELECT b.id, c.desired::text FROM boxes b JOIN box_configs c ON c.box_key = b.key
WHERE b.id = ANY ($1::text[]) AND b.deleted_at IS NULL AND c.desired IS NOT NULL
"""
_UNPUBLISHED: Final = """
SELECT box_key, desired_at FROM box_configs
WHERE desired_at IS NOT NULL AND (published_at IS NULL OR published_at < desired_at)
"""
_MARK_PUBLISHED: Final = """
UPDATE box_configs c SET published_at = p.at
FROM (
    SELECT f.key, f.at FROM unnest($1::int[], $2::timestamptz[]) AS f (key, at)
    JOIN box_configs l ON l.box_key = f.key AND (l.published_at IS NULL OR l.published_at < f.at)
    ORDER BY f.key
) AS p
WHERE c.box_key = p.key AND (c.published_at IS NULL OR c.published_at < p.at)
"""
_log = get_logger(__name__)


class ChangedConfig(NamedTuple):
    """A configuration that was changed, and what its box id is to have now.

    Attributes:
        box_key: The key of the box.
        box_id: Its id.
        desired_at: The time of the change.
        payload: The message of the box that has this id now; empty if no configuration is desired for it.
    """

    box_key: int
    box_id: str
    desired_at: datetime
    payload: bytes


def build_config_topic(box_id: str) -> str:
    """Return the topic of a box's desired configuration."""
    return f"vigie/v1/{box_id}/config"


def encode_config(desired: Mapping[str, Any] | None) -> bytes:
    """Encode a desired configuration as a message; empty for None, which removes the retained message."""
    return b"" if desired is None else json.dumps(desired).encode()


def _encode_text(desired: str | None) -> bytes:
    return b"" if desired is None else encode_config(json.loads(desired))


async def read_box_config(session: ReadSession | WriteSession, box_key: int) -> BoxConfig:
    """Read a box's desired and reported configuration; every field is None where there is no row."""
    return await session.get(BoxConfig, box_key) or BoxConfig(box_key=box_key)


async def read_desired_configs(session: ReadSession | WriteSession, keys: Sequence[int]) -> dict[int, Any]:
    """Read the desired configurations of boxes, by box key. Boxes without one are left out."""
    query = select(BoxConfig.box_key, BoxConfig.desired).where(
        BoxConfig.box_key == any_(literal(list(keys), ARRAY(Integer))), BoxConfig.desired.is_not(None)
    )
    return {key: desired for key, desired in await session.execute(query)}  # noqa: C416 (rows are no pairs)


def _make_change_time(now: datetime) -> ColumnElement[datetime]:
    """Make the time of a change: `now`, but later than the last change and its publication.

    `now` may be earlier: a bulk operation has one time for all its slices, and clocks of hosts differ. A
    change that is not later than `published_at` would never be published.
    """
    return func.greatest(
        literal(now, BoxConfig.desired_at.type),
        BoxConfig.desired_at + _MICROSECOND,
        BoxConfig.published_at + _MICROSECOND,
    )


async def set_desired_config(
    session: WriteSession, keys: Sequence[int], desired: dict[str, Any] | None, now: datetime
) -> None:
    """Set the desired configuration of boxes. The caller publishes it after the commit.

    Args:
        session: The transaction.
        keys: The keys of the boxes.
        desired: The whole configuration; None removes it.
        now: The time of the change, which orders publications. If the last change is later, the time after it
            is stored.
    """
    statement = insert(BoxConfig).values(
        [{"box_key": key, "desired": desired, "desired_at": now} for key in keys]
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["box_key"], set_={"desired": desired, "desired_at": _make_change_time(now)}
        )
    )


async def clear_desired_config(session: WriteSession, keys: Sequence[int], now: datetime) -> None:
    """Remove the desired configurations of deleted boxes: other boxes may get their ids.

    With one broker, a box is purged only after its removal is published. A box without a configuration need
    not wait for that.
    """
    await session.execute(
        update(BoxConfig)
        .where(BoxConfig.box_key == any_(literal(list(keys), ARRAY(Integer))), BoxConfig.desired.is_not(None))
        .values(desired=None, desired_at=_make_change_time(now))
        .execution_options(synchronize_session=False)
    )


async def store_reported_configs(
    connection: RawConnection, reported: Mapping[int, Mapping[str, Any]], *, now: datetime
) -> None:
    """Store the reported configurations by box key, in the caller's transaction."""
    if not reported:
        return
    keys = sorted(reported)
    await connection.execute(
        """
        INSERT INTO box_configs AS c (box_key, reported, reported_at)
        SELECT key, config::jsonb, $3 FROM unnest($1::int[], $2::text[]) AS r (key, config)
        ON CONFLICT (box_key) DO UPDATE SET reported = excluded.reported, reported_at = excluded.reported_at
        """,
        keys,
        [json.dumps(reported[key]) for key in keys],
        now,
    )


async def publish_due_configs(database: Database, broker: BrokerSettings) -> bool:
    """Publish every due configuration as a retained message. False if the broker is unreachable."""
    # Due configurations of all tenants are published, whichever request triggers it.
    with run_with_full_scope():
        return await _publish_due(database, broker)


async def publish_configs_within(database: Database, broker: BrokerSettings, seconds: float) -> None:
    """Publish due configurations until the time is over; `vigie maintain` publishes the rest."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while loop.time() < ends and await publish_due_configs(database, broker):
        async with database.read() as reader:
            if not (await reader.execute(_DUE, {"most": 1})).all():
                return


async def _publish_due(database: Database, broker: BrokerSettings) -> bool:
    async with database.read() as reader:
        if not (await reader.execute(_DUE, {"most": 1})).all():
            return True
    # One publisher at a time: the slower of two could overwrite a newer configuration with an older one.
    async with database.write() as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CONFIG_PUBLISHER})
        due = (await session.execute(_DUE, {"most": _BATCH_SIZE})).all()
        return await _publish(session, broker, due)


async def _publish(
    session: WriteSession, broker: BrokerSettings, due: Sequence[Row[*tuple[Any, ...]]]
) -> bool:
    try:
        name = f"vigie-config-{new_id().hex[-12:]}"
        async with make_broker_client(broker, timeout_s=_TIMEOUT_S, identifier=name) as client:
            for box, key, desired, desired_at in due:
                await client.publish(build_config_topic(box), encode_config(desired), qos=1, retain=True)
                await session.execute(_PUBLISHED, {"key": key, "at": desired_at})
    except (aiomqtt.MqttError, OSError) as error:
        _log.warning("configurations_not_published", due=len(due), error=str(error))
        return False
    return True


async def read_config_horizon(connection: RawConnection) -> int:
    """Return the number of a transaction: `read_changed_configs` since it misses nothing from now on."""
    horizon: int = await connection.fetchval(_HORIZON)
    return horizon


async def read_changed_configs(connection: RawConnection, since: int) -> list[ChangedConfig]:
    """Read the configurations that transactions from `since` on have changed, in the order of changes.

    Args:
        connection: To the database.
        since: A result of `read_config_horizon`. Changes shortly before it may be included.
    """
    rows = await connection.fetch(_CHANGED, since)
    return [
        ChangedConfig(row["box_key"], row["id"], row["desired_at"], _encode_text(row["desired"]))
        for row in rows
    ]


async def read_all_desired(
    connection: RawConnection, after_key: int, limit: int
) -> tuple[int, dict[str, bytes]]:
    """Read a slice of all desired configurations, in the order of keys.

    Args:
        connection: To the database.
        after_key: The key at which the last slice ended; 0: the first slice.
        limit: The largest number of configurations.

    Returns:
        The key at which the slice ends, and box id → message; empty after the last one.
    """
    rows = await connection.fetch(_ALL_DESIRED, after_key, limit)
    return (rows[-1][0] if rows else after_key), {row[1]: _encode_text(row[2]) for row in rows}


async def read_desired_of(connection: RawConnection, box_ids: Sequence[str]) -> dict[str, bytes]:
    """Read the messages of these boxes: box id → message. Boxes without one are left out."""
    rows = await connection.fetch(_DESIRED_OF, list(box_ids))
    return {identifier: _encode_text(desired) for identifier, desired in rows}


async def list_unpublished_configs(connection: RawConnection) -> dict[int, datetime]:
    """List the configurations that no broker has yet: box key → time of the change."""
    return {row["box_key"]: row["desired_at"] for row in await connection.fetch(_UNPUBLISHED)}


async def mark_configs_published(connection: RawConnection, published: Mapping[int, datetime]) -> None:
    """Record that a broker has the configurations: box key → time of the change that was published."""
    if published:
        keys = sorted(published)
        await connection.execute(_MARK_PUBLISHED, keys, [published[key] for key in keys])
