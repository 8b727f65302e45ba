"""What a transaction of samples writes of alerts, and what closing them leaves."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import to_datetime
from tests.integration.alerts.helpers import MINUTE, NOW, START_US, AlertStreet, cause


def at(minute: float) -> str:
    return to_datetime(START_US + round(minute * MINUTE)).isoformat().replace("+00:00", "Z")


async def test_an_alert_fires_and_resolves_over_two_batches(street: AlertStreet) -> None:
    story = street.story()
    await street.batch(story.fires(1))
    alert = await street.alert()
    started = to_datetime(START_US + MINUTE)
    assert alert == {
        "id": story.alert_id,
        "organisation_id": street.organisation_id,
        "rule_id": street.rule.id,
        "rule_version": 4,
        "site_id": street.site_id,
        "box_key": street.first,
        "box": "alerts-1",
        "metric": "pm2_5",
        **dict.fromkeys(("severity", "highest_severity"), "warning"),
        "state": "firing",
        "value": 31.2,
        "threshold": 25.0,
        "clear": 20.0,
        "resolved_value": None,
        "pending_since": started,
        "started_at": started,
        "resolved_at": None,
        "resolution": None,
        "acknowledged_at": None,
        **dict.fromkeys(("acknowledged_by", "acknowledged_by_kind", "acknowledged_by_name")),
        "sequence": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "description": None,
        "cause": {
            "path": "levels/0/condition",
            "function": None,
            "window": None,
            "event": None,
            "boxes": [],
            "index": None,
        },
        "dry_run": False,
        "assignee": None,
        "suppressed": None,
        "told_severity": "warning",
        "notified": True,
        "escalated_to": None,
        "escalated_at": None,
        "escalations": [],
        "escalate_at": None,
        "remind_us": None,
        "remind_at": None,
    }
    await street.batch(story.ends(3, why=cause(19.5)))
    alert = await street.alert()
    assert (alert["state"], alert["resolution"], alert["sequence"]) == ("resolved", "cleared", 2)
    assert (alert["value"], alert["resolved_value"]) == (31.2, 19.5)
    assert alert["resolved_at"] == to_datetime(START_US + 3 * MINUTE)


async def test_each_transition_is_told_once_with_what_a_receiver_needs(street: AlertStreet) -> None:
    rule = await street.add_rule("dust", description="Close the windows")
    story = street.story(rule=rule)
    await street.batch(story.fires(1))
    await street.batch(story.ends(2, why=cause(19.5)))
    (first, firing), (second, resolved) = await street.outbox()
    assert (first, second) == ("alert.firing", "alert.resolved")
    common: dict[str, Any] = {
        "alert_id": str(story.alert_id),
        "rule_id": str(rule.id),
        "rule_name": "dust",
        "rule_version": 4,
        "organisation_id": str(street.organisation_id),
        "site_id": str(street.site_id),
        "site_name": "s",
        "box": "alerts-1",
        "box_name": None,
        "metric": "pm2_5",
        "unit": "µg/m³",
        "value": 31.2,
        "threshold": 25.0,
        "clear": 20.0,
        **dict.fromkeys(("severity", "highest_severity"), "warning"),
        "pending_since": at(1),
        "started_at": at(1),
        "acknowledged_at": None,
        "acknowledged_by": None,
        "description": "Close the windows",
        "cause": {
            "path": "levels/0/condition",
            "function": None,
            "window": None,
            "event": None,
            "boxes": [],
            "index": None,
        },
        "assignee": None,
    }
    assert firing == {
        **common,
        "state": "firing",
        "resolved_at": None,
        "resolved_value": None,
        "resolution": None,
        "sequence": 1,
        # The site has two boxes: the sentence says which one.
        "sentence": "PM2.5 at s (alerts-1) is 31.2 µg/m³, above 25",
        "sentence_fr": "s (alerts-1)\xa0: PM2,5 à 31,2\xa0µg/m³, au-dessus de 25",
    }
    assert resolved == {
        **common,
        "state": "resolved",
        "resolved_at": at(2),
        "resolved_value": 19.5,
        "resolution": "cleared",
        "sequence": 2,
        "sentence": "PM2.5 at s (alerts-1) is back to 19.5 µg/m³ after 1 minute",
        "sentence_fr": "s (alerts-1)\xa0: PM2,5 de retour à 19,5\xa0µg/m³ après 1 minute",
    }


async def test_one_batch_may_hold_a_whole_life_and_the_next(street: AlertStreet) -> None:
    first, second, third = (street.story() for _ in range(3))
    await street.batch(first.fires(1, why=cause(30)))
    await street.batch(
        first.ends(2),
        second.fires(3, why=cause(40)),
        second.rises(4, "critical"),
        second.falls(5, "warning"),
        second.rises(6, "critical", cause(90)),
        second.ends(7),
        third.fires(8, why=cause(50)),
    )
    alerts = {alert["id"]: alert for alert in await street.alerts()}
    assert [
        (alert["value"], alert["severity"], alert["state"], alert["sequence"])
        for alert in (alerts[story.alert_id] for story in (first, second, third))
    ] == [
        (30, "warning", "resolved", 2),
        (90, "critical", "resolved", 5),
        (50, "warning", "firing", 1),
    ]
    assert [
        (kind.removeprefix("alert."), told["severity"], told.get("previous_severity"), told["sequence"])
        for kind, told in await street.outbox()
    ] == [
        ("firing", "warning", None, 1),
        ("resolved", "warning", None, 2),
        ("firing", "warning", None, 1),
        ("escalated", "critical", "warning", 2),
        ("deescalated", "warning", "critical", 3),
        ("escalated", "critical", "warning", 4),
        ("resolved", "critical", None, 5),
        ("firing", "warning", None, 1),
    ]
    assert await street.kinds(second.alert_id) == [
        "fired",
        "escalated",
        "deescalated",
        "escalated",
        "resolved",
    ]


async def test_an_alert_follows_the_level_that_fires(street: AlertStreet) -> None:
    story = street.story()
    await street.batch(story.fires(1))
    worse = cause(71.5, metric="pm10", threshold=70.0, clear=60.0, function="mean", window_us=90 * MINUTE)
    await street.batch(story.rises(2, "critical", worse))
    alert = await street.alert()
    assert (alert["severity"], alert["metric"], alert["value"]) == ("critical", "pm10", 71.5)
    assert (alert["threshold"], alert["clear"], alert["told_severity"]) == (70, 60, "critical")
    assert (alert["cause"]["function"], alert["cause"]["window"]) == ("mean", "PT1H30M")
    assert alert["started_at"] == to_datetime(START_US + MINUTE)
    fired, escalated = await street.timeline(story.alert_id)
    assert (fired["value"], fired["at"]) == (31.2, alert["started_at"])
    assert (fired["cause"]["time"], fired["cause"]["value"], fired["cause"]["threshold"]) == (at(1), 31.2, 25)
    assert escalated["data"] == {"reason": "samples", "previous_severity": "warning", "level": "critical"}
    assert escalated["cause"] == {
        "path": "levels/0/condition",
        "function": "mean",
        "window": "PT1H30M",
        "event": None,
        "boxes": [],
        "index": None,
        "time": at(2),
        "metric": "pm10",
        "value": 71.5,
        "threshold": 70.0,
        "clear": 60.0,
    }


async def test_a_rule_on_the_whole_site_has_no_box(street: AlertStreet) -> None:
    # One of the boxes behind it sent nothing in this batch: its id is looked up.
    boxes, street.boxes = street.boxes, {street.first: street.boxes[street.first]}
    story = street.story(None)
    event = {"type": "gunshot", "time_us": START_US, "confidence": 0.9, "class": None, "model": "m"}
    why = cause(0.9, metric=None, threshold=None, clear=None, event=event, boxes=tuple(boxes))
    await street.batch(story.fires(1, why=why))
    alert = await street.alert()
    assert (alert["box"], alert["box_key"], alert["metric"]) == (None, None, None)
    assert alert["cause"]["boxes"] == ["alerts-1", "alerts-2"]
    assert alert["cause"]["event"] == {
        "type": "gunshot",
        "time": at(0),
        "confidence": 0.9,
        "class": None,
        "model": "m",
    }
    # At most one alert of the rule fires for the site.
    again = street.story(None)
    await street.batch(again.fires(2))
    old, new = await street.alerts()
    assert (old["resolution"], new["state"]) == ("superseded", "firing")
    await street.batch(again.ends(3, "out_of_hours"))
    assert [kind for kind, _ in await street.outbox()] == [
        "alert.firing",
        "alert.resolved",
        "alert.firing",
        "alert.resolved",
    ]


async def test_a_batch_that_is_rolled_back_leaves_nothing(street: AlertStreet) -> None:
    transaction = street.connection.transaction()
    await transaction.start()
    assert await street.play(street.story().fires(1)) == 1
    await transaction.rollback()
    assert await street.alerts() == []
    assert await street.outbox() == []
    assert await street.connection.fetchval("SELECT count(*) FROM alert_timeline") == 0


async def test_an_alert_whose_state_was_lost_gives_way_to_the_next(street: AlertStreet) -> None:
    lost, found = street.story(), street.story()
    await street.batch(lost.fires(1))
    await street.batch(found.fires(2))
    old, new = await street.alerts()
    assert (old["state"], old["resolution"], old["sequence"]) == ("resolved", "superseded", 2)
    assert old["resolved_at"] == new["started_at"]
    assert new["state"] == "firing"
    assert await street.told() == ["firing", "resolved", "firing"]
    assert (await street.timeline(lost.alert_id))[-1]["data"] == {"reason": "superseded"}


async def test_a_rule_that_was_taken_away_meanwhile_fires_no_more(street: AlertStreet) -> None:
    await street.connection.execute("UPDATE rules SET deleted_at = now()")
    story = street.story()
    assert await street.batch(story.fires(1), story.rises(2, "critical"), story.ends(3)) == 0
    assert await street.batch(story.ends(4, "rule_gone")) == 0
    assert await street.alerts() == []
    assert await street.outbox() == []


async def test_an_alert_of_a_rule_that_no_longer_applies_resolves(street: AlertStreet) -> None:
    story = street.story()
    await street.batch(story.fires(1))
    await street.batch(story.ends(2, "rule_gone"))
    alert = await street.alert()
    assert (alert["state"], alert["resolution"], alert["resolved_value"]) == ("resolved", "rule_gone", None)
    assert await street.told() == ["firing", "resolved"]


async def test_alerts_of_a_rule_on_trial_are_kept_and_never_told(street: AlertStreet) -> None:
    trial = await street.add_rule(
        dry_run=True, escalations=[{"after": "PT1M", "severity": "critical"}], remind_every="PT1M"
    )
    story = street.story(rule=trial)
    assert await street.batch(story.fires(1), story.rises(2, "critical")) == 0
    alert = await street.alert()
    assert (alert["dry_run"], alert["notified"], alert["severity"]) == (True, False, "critical")
    assert (alert["escalate_at"], alert["remind_at"]) == (None, None)
    assert await street.batch(story.ends(3)) == 0
    assert await street.kinds(story.alert_id) == ["fired", "escalated", "resolved"]
    assert await street.close(reason="rule_deleted", rule_id=trial.id) == 0
    assert await street.outbox() == []


async def test_a_rise_ends_the_acknowledgement_of_something_milder(street: AlertStreet) -> None:
    rule = await street.add_rule(remind_every="PT10M")
    story = street.story(rule=rule)
    await street.batch(story.fires(1))
    acknowledge = "UPDATE alerts SET acknowledged_at = now(), acknowledged_by = $1, remind_at = NULL"
    await street.connection.execute(acknowledge, new_id())
    await street.batch(story.falls(2, "info"))
    assert (await street.alert())["acknowledged_at"] is not None
    await street.batch(story.rises(3, "critical"))
    alert = await street.alert()
    assert (alert["acknowledged_at"], alert["acknowledged_by"]) == (None, None)
    assert alert["remind_at"] is not None
    assert await street.kinds(story.alert_id) == ["fired", "deescalated", "escalated", "unacknowledged"]
    assert (await street.timeline(story.alert_id))[-1]["data"] == {"reason": "escalated"}
    kind, told = (await street.outbox())[-1]
    assert (kind, told["acknowledged_at"], told["previous_severity"]) == ("alert.escalated", None, "info")


async def test_many_alerts_take_a_handful_of_statements(street: AlertStreet) -> None:
    rules = [await street.add_rule() for _ in range(40)]
    await street.silence({"severities": ["critical"]})
    stories = [street.story(key, rule) for rule in rules for key in street.boxes]
    statements: list[str] = []
    await street.batch(*(story.fires(1) for story in stories))
    street.connection.add_query_logger(lambda query: statements.append(query.query))
    again = [street.story(key, rule) for rule in rules for key in street.boxes]
    steps = [story.rises(2, "critical") for story in stories] + [story.ends(3) for story in stories]
    await street.batch(*steps, *(story.fires(4) for story in again))
    assert len(await street.alerts()) == 160
    assert len(await street.outbox()) == 80 * 4
    assert len([query for query in statements if "alert" in query or "outbox" in query]) < 12


async def test_closing_a_rules_alerts_resolves_them_and_forgets_its_state_alone(street: AlertStreet) -> None:
    other = await street.add_rule()
    waiting = await street.add_rule()
    for key in street.boxes:
        for rule in (street.rule, other):
            await street.batch(street.story(key, rule).fires(1))
    held = {rule.key: [4, None, [[0, 1, 1]]] for rule in (street.rule, other, waiting)}
    await street.connection.execute("UPDATE box_states SET rules = $1::text::jsonb", json.dumps(held))
    assert await street.close(reason="rule_deleted", rule_id=street.rule.id) == 2
    assert await street.close(reason="rule_deleted", rule_id=waiting.id) == 0
    closed = [alert for alert in await street.alerts() if alert["rule_id"] == street.rule.id]
    assert {(alert["state"], alert["resolution"], alert["sequence"]) for alert in closed} == {
        ("resolved", "rule_deleted", 2)
    }
    assert {alert["resolved_at"] for alert in closed} == {NOW}
    assert {alert["state"] for alert in await street.alerts() if alert["rule_id"] == other.id} == {"firing"}
    assert [set(state) for state in (await street.states()).values()] == [{other.key}, {other.key}]
    told = [told for kind, told in await street.outbox() if kind == "alert.resolved"]
    assert [(one["box"], one["resolution"], one["resolved_at"]) for one in told] == [
        ("alerts-1", "rule_deleted", "2026-11-24T12:00:00Z"),
        ("alerts-2", "rule_deleted", "2026-11-24T12:00:00Z"),
    ]
    assert (await street.timeline(closed[0]["id"]))[-1]["data"] == {"reason": "rule_deleted"}


async def test_closing_a_rule_on_the_whole_site_forgets_it_there(street: AlertStreet) -> None:
    other = await street.add_rule()
    held = json.dumps({street.rule.key: [4, None, []], other.key: [4, None, []]})
    await street.connection.execute(
        "INSERT INTO site_states (site_id, rules) VALUES ($1, $2::text::jsonb)", street.site_id, held
    )
    story = street.story(None)
    await street.batch(story.fires(1))
    # A box that goes leaves it alone.
    assert await street.close(reason="box_deleted", box_keys=[street.first]) == 0
    assert await street.close(reason="rule_changed", rule_id=street.rule.id) == 1
    left = json.loads(await street.connection.fetchval("SELECT rules::text FROM site_states"))
    assert set(left) == {other.key}
    assert (await street.alert())["resolution"] == "rule_changed"


async def test_closing_a_boxs_alerts_puts_it_to_rest(street: AlertStreet) -> None:
    for key in street.boxes:
        await street.batch(street.story(key).fires(1))
    held = json.dumps({street.rule.key: [4, None, []], str(new_id()): [1, None, []]})
    await street.connection.execute("UPDATE box_states SET rules = $1::text::jsonb", held)
    first, second = street.boxes
    assert await street.close(reason="box_deleted", box_keys=[first]) == 1
    assert {alert["box_key"]: alert["state"] for alert in await street.alerts()} == {
        first: "resolved",
        second: "firing",
    }
    states = await street.states()
    assert states[first] == {}
    assert len(states[second]) == 2
    assert await street.close(reason="rule_deleted", rule_id=street.rule.id, box_keys=[first]) == 0
    assert await street.close(reason="rule_deleted", rule_id=street.rule.id, box_keys=[second]) == 1


async def test_an_alert_does_not_end_before_it_began(street: AlertStreet) -> None:
    ahead = NOW + timedelta(minutes=10)
    story = street.story()
    await street.batch(story.fires((ahead.timestamp() * 1_000_000 - START_US) / MINUTE))
    assert await street.close(reason="rule_changed", rule_id=street.rule.id) == 1
    alert = await street.alert()
    assert alert["resolved_at"] == alert["started_at"] == ahead


async def test_closing_needs_a_rule_or_a_box(street: AlertStreet) -> None:
    with pytest.raises(ValueError, match="a rule or a box"):
        await street.close(reason="rule_deleted")


async def test_closing_waits_for_a_batch_under_way_and_closes_what_it_fired(street: AlertStreet) -> None:
    """The box was at rest when the rule went; the batch knew the rule, and fires all the same."""
    async with street.connection.transaction():
        await pass_ingest_barrier(street.connection)
        closing = asyncio.create_task(street.close(reason="rule_deleted", rule_id=street.rule.id))
        await asyncio.sleep(0.3)
        assert not closing.done()
        await street.play(street.story().fires(1))
    assert await asyncio.wait_for(closing, 60) == 1
    alert = await street.alert()
    assert (alert["state"], alert["resolution"]) == ("resolved", "rule_deleted")
