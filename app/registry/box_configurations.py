"""Boxes' configurations: what is desired goes out retained, what is reported comes in.

Owns `box_configs` and the topic `vigie/v1/{box}/config`. A change is committed first and published then; what
could not be published (the broker was away) stays due, and the maintenance role publishes it later, in the
order of the changes.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import aiomqtt
from sqlalchemy import ARRAY, Integer, Row, any_, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from app.platform.broker.connection import make_broker_client
from app.platform.config.settings import BrokerSettings
from app.platform.db.advisory_locks import CONFIG_PUBLISHER
from app.platform.db.database import Database, RawConnection, ReadSession, WriteSession
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import BoxConfig

MAX_BYTES: Final = 16_384
"""Of a configuration as JSON, desired or reported: boxes have small memories."""

_PATIENCE_S: Final = 3.0
_AT_ONCE: Final = 500
# A box may have reported what it has without anything ever being desired: of that nothing is due.
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
    """What is known of a box's configuration; all None where nothing is."""
    return await session.get(BoxConfig, box_key) or BoxConfig(box_key=box_key)


async def read_desired_configs(session: ReadSession | WriteSession, keys: Sequence[int]) -> dict[int, Any]:
    """The desired configurations of boxes by their keys, where there are any."""
    query = select(BoxConfig.box_key, BoxConfig.desired).where(
        BoxConfig.box_key == any_(literal(list(keys), ARRAY(Integer))), BoxConfig.desired.is_not(None)
    )
    return {key: desired for key, desired in await session.execute(query)}  # noqa: C416 (rows are no pairs)


async def set_desired_config(
    session: WriteSession, keys: Sequence[int], desired: dict[str, Any] | None, now: datetime
) -> None:
    """Say what boxes should be configured to; None: nothing more. Publish after the commit."""
    statement = insert(BoxConfig).values(
        [{"box_key": key, "desired": desired, "desired_at": now} for key in keys]
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["box_key"], set_={"desired": desired, "desired_at": now}
        )
    )


async def clear_desired_config(session: WriteSession, keys: Sequence[int], now: datetime) -> None:
    """Take back what was desired of boxes that go: their ids may become other boxes'."""
    await session.execute(
        text("UPDATE box_configs SET desired = NULL, desired_at = :now WHERE box_key = ANY(:keys)"),
        {"keys": list(keys), "now": now},
    )


async def store_reported_configs(
    connection: RawConnection, reported: Mapping[int, Mapping[str, Any]], *, now: datetime
) -> None:
    """Store what boxes (by their keys) say of their configuration, in the caller's transaction."""
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
    """Publish, retained, every configuration that is due. False when the broker could not be reached."""
    # Whatever is due goes out, whoever asks for it.
    with run_with_full_scope():
        return await _publish_due(database, broker)


async def publish_configs_within(database: Database, broker: BrokerSettings, seconds: float) -> None:
    """Publish what is due for as long as there is time; the maintenance role publishes the rest."""
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
    # One publisher at a time: of two, the slower one could put an older configuration over a newer one.
    async with database.write() as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CONFIG_PUBLISHER})
        due = (await session.execute(_DUE, {"most": _AT_ONCE})).all()
        return await _publish(session, broker, due)


async def _publish(
    session: WriteSession, broker: BrokerSettings, due: Sequence[Row[*tuple[Any, ...]]]
) -> bool:
    try:
        name = f"vigie-config-{new_id().hex[-12:]}"
        async with make_broker_client(broker, timeout_s=_PATIENCE_S, identifier=name) as client:
            for box, key, desired, desired_at in due:
                payload = b"" if desired is None else json.dumps(desired).encode()
                await client.publish(f"vigie/v1/{box}/config", payload, qos=1, retain=True)
                await session.execute(_PUBLISHED, {"key": key, "at": desired_at})
    except (aiomqtt.MqttError, OSError) as error:
        _log.warning("configurations_not_published", due=len(due), error=str(error))
        return False
    return True
