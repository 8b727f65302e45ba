"""What time does to alerts: escalations, reminders, the windows of schedules."""

import asyncio
import json
from datetime import timedelta

from app.platform.kernel.ids import new_id
from app.platform.runtime.process_runner import ProcessContext
from app.processes.maintain import run_maintain
from app.settings import VigieSettings
from tests.integration.alerts.helpers import AlertStreet
from tests.roles import working_as
from tests.scenarios.processes import until

STEPS = [{"after": "PT10M", "severity": "warning"}, {"after": "PT30M", "severity": "critical"}]


async def test_what_nobody_acknowledges_is_raised_step_by_step(street: AlertStreet) -> None:
    rule = await street.add_rule(escalations=STEPS)
    story = street.story(rule=rule)
    await street.batch(story.fires(1, "info"))
    assert await street.sweep() == 0
    await street.let_pass(11)
    assert await street.sweep() == 1
    assert await street.sweep() == 0
    alert = await street.alert()
    assert (alert["severity"], alert["escalated_to"], alert["sequence"]) == ("warning", "warning", 2)
    await street.let_pass(20)
    assert await street.sweep() == 1
    alert = await street.alert()
    assert (alert["severity"], alert["escalate_at"], alert["escalations"]) == ("critical", None, [])
    assert alert["escalated_at"] is not None
    assert [
        (kind, told["severity"], told.get("previous_severity"), told.get("reason"), told["sequence"])
        for kind, told in await street.outbox()
    ] == [
        ("alert.firing", "info", None, None, 1),
        ("alert.escalated", "warning", "info", "unacknowledged", 2),
        ("alert.escalated", "critical", "warning", "unacknowledged", 3),
    ]
    assert [told["previous_highest_severity"] for _, told in (await street.outbox())[1:]] == [
        "info",
        "warning",
    ]
    assert alert["highest_severity"] == "critical"
    entry = (await street.timeline(story.alert_id))[1]
    assert (entry["kind"], entry["data"]) == (
        "escalated",
        {"reason": "unacknowledged", "previous_severity": "info", "after_s": 600},
    )


async def test_steps_that_were_missed_are_one(street: AlertStreet) -> None:
    rule = await street.add_rule(escalations=STEPS)
    await street.batch(street.story(rule=rule).fires(1, "info"))
    await street.let_pass(600)
    assert await street.sweep() == 1
    assert (await street.alert())["severity"] == "critical"


async def test_samples_do_not_lower_what_time_has_raised(street: AlertStreet) -> None:
    rule = await street.add_rule(escalations=[{"after": "PT10M", "severity": "warning"}])
    story = street.story(rule=rule)
    await street.batch(story.fires(1, "info"))
    await street.let_pass(11)
    await street.sweep()
    await street.batch(story.rises(2, "warning"))
    await street.batch(story.rises(3, "critical"), story.falls(4, "info"))
    alert = await street.alert()
    assert (alert["severity"], alert["highest_severity"]) == ("warning", "critical")
    assert await street.told() == ["firing", "escalated", "escalated", "deescalated"]
    assert [told.get("reason") for _, told in await street.outbox()] == [
        *(None, "unacknowledged"),
        *("samples", "samples"),
    ]
    assert [entry["data"]["level"] for entry in (await street.timeline(story.alert_id))[2:]] == [
        "warning",
        "critical",
        "info",
    ]


async def test_what_is_severe_enough_is_not_raised(street: AlertStreet) -> None:
    rule = await street.add_rule(escalations=[{"after": "PT10M", "severity": "warning"}])
    await street.batch(street.story(rule=rule).fires(1, "critical"))
    await street.let_pass(11)
    assert await street.sweep() == 0
    alert = await street.alert()
    assert (alert["severity"], alert["escalated_at"], alert["escalate_at"]) == ("critical", None, None)


async def test_people_are_reminded_until_somebody_acknowledges(street: AlertStreet) -> None:
    rule = await street.add_rule(remind_every="PT5M")
    story = street.story(rule=rule)
    await street.batch(story.fires(1))
    for _ in range(2):
        await street.let_pass(6)
        assert await street.sweep() == 1
        assert await street.sweep() == 0
    clock = await street.connection.fetchval("SELECT now()")
    due = (await street.alert())["remind_at"]
    # Counted from the reminder, not from when it was due.
    assert timedelta(minutes=4) < due - clock <= timedelta(minutes=5)
    assert await street.kinds(story.alert_id) == ["fired", "reminded", "reminded"]
    assert [told["sequence"] for _, told in await street.outbox()] == [1, 2, 3]
    await street.connection.execute("UPDATE alerts SET acknowledged_at = now()")
    await street.let_pass(60)
    assert await street.sweep() == 0
    await street.batch(story.ends(2))
    assert (await street.alert())["remind_at"] is None
    assert await street.told() == ["firing", "reminder", "reminder", "resolved"]


async def test_nothing_is_due_while_an_alert_is_muted(street: AlertStreet) -> None:
    rule = await street.add_rule(escalations=STEPS, remind_every="PT5M")
    story = street.story(rule=rule)
    await street.silence({"boxes": ["alerts-1"]})
    await street.batch(story.fires(1, "info"))
    await street.let_pass(60)
    assert await street.sweep() == 0
    await street.end_silences()
    # People hear of it now: they have as much time as if it had fired now.
    assert await street.sweep() == 1
    assert await street.sweep() == 0
    assert await street.told() == ["firing"]
    await street.let_pass(11)
    assert await street.sweep() == 2
    assert await street.told() == ["firing", "escalated", "reminder"]


async def test_what_is_due_at_the_end_of_a_silence_of_what_was_told_is_done_then(street: AlertStreet) -> None:
    rule = await street.add_rule(remind_every="PT5M")
    await street.batch(street.story(rule=rule).fires(1))
    await street.silence({"boxes": ["alerts-1"]})
    await street.let_pass(6)
    assert await street.sweep() == 0
    await street.end_silences()
    assert await street.sweep() == 1
    assert await street.told() == ["firing", "reminder"]


async def test_an_alert_that_somebody_is_changing_is_left_for_the_next_time(street: AlertStreet) -> None:
    rule = await street.add_rule(remind_every="PT5M")
    await street.batch(street.story(rule=rule).fires(1))
    await street.let_pass(6)
    other = await street.database.connect()
    async with other.transaction():
        await other.execute("SELECT 1 FROM alerts FOR UPDATE")
        assert await street.sweep() == 0
    await other.close()
    assert await street.sweep() == 1


async def test_more_than_one_batch_is_done_in_one_turn(street: AlertStreet) -> None:
    await street.silence({"metrics": ["pm2_5"]})
    rules = [await street.add_rule() for _ in range(300)]
    stories = [street.story(key, rule) for rule in rules for key in street.boxes]
    await street.batch(*(story.fires(1) for story in stories))
    await street.end_silences()
    assert await street.sweep() == 600


async def test_the_window_of_a_schedule_rolls_on(street: AlertStreet) -> None:
    """A window that is over gives way to the next one; while it is on, it mutes."""
    identifier = new_id()
    always = [{"from": "00:00", "to": "00:00"}]
    await street.connection.execute(
        "INSERT INTO silences (id, organisation_id, matchers, starts_at, schedule, timezone, window_start, "
        "window_end, author, comment, created_at, updated_at) VALUES ($1, $2, $3::text::jsonb, "
        "now() - interval '9 days', $4::text::jsonb, 'Europe/Paris', now() - interval '2 hours', "
        "now() - interval '1 hour', 'tests', 'works', now(), now())",
        identifier,
        street.organisation_id,
        json.dumps({"severities": ["warning"]}),
        json.dumps(always),
    )
    story = street.story()
    await street.batch(story.fires(1))
    assert await street.told() == ["firing"]
    await street.sweep()
    ((begun, end),) = await street.connection.fetch("SELECT window_start <= now(), window_end FROM silences")
    assert (begun, end) == (True, None)
    assert (await street.alert())["suppressed"] == {"silences": [str(identifier)], "inhibited_by": []}
    # The hours of another day: at rest until then.
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    far = days[(await street.connection.fetchval("SELECT extract(isodow FROM now())::int") + 2) % 7]
    await street.connection.execute(
        "UPDATE silences SET schedule = $1::text::jsonb, window_end = now()",
        json.dumps([{"days": [far], "from": "03:00", "to": "04:00"}]),
    )
    await street.sweep()
    hours = await street.connection.fetchval("SELECT window_end - window_start FROM silences")
    assert hours == timedelta(hours=1)
    assert (await street.alert())["suppressed"] is None


async def test_the_maintainer_does_it(street: AlertStreet, settings: VigieSettings) -> None:
    await street.silence({"boxes": ["alerts-1"]})
    await street.batch(street.story().fires(1))
    await street.end_silences()
    async with working_as("maintain", street.database) as opened:
        role = ProcessContext("maintain", opened)
        working = asyncio.create_task(run_maintain(settings, role))
        assert await until(street.told) == ["firing"]
        role.stop.set()
        await asyncio.wait_for(working, 60)
