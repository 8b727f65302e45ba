"""Alerts at a real Alertmanager: they appear, change, end, and come back where it forgot them."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.alerts import alertmanager_repeats
from app.alerts.alertmanager_repeats import repeat_alerts
from app.alerts.transition_recorder import record_transitions
from app.notifications.http.service_channel_requests import seal_credentials
from app.platform.db.database import Database
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.secrets.sealing import SecretSealer
from app.rules.engine.threshold_evaluator import AlertTransition
from app.settings import VigieSettings
from tests.integration.alerts.alertmanager import ACCOUNT, Alertmanager, alertmanager
from tests.integration.alerts.helpers import AlertStreet
from tests.integration.notifications.helpers import add_endpoint, dispatching, until, with_webhooks
from tests.integration.notifications.receivers import receiving, status
from tests.roles import working_as

URL = "https://vigie.example.com"


async def add_channel(street: AlertStreet, settings: VigieSettings, url: str, **other: Any) -> Any:  # noqa: ANN401 (an id)
    target = {"url": url, "username": ACCOUNT[0]}
    channel, _ = await add_endpoint(
        street.connection, street.organisation_id, None, kind="alertmanager", target=target, **other
    )
    sealed = seal_credentials(SecretSealer.of(settings.encryption), channel, {"password": ACCOUNT[1]})
    await street.connection.execute("UPDATE webhook_endpoints SET credentials = $1", sealed)
    return channel


async def repeat(street: AlertStreet, settings: VigieSettings) -> int:
    """Make the repeats that are due, as `vigie maintain` does."""
    async with working_as("maintain", street.database) as opened:
        connection = await opened.connect()
        try:
            return await repeat_alerts(connection, settings.webhooks, URL)
        finally:
            await connection.close()


async def play(street: AlertStreet, *transitions: AlertTransition) -> None:
    """Record transitions as if they came now."""
    async with street.connection.transaction():
        await pass_ingest_barrier(street.connection)
        await record_transitions(street.connection, transitions, boxes=street.boxes, now=datetime.now(UTC))


async def wake(street: AlertStreet) -> None:
    await street.connection.execute("NOTIFY vigie_outbox")


async def repeats(street: AlertStreet) -> list[list[dict[str, Any]]]:
    rows = await street.connection.fetch("SELECT body FROM deliveries WHERE type = 'alert.repeat'")
    return [json.loads(row["body"]) for row in rows]


async def let_pass(street: AlertStreet, minutes: float) -> None:
    await street.connection.execute(
        "UPDATE deliveries SET created_at = created_at - $1 * interval '1 minute' "
        "WHERE type = 'alert.repeat'",
        minutes,
    )


def _shows(server: Alertmanager, wanted: Callable[[list[dict[str, Any]]], bool]) -> Any:  # noqa: ANN401 (a question)
    async def ask() -> bool:
        return wanted(await server.alerts())

    return ask


async def test_an_alert_appears_rises_and_ends_and_opsgenie_is_told_by_its_route(
    street: AlertStreet, settings: VigieSettings, database: Database, tmp_path: Path
) -> None:
    async with receiving(status(202)) as opsgenie, alertmanager(tmp_path / "am", opsgenie.url) as server:
        await add_channel(street, settings, server.url)
        story = street.story()
        async with dispatching(with_webhooks(settings), database):
            await play(street, story.fires(0))
            await wake(street)
            await until(_shows(server, lambda alerts: len(alerts) == 1))
            (shown,) = await server.alerts()
            assert shown["labels"]["alertname"] == "dust"
            assert shown["labels"]["severity"] == "warning"
            assert shown["status"]["state"] == "active"
            assert shown["annotations"]["alert_id"] == str(story.alert_id)
            assert shown["generatorURL"].endswith(f"/console/alerts/{story.alert_id}")
            # Longer than its own `resolve_timeout`, after which it would end what has no end of its own.
            assert datetime.fromisoformat(shown["endsAt"]) > datetime.now(UTC) + timedelta(hours=3)
            await asyncio.sleep(1.5)
            assert len(await server.alerts()) == 1

            await play(street, story.rises(1, "critical"))
            await wake(street)
            await until(_shows(server, lambda alerts: _severities(alerts) == ["critical"]))
            (told, *_) = await opsgenie.wait(1)
            assert told.path.endswith("/v2/alerts")
            assert "dust" in told.body.decode()

            await play(street, story.ends(2))
            await wake(street)
            await until(_shows(server, lambda alerts: alerts == []))

            async def closed() -> bool:
                return any(got.path.partition("?")[0].endswith("/close") for got in opsgenie.got)

            await until(closed)


def _severities(alerts: list[dict[str, Any]]) -> list[str]:
    return [alert["labels"]["severity"] for alert in alerts]


async def test_what_alertmanager_forgot_is_there_again_with_the_next_repeat(
    street: AlertStreet, settings: VigieSettings, database: Database, tmp_path: Path
) -> None:
    async with receiving(status(202)) as opsgenie:
        async with alertmanager(tmp_path / "am", opsgenie.url) as server:
            await add_channel(street, settings, server.url)
            story, other = street.story(), street.story(street.second)
            async with dispatching(with_webhooks(settings), database):
                await play(street, story.fires(0), other.fires(0))
                await wake(street)
                await until(_shows(server, lambda alerts: len(alerts) == 2))
        port = int(server.url.rpartition(":")[2])
        async with alertmanager(tmp_path / "am2", opsgenie.url, port) as server:
            assert await server.alerts() == []
            async with dispatching(with_webhooks(settings), database):
                await play(street, other.ends(1))
                await wake(street)
                assert await repeat(street, settings) == 1
                await until(_shows(server, lambda alerts: len(alerts) == 1))
                (shown,) = await server.alerts()
                assert shown["annotations"]["alert_id"] == str(story.alert_id)


async def test_a_repeat_is_due_every_five_minutes_and_takes_the_place_of_the_one_before(
    street: AlertStreet, settings: VigieSettings
) -> None:
    await add_channel(street, settings, "http://127.0.0.1:9")
    story = street.story()
    assert await repeat(street, settings) == 0
    await play(street, story.fires(0))
    assert await repeat(street, settings) == 1
    assert await repeat(street, settings) == 0
    await let_pass(street, 6)
    assert await repeat(street, settings) == 1
    ((alert,),) = await repeats(street)
    assert alert["annotations"]["alert_id"] == str(story.alert_id)
    # One attempt each: the next repeat follows.
    attempts = await street.connection.fetchval("SELECT attempt_count FROM deliveries")
    assert attempts == len(settings.webhooks.schedule_s) - 1
    # What was resolved a moment ago is told once more, and then nothing is.
    await play(street, story.ends(1))
    await let_pass(street, 6)
    assert await repeat(street, settings) == 1
    ((alert,),) = await repeats(street)
    assert alert["endsAt"] < datetime.now(UTC).isoformat()
    await let_pass(street, 6)
    await street.connection.execute("UPDATE alerts SET updated_at = now() - interval '20 minutes'")
    assert await repeat(street, settings) == 0


@pytest.mark.parametrize(
    ("channel", "count"),
    [
        ({}, 1),
        ({"min_severity": "critical"}, 0),
        ({"site_ids": "elsewhere"}, 0),
        ({"enabled": False}, 0),
        ({"events": ["alert.resolved"]}, 0),
    ],
)
async def test_a_repeat_is_of_what_the_channel_wants(
    street: AlertStreet, settings: VigieSettings, channel: dict[str, Any], count: int
) -> None:
    if "site_ids" in channel:
        channel = {"site_ids": [street.rule.id]}
    await add_channel(street, settings, "http://127.0.0.1:9", **channel)
    await play(street, street.story().fires(0))
    assert await repeat(street, settings) == count


async def test_a_repeat_has_all_alerts_however_many(
    street: AlertStreet, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alertmanager_repeats, "MAX_REPEATED_ALERTS", 2)
    await add_channel(street, settings, "http://127.0.0.1:9")
    stories = [street.story(rule=await street.add_rule(f"rule {number}")) for number in range(5)]
    await play(street, *(story.fires(0) for story in stories))
    for minutes in (0, 6):
        await let_pass(street, minutes)
        assert await repeat(street, settings) == 3
        found = await repeats(street)
        assert sorted(map(len, found)) == [1, 2, 2]
        assert {alert["annotations"]["alert_id"] for alerts in found for alert in alerts} == {
            str(story.alert_id) for story in stories
        }


async def test_what_is_silenced_is_not_repeated(street: AlertStreet, settings: VigieSettings) -> None:
    await add_channel(street, settings, "http://127.0.0.1:9")
    await play(street, street.story().fires(0))
    await street.silence({"rule": [str(street.rule.id)]})
    await street.sweep()
    assert (await street.alert())["suppressed"] is not None
    assert await repeat(street, settings) == 0
