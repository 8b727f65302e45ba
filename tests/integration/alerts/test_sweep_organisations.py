"""One organisation's trouble does not keep the sweep from the others', and the maintainer's figures."""

import asyncio
from collections.abc import Mapping

import pytest
from prometheus_client import REGISTRY

from app.alerts import silence_and_escalation_timers as sweeping
from app.alerts.silence_and_escalation_timers import AlertTimerRunner, run_alert_timers
from app.platform.kernel.ids import new_id
from app.platform.runtime.process_runner import ProcessContext
from app.processes.maintain import run_maintain
from app.settings import VigieSettings
from tests import shifted_clock
from tests.integration.alerts.helpers import NOW, AlertStreet, make_street
from tests.roles import working_as
from tests.scenarios.processes import until


class Clock:
    """Stands in for the module `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def overdue(street: AlertStreet) -> None:
    """A reminder is due."""
    rule = await street.add_rule(remind_every="PT5M")
    await street.batch(street.story(rule=rule).fires(1))
    await street.let_pass(6)


async def of(street: AlertStreet, kind: str) -> int:
    query = "SELECT count(*) FROM outbox WHERE organisation_id = $1 AND type = $2"
    count: int = await street.connection.fetchval(query, street.organisation_id, kind)
    return count


# What the sweep cannot read, and what the server cannot.
UNREADABLE = "UPDATE alerts SET escalate_at = now(), escalations = '[3]' WHERE organisation_id = $1"
UNFIT = """
INSERT INTO silences
    (id, organisation_id, matchers, starts_at, ends_at, author, comment, created_at, updated_at)
VALUES (gen_random_uuid(), $1, '{"site_ids": ["none"]}', now(), now() + interval '1 hour', 'a', 'c', now(),
    now())
"""


@pytest.mark.parametrize(
    ("trouble", "reason"), [(UNREADABLE, "TypeError"), (UNFIT, "InvalidTextRepresentationError")]
)
async def test_what_fails_of_one_organisation_is_counted_and_the_others_are_done(
    street: AlertStreet, trouble: str, reason: str
) -> None:
    others = [await make_street(street.database, street.connection, name) for name in ("left", "right")]
    for each in (street, *others):
        await overdue(each)
    await street.connection.execute(trouble, street.organisation_id)
    failed = metric("vigie_sweep_failures_total", reason=reason)
    sweeper = AlertTimerRunner()
    assert await sweeper.run_once(street.connection) == 2
    assert [await of(each, "alert.reminder") for each in (street, *others)] == [0, 1, 1]
    assert metric("vigie_sweep_failures_total", reason=reason) == failed + 1
    # It rests, and is not asked for in vain again at once; then its turn comes.
    for each in others:
        await each.let_pass(6)
    assert await sweeper.run_once(street.connection) == 2
    assert metric("vigie_sweep_failures_total", reason=reason) == failed + 1
    await street.connection.execute("DELETE FROM silences")
    await street.connection.execute("UPDATE alerts SET escalate_at = NULL, escalations = '[]'")
    sweeper._skipped_until.clear()
    assert await sweeper.run_once(street.connection) == 1


async def test_whoever_takes_long_is_found_out_and_rests(
    street: AlertStreet, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await make_street(street.database, street.connection, "other")
    for each in (street, other):
        await overdue(each)
    clock = Clock()
    monkeypatch.setattr(sweeping, "time", clock)
    looks: list[int] = []
    slow = {
        alert["id"] for alert in await street.alerts() if alert["organisation_id"] == street.organisation_id
    }

    async def do(_: object, alerts: tuple[object, ...], __: str) -> int:
        await asyncio.sleep(0)
        looks.append(len(alerts))
        clock.now += 3 if slow & set(alerts) else 0.01
        return 0

    monkeypatch.setattr(sweeping, "_process_alerts", do)
    sweeper = AlertTimerRunner()
    await sweeper.run_once(street.connection)
    await sweeper.run_once(street.connection)
    assert looks == [2, 1, 1]
    await sweeper.run_once(street.connection)
    assert looks == [2, 1, 1, 1]
    clock.now += 16
    await sweeper.run_once(street.connection)
    assert looks == [2, 1, 1, 1, 1, 1]
    clock.now += 100
    await sweeper.run_once(street.connection)
    assert looks[-1] == 2


@shifted_clock.WAITS_IN_POSTGRESQL
async def test_a_statement_that_takes_too_long_is_ended_and_the_turn_goes_on(
    street: AlertStreet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await overdue(street)
    failed = metric("vigie_sweep_failures_total", reason="QueryCanceledError")
    blocker = await street.database.connect()
    sweeper = AlertTimerRunner()
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE boxes IN ACCESS EXCLUSIVE MODE")
        with monkeypatch.context() as patch:
            patch.setattr(sweeping, "_TIMEOUT", "SET LOCAL statement_timeout = '100ms'")
            async with asyncio.timeout(60):
                assert await sweeper.run_once(street.connection) == 0
    await blocker.close()
    assert metric("vigie_sweep_failures_total", reason="QueryCanceledError") == failed + 1
    assert await run_alert_timers(street.connection) == 1


async def _wait_in_a_group(street: AlertStreet, *, held: bool, age: str) -> None:
    endpoint, group = new_id(), new_id()
    await street.connection.execute(
        "INSERT INTO webhook_endpoints (id, organisation_id, url, events, secret, enabled, created_at, "
        "updated_at) VALUES ($1, $2, 'https://example.com', '{}', 's', false, $3, $3)",
        endpoint,
        street.organisation_id,
        NOW,
    )
    await street.connection.execute(
        "INSERT INTO delivery_groups (id, organisation_id, endpoint_id, key, due_at, held, created_at) "
        "VALUES ($1, $2, $3, 'k', now() + interval '1 hour', $4, now())",
        group,
        street.organisation_id,
        endpoint,
        held,
    )
    await street.connection.execute(
        "INSERT INTO group_events (group_id, alert_id, position, events_count, begins, held, sequence, "
        "firing, event_id, type, body, created_at) VALUES ($1, $2, 1, 1, true, $3, 1, true, $2, "
        "'alert.firing', '{}', now() - $4::text::interval)",
        group,
        new_id(),
        held,
        age,
    )


async def test_the_maintainer_shows_what_is_muted_and_what_waits(
    street: AlertStreet, settings: VigieSettings
) -> None:
    await street.silence({"boxes": ["alerts-1"]})
    await street.inhibit({"boxes": ["alerts-2"]}, {"boxes": ["alerts-1"]}, "site")
    await street.batch(street.story().fires(1), street.story(street.second).fires(1))
    await _wait_in_a_group(street, held=False, age="90 seconds")
    await _wait_in_a_group(street, held=True, age="3 days")
    took = metric("vigie_sweep_seconds_count")

    async def shown() -> Mapping[str, float]:
        return {
            "firing": metric("vigie_alerts_firing"),
            "silence": metric("vigie_alerts_muted", by="silence"),
            "inhibition": metric("vigie_alerts_muted", by="inhibition"),
            "groups": metric("vigie_groups_waiting"),
            "swept": float(metric("vigie_sweep_seconds_count") > took),
        }

    async def right() -> bool:
        wanted = {"firing": 2.0, "silence": 1.0, "inhibition": 1.0, "groups": 1.0, "swept": 1.0}
        return await shown() == wanted

    async with working_as("maintain", street.database) as opened:
        role = ProcessContext("maintain", opened)
        working = asyncio.create_task(run_maintain(settings, role))
        assert await until(right), await shown()
        assert 89 < metric("vigie_groups_oldest_waiting_seconds") < 3600
        role.stop.set()
        await asyncio.wait_for(working, 60)
