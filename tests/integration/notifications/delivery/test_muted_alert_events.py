"""What is muted while it waits in a group: from alerts and silences to what an endpoint is sent."""

import json
from datetime import timedelta

import asyncpg
import pytest

from app.notifications.delivery.delivery_leases import EndpointLoad, compute_next_due_s
from app.notifications.delivery.waiting_groups import MUTE_RECHECK_S, send_due_groups
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.alerts.helpers import AlertStory, AlertStreet, make_street
from tests.integration.notifications.helpers import add_endpoint
from tests.integration.notifications.postman import GROUPING, URL, Postman

ALL = {"metrics": ["pm2_5"]}


@pytest.fixture
async def street(database: Database, connection: asyncpg.Connection) -> AlertStreet:
    return await make_street(database, connection)


@pytest.fixture
def postman(street: AlertStreet, settings: VigieSettings) -> Postman:
    return Postman(street, settings.webhooks)


async def begin(postman: Postman, *stories: AlertStory, severity: str = "warning") -> None:
    """Alerts fire, and wait in their groups; then a silence is made, and the sweep sees it."""
    await postman.street.batch(*(story.fires(1, severity) for story in stories))
    await postman.gather()
    await postman.street.silence(ALL)
    await postman.street.sweep()


async def unmute(postman: Postman) -> None:
    await postman.street.end_silences()
    await postman.street.sweep()


async def test_what_is_silenced_while_it_waits_is_told_when_the_silence_ends(
    postman: Postman, street: AlertStreet
) -> None:
    await postman.endpoint()
    story = street.story()
    await begin(postman, story)
    assert (await street.alert())["suppressed"] is not None
    for _ in range(2):
        began = await postman.connection.fetchval("SELECT now()")
        await postman.send()
        assert (await postman.got(), await postman.waiting()) == ([], 1)
    # It is looked at again soon, and nobody has to wake for it before.
    due_in = await compute_next_due_s(postman.connection, postman.settings)
    assert due_in is not None
    assert due_in <= MUTE_RECHECK_S
    due_at = await postman.connection.fetchval("SELECT due_at FROM delivery_groups")
    assert due_at - began >= timedelta(seconds=MUTE_RECHECK_S)
    await unmute(postman)
    await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([("firing",)], 0)
    await street.batch(story.ends(2))
    await postman.send()
    await postman.send()
    assert await postman.got() == [("firing",), ("resolved",)]


async def test_what_ends_while_it_is_held_back_is_told_to_nobody(
    postman: Postman, street: AlertStreet
) -> None:
    await postman.endpoint()
    story = street.story()
    await begin(postman, story)
    await postman.send()
    await street.batch(story.ends(2))
    await postman.send()
    await unmute(postman)
    await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([], 0)
    assert await postman.connection.fetchval("SELECT count(*) FROM delivery_groups") == 0


async def test_what_grew_critical_and_ends_while_it_is_held_back_is_told_to_nobody(
    postman: Postman, street: AlertStreet
) -> None:
    endpoint = await postman.endpoint(min_severity="critical")
    story = street.story()
    await street.batch(story.fires(1))
    await postman.send()
    await street.batch(story.rises(2, "critical"))
    await postman.gather()
    assert await postman.waiting() == 1
    await street.silence(ALL)
    await street.sweep()
    await street.batch(story.ends(3))
    await postman.send()
    await unmute(postman)
    await postman.send()
    assert (await postman.got(endpoint), await postman.waiting()) == ([], 0)


async def test_an_end_is_told_if_only_a_second_rise_is_held_back(
    postman: Postman, street: AlertStreet
) -> None:
    endpoint = await postman.endpoint(min_severity="critical")
    story = street.story()
    await street.batch(story.fires(1))
    await street.batch(story.rises(2, "critical"))
    await postman.send()
    await street.batch(story.falls(3, "warning"))
    await postman.send()
    before = await postman.got(endpoint)
    assert [kinds[-1] for kinds in before] == ["escalated", "deescalated"]
    await street.batch(story.rises(4, "critical"))
    await postman.gather()
    await street.silence(ALL)
    await street.sweep()
    await street.batch(story.ends(5))
    await postman.send()
    await unmute(postman)
    await postman.send()
    await postman.send()
    assert await postman.waiting() == 0
    assert (await postman.got(endpoint))[-1][-1] == "resolved"


async def test_an_inhibition_holds_back_as_well(postman: Postman, street: AlertStreet) -> None:
    await postman.endpoint()
    target = street.story()
    await street.batch(target.fires(1))
    await postman.gather()
    await street.inhibit({"severities": ["critical"]}, {"severities": ["warning"]}, "box")
    source = street.story(rule=await street.add_rule("grave"))
    await street.batch(source.fires(2, "critical"))
    await street.sweep()
    await postman.send()
    assert await postman.got() == [("firing",)]
    await street.batch(source.ends(3))
    await street.sweep()
    await postman.send()
    # The source's end, and the beginning that it held back.
    assert sorted(await postman.got()) == [("firing",), ("firing",), ("resolved",)]
    row = await postman.connection.fetchrow("SELECT count(*), count(DISTINCT event_id) FROM deliveries")
    assert tuple(row or ()) == (3, 3)


async def test_others_of_the_group_go_and_it_is_sent_no_sooner_than_the_interval(
    postman: Postman, street: AlertStreet
) -> None:
    endpoint = await postman.endpoint()
    muted, heard = street.story(), street.story(street.second)
    await street.batch(muted.fires(1), heard.fires(1))
    await postman.gather()
    await street.silence({"boxes": ["alerts-1"]})
    await street.sweep()
    await postman.send()
    (body,) = [
        json.loads(row["body"]) for row in await postman.connection.fetch("SELECT body FROM deliveries")
    ]
    assert (body["data"]["firing"], body["data"]["truncated"]) == (1, 0)
    assert [one["data"]["box"] for one in body["data"]["events"]] == ["alerts-2"]
    # Of groups alone: the delivery that was made is due now.
    busy = [EndpointLoad(endpoint, 0, held=True)]
    due_in = await compute_next_due_s(postman.connection, postman.settings, busy=busy)
    assert due_in is not None
    assert 2940 < due_in <= 3000
    await unmute(postman)
    await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([("firing",), ("firing",)], 0)


async def test_each_endpoint_hears_an_end_exactly_when_it_heard_the_beginning(
    postman: Postman, street: AlertStreet
) -> None:
    grouped = await postman.endpoint()
    plain, _ = await add_endpoint(postman.connection, street.organisation_id, URL)
    quick = await postman.endpoint({**GROUPING, "by": ["box"], "wait": "PT0S"})
    story = street.story()
    await street.batch(story.fires(1))
    await postman.gather()
    await postman.connection.execute(
        "UPDATE delivery_groups SET due_at = now() WHERE endpoint_id = $1", quick
    )
    await send_due_groups(postman.connection, postman.settings)
    await street.silence(ALL)
    await street.sweep()
    await postman.send()
    await street.batch(story.ends(2))
    for _ in range(2):
        await postman.send()
    assert await postman.got(plain) == [("firing",), ("resolved",)]
    assert await postman.got(quick) == [("firing",), ("resolved",)]
    assert (await postman.got(grouped), await postman.waiting()) == ([], 0)


async def test_an_end_in_another_group_goes_with_the_beginning_that_was_held_back(
    postman: Postman, street: AlertStreet
) -> None:
    await postman.endpoint({**GROUPING, "by": ["severity"]})
    story, other = street.story(), street.story(street.second)
    await begin(postman, story, other)
    await postman.send()
    await street.batch(story.rises(2, "critical"))
    await street.batch(story.ends(3))
    # Its end is not fanned out yet: nothing is decided.
    await postman.connection.execute("UPDATE delivery_groups SET due_at = now()")
    await send_due_groups(postman.connection, postman.settings)
    assert await postman.waiting() == 2
    await postman.gather()
    assert await postman.connection.fetchval("SELECT count(*) FROM delivery_groups") == 2
    # Its end waits elsewhere: the beginning stays for its sake.
    await postman.connection.execute("UPDATE delivery_groups SET due_at = now() WHERE held")
    await send_due_groups(postman.connection, postman.settings)
    assert await postman.waiting() == 3
    for _ in range(2):
        await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([], 1)
    await unmute(postman)
    await postman.send()
    assert await postman.got() == [("firing",)]


async def test_what_was_told_before_has_its_end_told(postman: Postman, street: AlertStreet) -> None:
    await postman.endpoint()
    story = street.story()
    await street.batch(story.fires(1))
    await postman.send()
    await street.batch(story.rises(2, "critical"))
    await postman.gather()
    await street.silence(ALL)
    await street.sweep()
    await postman.send()
    assert await postman.got() == [("firing",)]
    await street.batch(story.ends(3))
    await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([("firing",), ("resolved",)], 0)


async def test_a_change_that_was_held_back_is_told_afterwards(postman: Postman, street: AlertStreet) -> None:
    await postman.endpoint()
    story = street.story()
    await begin(postman, story)
    await postman.send()
    await street.batch(story.rises(2, "critical"))
    await unmute(postman)
    await postman.send()
    # One notification of both: the beginning is in it, as it is by now.
    assert (await postman.got(), await postman.waiting()) == ([("escalated",)], 0)
    body = json.loads(await postman.connection.fetchval("SELECT body FROM deliveries"))
    (listed,) = body["data"]["events"]
    assert (listed["events_count"], listed["data"]["severity"]) == (2, "critical")


async def test_who_does_not_want_ends_keeps_nothing_of_what_is_over(
    postman: Postman, street: AlertStreet
) -> None:
    await postman.endpoint(events=["alert.firing"])
    story = street.story()
    await begin(postman, story)
    await postman.send()
    await street.batch(story.ends(2))
    await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([], 0)


@pytest.mark.parametrize("by", ["rule", "severity"])
async def test_what_is_held_back_goes_with_its_box(postman: Postman, street: AlertStreet, by: str) -> None:
    await postman.endpoint({**GROUPING, "by": [by]})
    story = street.story()
    await begin(postman, story)
    await postman.send()
    await street.batch(story.rises(2, "critical"))
    assert await street.close(reason="box_deleted", box_keys=[street.first]) == 1
    await postman.gather()
    await postman.connection.execute("DELETE FROM boxes WHERE key = $1", street.first)
    assert await street.alerts() == []
    for _ in range(2):
        await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([], 0)


async def test_what_joins_what_is_held_back_waits_its_own_time(postman: Postman, street: AlertStreet) -> None:
    await postman.endpoint()
    await begin(postman, street.story())
    await postman.send()
    await street.end_silences()
    await street.batch(street.story(street.second).fires(2))
    await postman.gather()
    due_in = await compute_next_due_s(postman.connection, postman.settings)
    assert due_in is not None
    assert 540 < due_in <= 600
    # Another one does not put it off.
    await postman.connection.execute("UPDATE delivery_groups SET due_at = due_at - interval '5 minutes'")
    await street.batch(street.story(street.second, await street.add_rule()).fires(3))
    await postman.gather()
    due_in = await compute_next_due_s(postman.connection, postman.settings)
    assert due_in is not None
    assert 240 < due_in <= 300


async def test_who_gives_up_grouping_is_sent_all_that_waits(postman: Postman, street: AlertStreet) -> None:
    endpoint = await postman.endpoint()
    story = street.story()
    await begin(postman, story)
    await postman.send()
    await postman.connection.execute("UPDATE webhook_endpoints SET grouping = NULL WHERE id = $1", endpoint)
    await postman.send()
    await street.batch(story.ends(2))
    await postman.gather()
    assert (sorted(await postman.got()), await postman.waiting()) == ([("firing",), ("resolved",)], 0)


async def test_a_failure_leaves_what_is_held_back_as_it_was(postman: Postman, street: AlertStreet) -> None:
    await postman.endpoint()
    story = street.story()
    await begin(postman, story)
    await postman.send()
    await street.batch(story.ends(2))
    await postman.connection.execute("ALTER TABLE delivery_groups ADD CONSTRAINT broken CHECK (held)")
    with pytest.raises(asyncpg.CheckViolationError):
        await postman.send()
    await postman.connection.execute("ALTER TABLE delivery_groups DROP CONSTRAINT broken")
    assert await postman.waiting() == 1
    await postman.send()
    assert (await postman.got(), await postman.waiting()) == ([], 0)
