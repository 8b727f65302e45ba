"""Inhibitions that would have alerts keep each other quiet, and those that only look so."""

import itertools

import pytest

from app.alerts import muting_queries
from tests.integration.alerts.helpers import AlertStreet

INFO, WARNING, CRITICAL = ({"severities": [each]} for each in ("info", "warning", "critical"))


async def loud(street: AlertStreet) -> set[str]:
    """The severities of the firing alerts that nothing mutes."""
    firing = [alert for alert in await street.alerts() if alert["state"] == "firing"]
    return {alert["severity"] for alert in firing if alert["suppressed"] is None}


@pytest.mark.parametrize("order", list(itertools.permutations(("warning", "critical"))))
@pytest.mark.parametrize("together", [True, False])
async def test_of_two_that_mute_each_other_the_graver_one_is_told(
    street: AlertStreet, order: tuple[str, ...], *, together: bool
) -> None:
    await street.inhibit(CRITICAL, WARNING, "box")
    await street.inhibit(WARNING, CRITICAL, "box")
    stories = [street.story(rule=await street.add_rule(each)) for each in order]
    steps = [story.fires(1, each) for story, each in zip(stories, order, strict=True)]
    for steps_of in [steps] if together else [[step] for step in steps]:
        await street.batch(*steps_of)
    await street.sweep()
    assert await loud(street) == {"critical"}
    assert "critical" in [told["severity"] for _, told in await street.outbox()]
    assert await street.sweep() == 0


async def test_in_a_circle_of_three_nothing_graver_is_muted_by_something_lighter(street: AlertStreet) -> None:
    for source, target in ((INFO, WARNING), (WARNING, CRITICAL), (CRITICAL, INFO)):
        await street.inhibit(source, target, "box")
    for each in ("info", "warning", "critical"):
        await street.batch(street.story(rule=await street.add_rule(each)).fires(1, each))
    await street.sweep()
    assert await loud(street) == {"warning", "critical"}
    before = await street.alerts()
    assert await street.sweep() == 0
    assert await street.alerts() == before


async def test_of_equally_grave_ones_the_older_is_told(street: AlertStreet) -> None:
    first, second = await street.add_rule("first"), await street.add_rule("second")
    await street.inhibit({"rule_ids": [first.key]}, {"rule_ids": [second.key]}, "box")
    await street.inhibit({"rule_ids": [second.key]}, {"rule_ids": [first.key]}, "box")
    older, younger = street.story(rule=second), street.story(rule=first)
    assert await street.batch(older.fires(1), younger.fires(1)) == 1
    alerts = {alert["id"]: alert["suppressed"] for alert in await street.alerts()}
    assert alerts[older.alert_id] is None
    assert alerts[younger.alert_id] == {"silences": [], "inhibited_by": [str(older.alert_id)]}
    # Once it is over, the other one is told.
    await street.batch(older.ends(2))
    assert await street.sweep() == 1
    assert await street.told() == ["firing", "resolved", "firing"]


async def test_something_lighter_mutes_where_nothing_goes_round(street: AlertStreet) -> None:
    """What is muted mutes in its turn: a chain is no circle."""
    await street.inhibit(INFO, WARNING, "box")
    await street.inhibit(WARNING, CRITICAL, "box")
    stories = {}
    for each in ("info", "warning", "critical"):
        stories[each] = street.story(rule=await street.add_rule(each))
        await street.batch(stories[each].fires(1, each))
    assert await loud(street) == {"info"}
    assert [told["severity"] for _, told in await street.outbox()] == ["info"]
    await street.batch(stories["info"].ends(2))
    await street.sweep()
    assert await loud(street) == {"warning"}


async def test_a_circle_is_muted_from_outside_and_by_silences_as_ever(street: AlertStreet) -> None:
    await street.inhibit(CRITICAL, WARNING, "box")
    await street.inhibit(WARNING, CRITICAL, "box")
    site = street.story(None, await street.add_rule("site", severity="info"))
    await street.inhibit(INFO, CRITICAL, "site")
    grave, mild = [street.story(rule=await street.add_rule(each)) for each in ("critical", "warning")]
    await street.batch(site.fires(1, "info"), grave.fires(1, "critical"), mild.fires(1, "warning"))
    assert await loud(street) == {"info"}
    alerts = {alert["id"]: alert["suppressed"] for alert in await street.alerts()}
    assert alerts[grave.alert_id] == {"silences": [], "inhibited_by": [str(site.alert_id)]}
    await street.batch(site.ends(2))
    await street.sweep()
    assert await loud(street) == {"critical"}
    silence = await street.silence(CRITICAL)
    await street.sweep()
    alerts = {alert["id"]: alert["suppressed"] for alert in await street.alerts()}
    assert alerts[grave.alert_id] == {"silences": [str(silence)], "inhibited_by": []}


async def test_a_circle_of_very_many_is_broken_by_the_timers(
    street: AlertStreet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch leaves it, since ingest would wait."""
    monkeypatch.setattr(muting_queries, "_MAX_SIDES_IN_BATCH", 1)
    await street.inhibit(CRITICAL, WARNING, "box")
    await street.inhibit(WARNING, CRITICAL, "box")
    for each in ("warning", "critical"):
        await street.batch(street.story(rule=await street.add_rule(each)).fires(1, each))
    await street.sweep()
    assert await loud(street) == {"critical"}
    assert "critical" in [told["severity"] for _, told in await street.outbox()]
    assert await street.sweep() == 0
