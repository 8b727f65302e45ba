"""Silences and inhibitions: what they keep from being told, and what is told once they are over."""

from typing import Any

import pytest

from app.platform.kernel.ids import new_id
from tests.integration.alerts.helpers import AlertStreet, cause, make_street


async def test_what_is_silenced_fires_and_is_not_told(street: AlertStreet) -> None:
    silence = await street.silence({"boxes": ["alerts-1"]})
    muted, heard = street.story(), street.story(street.second)
    assert await street.batch(muted.fires(1), heard.fires(1), muted.rises(2, "critical")) == 1
    alerts = {alert["id"]: alert for alert in await street.alerts()}
    alert = alerts[muted.alert_id]
    assert alert["suppressed"] == {"silences": [str(silence)], "inhibited_by": []}
    assert (alert["notified"], alert["state"], alert["severity"]) == (False, "firing", "critical")
    assert (alerts[heard.alert_id]["suppressed"], alerts[heard.alert_id]["notified"]) == (None, True)
    assert await street.kinds(muted.alert_id) == ["fired", "escalated", "suppressed"]
    assert (await street.timeline(muted.alert_id))[-1]["data"] == alert["suppressed"]
    assert [told["box"] for _, told in await street.outbox()] == ["alerts-2"]


async def test_what_is_silenced_until_it_resolves_is_never_told(street: AlertStreet) -> None:
    await street.silence({"rule_ids": [street.rule.key]})
    story, at_once = street.story(), street.story(street.second)
    await street.batch(story.fires(1), at_once.fires(1), at_once.ends(2))
    await street.batch(story.rises(2, "critical"))
    assert await street.sweep() == 0
    await street.batch(story.ends(3))
    await street.end_silences()
    assert await street.sweep() == 0
    assert await street.outbox() == []
    assert {alert["notified"] for alert in await street.alerts()} == {False}


async def test_what_still_fires_when_its_silence_ends_is_told_once(street: AlertStreet) -> None:
    await street.silence({"metrics": ["pm2_5"]})
    story = street.story()
    await street.batch(story.fires(1))
    await street.batch(story.rises(2, "critical"))
    await street.end_silences()
    assert await street.sweep() == 1
    assert await street.sweep() == 0
    ((kind, told),) = await street.outbox()
    # The present state, not the one of when it fired.
    assert (kind, told["severity"], told["sequence"]) == ("alert.firing", "critical", 3)
    alert = await street.alert()
    assert (alert["notified"], alert["suppressed"], alert["sequence"]) == (True, None, 3)
    assert await street.kinds(story.alert_id) == ["fired", "suppressed", "escalated", "unsuppressed"]
    await street.batch(story.ends(3))
    assert await street.told() == ["firing", "resolved"]


async def test_what_was_told_is_told_to_have_resolved_during_a_silence(street: AlertStreet) -> None:
    story = street.story()
    await street.batch(story.fires(1))
    await street.silence({"site_ids": [str(street.site_id)]})
    assert await street.sweep() == 0
    assert (await street.alert())["suppressed"] is not None
    # Meanwhile nothing else is told.
    await street.batch(story.rises(2, "critical"))
    await street.batch(story.ends(3))
    assert await street.told() == ["firing", "resolved"]
    assert await street.kinds(story.alert_id) == ["fired", "suppressed", "escalated", "resolved"]


async def test_what_changed_while_it_was_muted_is_told_afterwards(street: AlertStreet) -> None:
    up, same = street.story(), street.story(street.second)
    await street.batch(up.fires(1), same.fires(1))
    await street.silence({"metrics": ["pm2_5"]})
    await street.sweep()
    await street.batch(up.rises(2, "critical"), same.rises(2, "critical"), same.falls(3, "warning"))
    await street.end_silences()
    # The second one is again what its receivers know.
    assert await street.sweep() == 1
    kind, told = (await street.outbox())[-1]
    assert (kind, told["severity"], told["previous_severity"]) == ("alert.escalated", "critical", "warning")
    assert (told["reason"], told["previous_highest_severity"]) == ("samples", None)
    assert await street.told() == ["firing", "firing", "escalated"]


async def test_a_rise_out_of_a_silence_is_told_by_the_sweep_and_one_into_it_is_not(
    street: AlertStreet,
) -> None:
    await street.silence({"severities": ["warning"]})
    out, into = street.story(), street.story(street.second)
    await street.batch(out.fires(1), into.fires(1, "info"))
    await street.batch(out.rises(2, "critical"), into.rises(2, "warning"))
    assert await street.told() == ["firing"]
    assert await street.sweep() == 1
    kind, told = (await street.outbox())[-1]
    assert (kind, told["severity"], told["box"]) == ("alert.firing", "critical", "alerts-1")


@pytest.mark.parametrize(
    ("matchers", "muted"),
    [
        ({"site_ids": ["{site}"]}, True),
        ({"site_ids": ["{other}"]}, False),
        ({"boxes": ["alerts-9", "alerts-1"]}, True),
        ({"boxes": ["alerts-2"]}, False),
        ({"rule_ids": ["{rule}", "{other}"]}, True),
        ({"rule_ids": ["{other}"]}, False),
        ({"metrics": ["no2", "pm2_5"]}, True),
        ({"metrics": ["no2"]}, False),
        ({"severities": ["info", "warning"]}, True),
        ({"severities": ["critical"]}, False),
        ({"tags": ["quay", "school"]}, True),
        ({"tags": ["quay"]}, False),
        ({"boxes": ["alerts-1"], "severities": ["warning"]}, True),
        ({"boxes": ["alerts-1"], "severities": ["critical"]}, False),
    ],
)
async def test_matchers_are_any_of_each_list_and_all_of_the_lists(
    street: AlertStreet,
    matchers: dict[str, list[str]],
    muted: bool,  # noqa: FBT001 (a parameter of the cases)
) -> None:
    names = {"site": street.site_id, "rule": street.rule.id, "other": new_id()}
    await street.connection.execute("UPDATE boxes SET tags = '{school,lot}' WHERE id = 'alerts-1'")
    given = {kind: [value.format(**names) for value in values] for kind, values in matchers.items()}
    await street.silence(given)
    await street.batch(street.story().fires(1))
    assert ((await street.alert())["suppressed"] is not None) is muted


@pytest.mark.parametrize("matchers", [{"boxes": ["alerts-1"]}, {"tags": ["lot"]}, {"metrics": ["pm2_5"]}])
async def test_what_an_alert_does_not_have_matches_no_list(
    street: AlertStreet, matchers: dict[str, list[str]]
) -> None:
    await street.silence(matchers)
    await street.batch(street.story(None).fires(1, why=cause(None, metric=None)))
    assert (await street.alert())["suppressed"] is None


async def test_a_silence_is_for_its_own_organisation(street: AlertStreet) -> None:
    other = await make_street(street.database, street.connection, "others")
    await street.silence({"severities": ["warning"]}, organisation_id=other.organisation_id)
    await other.inhibit({"severities": ["warning"]}, {"severities": ["info"]})
    await street.batch(street.story().fires(1, "info"), street.story(street.second).fires(1))
    await other.batch(other.story().fires(1))
    assert [told["organisation_id"] for _, told in await street.outbox()] == [str(street.organisation_id)] * 2
    assert await street.sweep() == 0


async def test_a_source_mutes_targets_of_the_same_batch_in_any_order(street: AlertStreet) -> None:
    await street.inhibit({"severities": ["critical"]}, {"severities": ["info", "warning"]}, "box")
    grave, mild = await street.add_rule("grave"), await street.add_rule("mild")
    source = street.story(rule=grave)
    target, elsewhere = street.story(rule=mild), street.story(street.second, mild)
    await street.batch(target.fires(1), elsewhere.fires(1), source.fires(2, "critical"))
    alerts = {alert["id"]: alert["suppressed"] for alert in await street.alerts()}
    assert alerts == {
        source.alert_id: None,
        target.alert_id: {"silences": [], "inhibited_by": [str(source.alert_id)]},
        elsewhere.alert_id: None,
    }
    assert [told["severity"] for _, told in await street.outbox()] == ["warning", "critical"]
    # It is over with the source.
    await street.batch(source.ends(3))
    assert await street.sweep() == 1
    assert await street.told() == ["firing", "firing", "resolved", "firing"]


async def test_a_source_that_fires_later_mutes_what_fires_already(street: AlertStreet) -> None:
    await street.inhibit({"rule_ids": [street.rule.key]}, {"severities": ["info"]}, "site", "metric")
    mild = await street.add_rule("mild", severity="info")
    target, same = street.story(rule=mild), street.story(street.second, mild)
    await street.batch(target.fires(1, "info"), same.fires(1, "info", cause(metric="no2")))
    source = street.story()
    await street.batch(source.fires(2))
    assert await street.sweep() == 0
    alerts = {alert["id"]: alert["suppressed"] for alert in await street.alerts()}
    assert alerts[target.alert_id] == {"silences": [], "inhibited_by": [str(source.alert_id)]}
    assert alerts[same.alert_id] is None
    await street.batch(target.ends(3))
    assert await street.told() == ["firing"] * 3 + ["resolved"]


async def test_what_matches_both_sides_is_muted_by_no_other_such_nor_by_itself(street: AlertStreet) -> None:
    await street.inhibit({"severities": ["warning", "critical"]}, {"severities": ["info", "warning"]})
    both, too = street.story(), street.story(street.second)
    await street.batch(both.fires(1), too.fires(1))
    assert await street.told() == ["firing", "firing"]
    await street.sweep()
    assert [alert["suppressed"] for alert in await street.alerts()] == [None, None]
    # One that is source alone mutes both.
    only = street.story(rule=await street.add_rule("grave"))
    await street.batch(only.fires(2, "critical"))
    await street.sweep()
    muted = {alert["id"] for alert in await street.alerts() if alert["suppressed"]}
    assert muted == {both.alert_id, too.alert_id}


async def test_an_alert_on_trial_mutes_nothing(street: AlertStreet) -> None:
    await street.inhibit({"severities": ["critical"]}, {"severities": ["warning"]})
    trial = await street.add_rule("trial", dry_run=True)
    await street.batch(street.story(rule=trial).fires(1, "critical"), street.story().fires(1))
    await street.sweep()
    assert await street.told() == ["firing"]


async def test_without_anything_that_mutes_the_sweep_finds_nothing(street: AlertStreet) -> None:
    await street.batch(street.story().fires(1))
    before: dict[str, Any] = await street.alert()
    assert await street.sweep() == 0
    assert await street.alert() == before


async def test_one_silence_may_take_over_from_another(street: AlertStreet) -> None:
    await street.silence({"boxes": ["alerts-1"]})
    story = street.story()
    await street.batch(story.fires(1))
    await street.end_silences()
    second = await street.silence({"severities": ["warning"]})
    assert await street.sweep() == 0
    assert (await street.alert())["suppressed"] == {"silences": [str(second)], "inhibited_by": []}
    assert await street.kinds(story.alert_id) == ["fired", "suppressed"]
