"""Publishes the desired configurations of boxes as retained messages, and stores the reported ones.

Owns `box_configs` and the topic `vigie/v1/{box}/config`. A change is committed before it is published. If the
broker is unreachable the change stays due, and `vigie maintain` publishes it later, in the order of changes.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import aiomqtt
from sqlalchemy import ARRAY, Integer, Row, any_, literal, select, text
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
# A row without `desired_at` holds a reported configuration only: there is nothing to publish.
_DUE: Final = text(
    "SELECT b.id, c.box_key, c.desired, c.desired_at FROM box_configs c JOIN boxes b ON b.key = c.box_key "
    "WHERE c.desired_at IS NOT NULL AND (c.published_at IS NULL OR c.published_at < c.desired_at) "
    "ORDER BY c.desired_at LIMIT :most"
)
_PUBLISHED: Final = text(
    "UPDATE box_configs SET published_at = :at WHERE box_key = :key "
    "AND (published_at IS NULL OR published_at < :at)"
)
_log = get_logger(__name__)


async def read_box_config(session: ReadSession | WriteSession, box_key: int) -> BoxConfig:
    """Read a box's desired and reported configuration; every field is None where there is no row."""
    return await session.get(BoxConfig, box_key) or BoxConfig(box_key=box_key)


async def read_desired_configs(session: ReadSession | WriteSession, keys: Sequence[int]) -> dict[int, Any]:
    """Read the desired configurations of boxes, by box key. Boxes without one are left out."""
    query = select(BoxConfig.box_key, BoxConfig.desired).where(
        BoxConfig.box_key == any_(literal(list(keys), ARRAY(Integer))), BoxConfig.desired.is_not(None)
    )
    return {key: desired for key, desired in await session.execute(query)}  # noqa: C416 (rows are no pairs)


async def set_desired_config(
    session: WriteSession, keys: Sequence[int], desired: dict[str, Any] | None, now: datetime
) -> None:
    """Set the desired configuration of boxes. The caller publishes it after the commit.

    Args:
        session: The transaction.
        keys: The keys of the boxes.
        desired: The whole configuration; None removes it.
        now: The time of the change, which orders publications.
    """
    statement = insert(BoxConfig).values(
        [{"box_key": key, "desired": desired, "desired_at": now} for key in keys]
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["box_key"], set_={"desired": desired, "desired_at": now}
        )
    )


async def clear_desired_config(session: WriteSession, keys: Sequence[int], now: datetime) -> None:
    """Remove the desired configurations of deleted boxes: other boxes may get their ids."""
    await session.execute(
        text("UPDATE box_configs SET desired = NULL, desired_at = :now WHERE box_key = ANY(:keys)"),
        {"keys": list(keys), "now": now},
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
                payload = b"" if desired is None else json.dumps(desired).encode()
                await client.publish(f"vigie/v1/{box}/config", payload, qos=1, retain=True)
                await session.execute(_PUBLISHED, {"key": key, "at": desired_at})
    except (aiomqtt.MqttError, OSError) as error:
        _log.warning("configurations_not_published", due=len(due), error=str(error))
        return False
    return True
