"""The migrations on a real server: up, down, up again, and what they leave is what the models say."""

import asyncio
import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from app.alerts import models as alerts
from app.catalogue.metrics import CATALOGUE
from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import Base
from app.platform.db.schema_upgrade import downgrade, find_head_revision, upgrade
from app.registry import models as registry
from app.rules.definitions import models as rules
from app.standalone.private_postgres import PrivatePostgres
from app.timeseries.storage import models as timeseries
from tests.integration.notifications.helpers import until


async def fresh(postgres: PrivatePostgres) -> DatabaseSettings:
    return DatabaseSettings(url=await postgres.create_database(f"migrate_{uuid.uuid4().hex[:8]}"))


async def test_down_to_nothing_and_up_again(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "base")
    await asyncio.to_thread(upgrade, settings)
    await asyncio.to_thread(upgrade, settings)
    connection = await asyncpg.connect(settings.url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == find_head_revision()
    await connection.close()


async def test_two_migrators_at_once_do_no_harm(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "base")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            "migrate",
            env={"VIGIE_DATABASE__URL": settings.url, "PATH": "/usr/bin:/bin"},
        )
        for _ in range(2)
    ]
    assert [await process.wait() for process in processes] == [0, 0]


# SQLAlchemy knows no number of a transaction, which only the audit log's triggers use.
@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
async def test_the_models_and_the_schema_agree(database_url: str) -> None:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        # Indexes and constraints stand in the migrations alone; `metrics` and `registry` have no model.
        wanted = {"add_table", "add_column", "remove_column", "modify_type", "modify_nullable"}
        found = []
        for difference in compare_metadata(context, Base.metadata):
            steps = difference if isinstance(difference, list) else [difference]
            found += [str(step) for step in steps if step[0] in wanted]
        return found

    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_published_views_are_as_declared_and_check_the_reader(database_url: str) -> None:
    rooms = {
        "alerts": alerts.PUBLISHED_VIEWS,
        "registry": registry.PUBLISHED_VIEWS,
        "rules": rules.PUBLISHED_VIEWS,
        "timeseries": timeseries.PUBLISHED_VIEWS,
    }
    assert all(name.startswith(f"{room}_") for room, views in rooms.items() for name in views)
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "SELECT c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relkind = 'v' AND 'security_invoker=true' = ANY (c.reloptions)"
        " AND c.relnamespace = 'public'::regnamespace"
        # These are of one room alone, and join what its entities have (`migrations.open_data_views`).
        " AND c.relname NOT LIKE 'sensorthings%' GROUP BY c.relname"
    )
    await connection.close()
    declared = {name: columns for views in rooms.values() for name, columns in views.items()}
    assert {row["relname"]: row["columns"] for row in rows} == declared


async def test_each_metric_has_its_column_and_its_row(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    columns = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'samples'"
    )
    types = {name: kind for name, kind in columns}  # noqa: C416 (records are not pairs to `dict`)
    rows = {row["name"]: row for row in await connection.fetch("SELECT * FROM metrics")}
    assert rows.keys() == {metric.name for metric in CATALOGUE}
    for metric in CATALOGUE:
        assert types[metric.name] == metric.storage
        row = rows[metric.name]
        assert (row["unit"], row["minimum"], row["maximum"]) == (metric.unit, metric.minimum, metric.maximum)
    await connection.close()


async def test_small_tables_of_the_standard_apis_have_statistics(postgres: PrivatePostgres) -> None:
    """Without them requests of OGC API and NGSI-LD needed more than ten seconds for thousands of boxes."""
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0061")
    connection = await asyncpg.connect(settings.url)
    await connection.execute(
        "INSERT INTO organisations (id, name, platform, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'City', false, now(), now())"
    )
    await asyncio.to_thread(upgrade, settings)
    rows = await connection.fetch(
        "SELECT relname, reltuples, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relname IN ('organisations', 'sites', 'site_purposes', 'grants')"
    )
    await connection.close()
    # Of rows: not the -1 of a table that was never analysed.
    assert {row["relname"]: row["reltuples"] for row in rows} == {
        **dict.fromkeys(("sites", "site_purposes", "grants"), 0),
        "organisations": 1,
    }
    # The first changed row exceeds it.
    assert all("autovacuum_analyze_threshold=0" in row["reloptions"] for row in rows)


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "migrate"]
    environment = {"VIGIE_DATABASE__URL": url, "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 (ours)


async def test_the_former_program_leaves_a_newer_schema_as_it_is(postgres: PrivatePostgres) -> None:
    url = (await fresh(postgres)).url
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT oldest_program FROM alembic_version") == "0046"
    await connection.execute("UPDATE alembic_version SET version_num = '9998'")
    done = await asyncio.to_thread(migrate, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "9998, newer than this program, which can run on it" in done.stdout
    await connection.execute("UPDATE alembic_version SET oldest_program = '9997'")
    done = await asyncio.to_thread(migrate, url)
    assert done.returncode == 1
    assert done.stderr.startswith("vigie: The database is at 9998, and serves programs from revision 9997 on")
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9998"
    await connection.close()


async def test_a_migration_that_cannot_get_its_lock_fails_soon(postgres: PrivatePostgres) -> None:
    settings = (await fresh(postgres)).model_copy(update={"lock_timeout_s": 0.2})
    connection = await asyncpg.connect(settings.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE boxes IN ACCESS SHARE MODE")
        failed = None
        try:
            await asyncio.to_thread(downgrade, settings, "base")
        except Exception as error:  # noqa: BLE001 (SQLAlchemy's and asyncpg's names for it differ)
            failed = error
        assert "lock timeout" in str(failed)
    # The newest one that changes this table; those after it are gone, each in a transaction of its own.
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0057"
    await connection.close()


async def test_a_migration_gives_way_to_a_transaction_that_waits_for_it(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0041")
    connection = await asyncpg.connect(settings.url)
    async with connection.transaction():
        await connection.execute("SELECT FROM boxes")
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, settings, "0042"))
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'boxes'::regclass)"
        await until(lambda: connection.fetchval(waits), 5)
        # The migration has this table, and wants the other one.
        await connection.execute("SELECT FROM sites")
    await migrating
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0042"
    await connection.close()


async def test_what_waits_in_a_group_is_not_lost_on_the_way_back(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0007")
    connection = await asyncpg.connect(settings.url)
    organisation, endpoint, group, event = (uuid.uuid4() for _ in range(4))
    await connection.execute("INSERT INTO organisations VALUES ($1, 'o', false, now(), now())", organisation)
    await connection.execute(
        "INSERT INTO webhook_endpoints"
        " (id, organisation_id, url, events, secret, enabled, created_at, updated_at)"
        " VALUES ($1, $2, 'https://example.com/', '{*}', 'whsec_', true, now(), now())",
        *(endpoint, organisation),
    )
    await asyncio.to_thread(upgrade, settings, "0008")
    assert await connection.fetchval("SELECT grouping IS NULL AND enabled FROM webhook_endpoints")
    await connection.execute(
        "INSERT INTO delivery_groups (id, organisation_id, endpoint_id, key, due_at, created_at)"
        " VALUES ($1, $2, $3, '{}', now() + interval '1 hour', now())",
        *(group, organisation, endpoint),
    )
    await connection.execute(
        "INSERT INTO group_events VALUES ($1, $2, 1, 3, 3, true, $3, 'alert.firing', '{}', now())",
        *(group, uuid.uuid4(), event),
    )
    await asyncio.to_thread(downgrade, settings, "0007")
    row = await connection.fetchrow("SELECT *, due_at <= now() AS due FROM deliveries")
    assert row is not None
    assert (row["endpoint_id"], row["event_id"], row["organisation_id"]) == (endpoint, event, organisation)
    assert (row["type"], row["body"], row["state"], row["due"]) == ("alert.firing", b"{}", "pending", True)
    await asyncio.to_thread(upgrade, settings)
    await connection.close()


async def a_rule(connection: asyncpg.Connection, condition: dict[str, Any], **columns: Any) -> uuid.UUID:  # noqa: ANN401 (values of columns)
    """A rule as the schema before typed conditions has it."""
    row = {"severity": "warning", "enabled": True, "version": 3, "deleted_at": None, **columns}
    identifier = uuid.uuid4()
    await connection.execute(
        "INSERT INTO rules (id, organisation_id, site_id, name, severity, condition, enabled, version,"
        " created_at, updated_at, deleted_at)"
        " SELECT $1, organisation_id, id, 'Dust', $2, $3, $4, $5, $6, $6, $7 FROM sites",
        identifier,
        row["severity"],
        json.dumps(condition),
        row["enabled"],
        row["version"],
        datetime(2026, 3, 1, tzinfo=UTC),
        row["deleted_at"],
    )
    return identifier


async def a_site(connection: asyncpg.Connection) -> None:
    organisation = uuid.uuid4()
    await connection.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'Ville', now(), now())",
        organisation,
    )
    await connection.execute(
        "INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at,"
        " updated_at) VALUES ($1, $2, 'Rue', 'street', 'Europe/Paris', 1.4, 43.6, now(), now())",
        uuid.uuid4(),
        organisation,
    )


async def the_row(
    connection: asyncpg.Connection, table: str, column: str, identifier: uuid.UUID
) -> asyncpg.Record:
    (row,) = await connection.fetch(f"SELECT * FROM {table} WHERE {column} = $1", identifier)  # noqa: S608 (names of ours)
    return row


async def test_rules_keep_their_conditions_when_these_get_types(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0004")
    connection = await asyncpg.connect(settings.url)
    await a_site(connection)
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"}
    bare = {"metric": "no2", "operator": "<", "threshold": 5}
    kept = await a_rule(connection, condition)
    deleted = await a_rule(connection, bare, deleted_at=datetime(2026, 3, 2, tzinfo=UTC), enabled=False)
    await asyncio.to_thread(upgrade, settings, "0005")
    around: dict[str, Any] = {
        "scope": None,
        "active": None,
        "max_age": "PT1H",
        "escalations": [],
        "remind_every": None,
    }
    once = {"repeat": 1, "keep_firing_for": "PT0S"}
    for identifier, stored, gone in (
        (kept, {**condition, **once}, False),
        (deleted, {**bare, "clear": 5, "for": "PT0S", **once}, True),
    ):
        definition = {"levels": [{"severity": "warning", "condition": stored}], **around}
        row = await the_row(connection, "rules", "id", identifier)
        assert json.loads(row["definition"]) == definition
        assert (row["description"], row["dry_run"], row["version"]) == (None, False, 3)
        version = await the_row(connection, "rule_versions", "rule_id", identifier)
        assert json.loads(version["definition"]) == definition
        assert (version["version"], version["name"], version["deleted"]) == (3, "Dust", gone)
        assert (version["created_at"], version["created_by"]) == (datetime(2026, 3, 1, tzinfo=UTC), None)
    # A change of what the pipeline keeps in memory is stamped; nothing else is.
    before = await connection.fetchval("SELECT version FROM registry")
    await connection.execute(
        "UPDATE rules SET definition = definition, dry_run = dry_run WHERE id = $1", kept
    )
    await connection.execute("UPDATE rules SET description = 'What to do' WHERE id = $1", kept)
    assert await connection.fetchval("SELECT version FROM registry") == before + 1
    assert await connection.fetchval("SELECT revision FROM rules WHERE id = $1", kept) == before + 1
    await asyncio.to_thread(downgrade, settings, "0004")
    back = await the_row(connection, "rules", "id", kept)
    assert json.loads(back["condition"]) == condition
    assert (back["severity"], back["enabled"], back["deleted_at"]) == ("warning", True, None)
    await connection.execute("UPDATE rules SET condition = condition WHERE id = $1", kept)
    assert await connection.fetchval("SELECT version FROM registry") == before + 2
    await connection.close()


async def test_what_an_older_program_cannot_read_does_not_fire_there(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0004")
    connection = await asyncpg.connect(settings.url)
    await a_site(connection)
    plain = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT0S"}
    rules = [await a_rule(connection, plain) for _ in range(6)]
    await asyncio.to_thread(upgrade, settings, "0005")
    high = {"severity": "critical", "condition": {**plain, "threshold": 50}}
    silent = {"no_data": "PT15M", "for": "PT0S", "repeat": 1, "keep_firing_for": "PT0S"}
    changes: list[tuple[list[str], Any]] = [
        (["levels"], [{"severity": "info", "condition": plain}, high]),
        (["levels", "0", "condition"], silent),
        (["levels", "0", "condition"], {**plain, "function": "mean", "window": "PT1H"}),
        (["scope"], {"tags": ["school"]}),
        (["active"], [{"from": "22:00", "to": "06:00"}]),
    ]
    for identifier, (path, value) in zip(rules, changes, strict=False):
        await connection.execute(
            "UPDATE rules SET definition = jsonb_set(definition, $2, $3) WHERE id = $1",
            identifier,
            path,
            json.dumps(value),
        )
    await connection.execute("UPDATE rules SET dry_run = true WHERE id = $1", rules[5])
    await asyncio.to_thread(downgrade, settings, "0004")
    rows = [await the_row(connection, "rules", "id", identifier) for identifier in rules]
    assert [(row["severity"], row["enabled"], row["deleted_at"] is not None) for row in rows] == [
        ("info", True, False),
        ("warning", True, True),
        ("warning", True, True),
        ("warning", False, False),
        ("warning", False, False),
        ("warning", False, False),
    ]
    assert [json.loads(row["condition"]) for row in rows[::3]] == [plain, plain]
    # What was put aside is there again once the program can read it.
    assert json.loads(rows[1]["condition"]) == silent
    await asyncio.to_thread(upgrade, settings, "0005")
    read = "SELECT definition -> 'levels' -> 0 -> 'condition' FROM rules WHERE id = $1"
    assert json.loads(await connection.fetchval(read, rules[1])) == silent
    await connection.close()


async def an_alert(connection: asyncpg.Connection, **columns: Any) -> uuid.UUID:  # noqa: ANN401 (values of columns)
    """An alert of the only rule on the only box; other columns as given."""
    row = {
        "id": uuid.uuid4(),
        "metric": "pm2_5",
        "severity": "warning",
        "state": "firing",
        "value": 31.0,
        "threshold": 25.0,
        "clear": 20.0,
        "pending_since": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "started_at": datetime(2026, 3, 1, 10, 5, tzinfo=UTC),
        "sequence": 1,
        "created_at": datetime(2026, 3, 1, 10, 6, tzinfo=UTC),
        "updated_at": datetime(2026, 3, 1, 10, 6, tzinfo=UTC),
        **columns,
    }
    box = () if "box" in columns else ("box", "box_key")
    await connection.execute(
        f"INSERT INTO alerts (organisation_id, site_id, rule_id, rule_version, {', '.join((*box, *row))})"  # noqa: S608 (names of ours)
        f" SELECT r.organisation_id, r.site_id, r.id, 1, {'b.id, b.key, ' if box else ''}"
        f"{', '.join(f'${place}' for place in range(1, len(row) + 1))} FROM rules r, boxes b",
        *row.values(),
    )
    identifier: uuid.UUID = row["id"]
    return identifier


async def a_watched_box(connection: asyncpg.Connection) -> None:
    await a_site(connection)
    await connection.execute(
        "INSERT INTO boxes (id, organisation_id, site_id, interval_s, ack, password_hash, created_at,"
        " updated_at) SELECT 'box-0001', organisation_id, id, 60, false, '', now(), now() FROM sites"
    )
    await connection.execute(
        "INSERT INTO rules (id, organisation_id, site_id, name, severity, definition, enabled, dry_run,"
        " version, created_at, updated_at) SELECT gen_random_uuid(), organisation_id, id, 'Dust', 'warning',"
        " '{}', true, false, 1, now(), now() FROM sites"
    )


async def test_alerts_get_a_timeline_of_what_is_known(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0006")
    connection = await asyncpg.connect(settings.url)
    await a_watched_box(connection)
    key = uuid.uuid4()
    await connection.execute(
        "INSERT INTO api_keys (id, organisation_id, name, hint, hash, scopes, platform, created_at)"
        " SELECT $1, id, 'night shift', 'vg_', '', '{*}', false, now() FROM organisations",
        key,
    )
    noticed = datetime(2026, 3, 1, 10, 20, tzinfo=UTC)
    ended = datetime(2026, 3, 1, 11, tzinfo=UTC)
    resolved = await an_alert(
        connection,
        state="resolved",
        acknowledged_at=noticed,
        acknowledged_by=key,
        resolved_at=ended,
        resolved_value=19.0,
        resolution="cleared",
        sequence=3,
    )
    firing = await an_alert(connection)
    await asyncio.to_thread(upgrade, settings, "0007")
    for identifier in (resolved, firing):
        row = await the_row(connection, "alerts", "id", identifier)
        assert (row["told_severity"], row["notified"], row["dry_run"]) == ("warning", True, False)
        assert (row["suppressed"], row["escalate_at"], row["remind_at"]) == (None, None, None)
        assert json.loads(row["cause"])["path"] == "levels/0/condition"
    lines = await connection.fetch(
        "SELECT * FROM alert_timeline WHERE alert_id = $1 ORDER BY position", resolved
    )
    assert [(line["kind"], line["at"], line["value"], line["actor"]) for line in lines] == [
        ("fired", datetime(2026, 3, 1, 10, 5, tzinfo=UTC), 31, None),
        ("acknowledged", noticed, None, "night shift"),
        ("resolved", ended, 19, None),
    ]
    cause = json.loads(lines[0]["cause"])
    assert (cause["time"], cause["value"], cause["threshold"]) == ("2026-03-01T10:05:00.000000Z", 31, 25)
    assert json.loads(lines[2]["data"]) == {"reason": "cleared"}
    assert (await the_row(connection, "alert_timeline", "alert_id", firing))["kind"] == "fired"
    await asyncio.to_thread(upgrade, settings)
    await connection.close()


async def test_alerts_that_an_older_program_cannot_read_go_and_the_others_stay(
    postgres: PrivatePostgres,
) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0006")
    connection = await asyncpg.connect(settings.url)
    await a_watched_box(connection)
    await asyncio.to_thread(upgrade, settings, "0007")
    kept = await an_alert(connection, told_severity="warning", assignee="Lab", suppressed="{}")
    muted = await an_alert(connection, state="resolved", resolved_at=datetime.now(UTC), resolution="cleared")
    await an_alert(connection, box=None, box_key=None)
    await an_alert(connection, state="resolved", metric=None, value=None)
    await an_alert(connection, state="resolved", dry_run=True)
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_alerts_firing"):
        await an_alert(connection, box=None, box_key=None)
    with capture_logs() as logs:
        await asyncio.to_thread(downgrade, settings, "0006")
    assert [entry["alerts"] for entry in logs if entry["event"] == "alerts_removed"] == [3]
    rows = await connection.fetch("SELECT * FROM alerts")
    assert {row["id"] for row in rows} == {kept, muted}
    assert "suppressed" not in rows[0]
    await asyncio.to_thread(upgrade, settings)
    assert await connection.fetchval("SELECT count(*) FROM alert_timeline") == 3
    await connection.close()


async def a_delivery(
    connection: asyncpg.Connection, endpoint: uuid.UUID, *, state: str, attempts: int, **columns: str
) -> uuid.UUID:
    """A delivery of an endpoint, with so many attempts."""
    identifier = uuid.uuid4()
    row = {"id": identifier, "event_id": uuid.uuid4(), "state": state, "attempt_count": attempts, **columns}
    names = ", ".join(row)
    places = ", ".join(f"${place}" for place in range(2, len(row) + 2))
    await connection.execute(
        f"INSERT INTO deliveries (endpoint_id, organisation_id, type, body, created_at, {names})"  # noqa: S608 (names of ours)
        f" SELECT id, organisation_id, 'alert.firing', '{{}}', now(), {places} FROM webhook_endpoints"
        " WHERE id = $1",
        *(endpoint, *row.values()),
    )
    endpoint_column = "endpoint_id, " if columns else ""
    endpoint_value = "$2, " if columns else ""
    for number in range(1, attempts + 1):
        await connection.execute(
            f"INSERT INTO delivery_attempts (id, delivery_id, {endpoint_column}number, started_at,"  # noqa: S608 (names of ours)
            f" duration_ms, reason) VALUES (gen_random_uuid(), $1, {endpoint_value}{number}, now(), 5,"
            " 'http_error')",
            *((identifier, endpoint) if columns else (identifier,)),
        )
    return identifier


async def test_webhooks_and_their_log_become_ways_out_and_come_back(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0010")
    connection = await asyncpg.connect(settings.url)
    organisation = uuid.uuid4()
    await connection.execute("INSERT INTO organisations VALUES ($1, 'o', false, now(), now())", organisation)
    endpoints = [uuid.uuid4(), uuid.uuid4()]
    for endpoint, enabled in zip(endpoints, (True, False), strict=True):
        await connection.execute(
            "INSERT INTO webhook_endpoints (id, organisation_id, url, events, secret, enabled, created_at,"
            " updated_at) VALUES ($1, $2, 'https://example.com/', '{*}', 'whsec_c2VjcmV0', $3, now(), now())",
            *(endpoint, organisation, enabled),
        )
    deliveries = [
        await a_delivery(connection, endpoints[0], state="delivered", attempts=2),
        await a_delivery(connection, endpoints[1], state="failed", attempts=3),
        await a_delivery(connection, endpoints[0], state="pending", attempts=0),
    ]
    for place, fanned_out in enumerate((True, False, True, True, False)):
        await connection.execute(
            "INSERT INTO outbox (id, organisation_id, type, payload, created_at, fanned_out_at)"
            " VALUES ($1, $2, 'alert.firing', $3, now(), CASE WHEN $4 THEN now() END)",
            *(uuid.uuid4(), organisation, json.dumps({"place": place}), fanned_out),
        )
    before = {
        table: await connection.fetch(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608 (names of ours)
        for table in ("webhook_endpoints", "deliveries", "delivery_attempts", "outbox")
    }
    await asyncio.to_thread(upgrade, settings, "0011")
    for endpoint, enabled in zip(endpoints, (True, False), strict=True):
        row = await the_row(connection, "webhook_endpoints", "id", endpoint)
        assert (row["kind"], row["format"], row["secret"]) == ("webhook", "native", "whsec_c2VjcmV0")
        assert (row["former_secrets"], row["headers"], row["enabled"]) == ("[]", None, enabled)
        assert (row["disabled_reason"], row["min_severity"]) == (None, None)
    assert [
        (row["format"], row["site_id"], row["replay_id"])
        for row in await connection.fetch("SELECT * FROM deliveries")
    ] == [("native", None, None)] * 3
    owners = await connection.fetch(
        "SELECT endpoint_id, count(*) AS count FROM delivery_attempts GROUP BY endpoint_id"
    )
    assert {row["endpoint_id"]: row["count"] for row in owners} == {endpoints[0]: 2, endpoints[1]: 3}
    placed = await connection.fetch(
        "SELECT payload ->> 'place' AS place, stream_position FROM outbox ORDER BY position"
    )
    # In the order in which they happened, and the next one that is fanned out comes after them.
    assert [row["stream_position"] for row in placed] == [1, None, 2, 3, None]
    assert await connection.fetchval("SELECT nextval('outbox_stream')") == 4
    # What only the newer program knows goes on the way back; the rest is as it was.
    channel = uuid.uuid4()
    await connection.execute(
        "INSERT INTO webhook_endpoints (id, organisation_id, kind, target, events, enabled, created_at,"
        """ updated_at) VALUES ($1, $2, 'email', '{"to": ["a@example.com"]}', '{*}', true, now(), now())""",
        *(channel, organisation),
    )
    await a_delivery(connection, channel, state="delivered", attempts=1, format="native")
    await a_delivery(connection, endpoints[0], state="delivered", attempts=1, format="cloudevents")
    await connection.execute("INSERT INTO endpoint_states (endpoint_id) VALUES ($1)", endpoints[0])
    await asyncio.to_thread(downgrade, settings, "0010")
    for table, rows in before.items():
        assert await connection.fetch(f"SELECT * FROM {table} ORDER BY id") == rows, table  # noqa: S608 (names of ours)
    assert {row["id"] for row in before["deliveries"]} == set(deliveries)
    await asyncio.to_thread(upgrade, settings)
    await connection.close()


async def test_ways_out_wait_for_whoever_delivers_and_make_nobody_fail(postgres: PrivatePostgres) -> None:
    settings = (await fresh(postgres)).model_copy(update={"lock_timeout_s": 0.5})
    await asyncio.to_thread(downgrade, settings, "0010")
    delivering = await asyncpg.connect(settings.url)
    async with delivering.transaction():
        await delivering.execute("SELECT FROM outbox FOR UPDATE")
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, settings, "0011"))
        # It holds nothing that the fan-out takes next.
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass)"
        await until(lambda: delivering.fetchval(waits), 5)
        await delivering.execute("SELECT FROM webhook_endpoints FOR KEY SHARE")
        await delivering.execute("DELETE FROM deliveries")
        with pytest.raises(Exception, match="lock timeout"):
            await migrating
    assert await delivering.fetchval("SELECT version_num FROM alembic_version") == "0010"
    await asyncio.to_thread(upgrade, settings, "0011")
    index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_deliveries_endpoint_id_due'"
    assert "(endpoint_id, due_at, id) WHERE" in await delivering.fetchval(index)
    await asyncio.to_thread(downgrade, settings, "0010")
    assert "(endpoint_id, due_at) WHERE" in await delivering.fetchval(index)
    await delivering.close()


async def test_what_is_neither_a_webhook_nor_a_channel_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    organisation = uuid.uuid4()
    await connection.execute("INSERT INTO organisations VALUES ($1, 'o', false, now(), now())", organisation)
    for columns, values in (
        ("kind, url, secret", "'sms', 'https://example.com/', 'whsec_'"),
        ("url", "'https://example.com/'"),
        ("secret", "'whsec_'"),
        ("kind", "'email'"),
        ("url, secret, format", "'https://example.com/', 'whsec_', 'xml'"),
        ("url, secret, min_severity", "'https://example.com/', 'whsec_', 'fatal'"),
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                f"INSERT INTO webhook_endpoints (id, organisation_id, events, enabled, created_at, {columns},"
                f" updated_at) SELECT gen_random_uuid(), $1, '{{*}}', true, now(), {values}, now()",
                organisation,
            )
    mqtt = (
        "INSERT INTO webhook_endpoints (id, organisation_id, kind, target, events, enabled, created_at,"
        " updated_at) VALUES (gen_random_uuid(), $1, 'mqtt', '{}', '{*}', true, now(), now())"
    )
    await connection.execute(mqtt, organisation)
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_webhook_endpoints_mqtt"):
        await connection.execute(mqtt, organisation)
    await connection.close()


async def test_subscriptions_of_a_newer_format_are_paused_on_the_way_back(postgres: PrivatePostgres) -> None:
    """Otherwise the check that returns would stop each statement that changes one of them, for all."""
    settings = await fresh(postgres)
    connection = await asyncpg.connect(settings.url)
    organisation = uuid.uuid4()
    await connection.execute("INSERT INTO organisations VALUES ($1, 'o', false, now(), now())", organisation)
    ids = {}
    for format_ in ("csv", "ngsi-ld"):
        ids[format_] = await connection.fetchval(
            "INSERT INTO measurement_subscriptions (id, organisation_id, name, kinds, sink, format, target,"
            " batch_size, max_age, gzip, state, cursor_position, cursor_index, due_at, leased_until,"
            " created_by, created_by_kind, created_at, updated_at) VALUES (gen_random_uuid(), $1, 'a',"
            " '{sample}', 'webhook', $2, '{}', 1, 'PT5S', false, 'active', 1, 0, now(), now(), $1, 'key',"
            " now(), now()) RETURNING id",
            organisation,
            format_,
        )
        await connection.execute(
            "INSERT INTO measurement_batches (id, subscription_id, organisation_id, first_position,"
            " first_index, last_position, last_index, item_count, state, created_at)"
            " VALUES (gen_random_uuid(), $1, $2, 1, 0, 1, 0, 1, 'pending', now())",
            ids[format_],
            organisation,
        )
    await asyncio.to_thread(downgrade, settings, "0058")
    rows = await connection.fetch("SELECT id, format, state FROM measurement_subscriptions")
    assert {tuple(row) for row in rows} == {
        (ids["csv"], "csv", "active"),
        (ids["ngsi-ld"], "json", "paused"),
    }
    batches = await connection.fetch("SELECT subscription_id FROM measurement_batches")
    assert [row[0] for row in batches] == [ids["csv"]]
    leased = "UPDATE measurement_subscriptions SET leased_until = now()"
    assert await connection.execute(leased) == "UPDATE 2"
    await connection.close()
