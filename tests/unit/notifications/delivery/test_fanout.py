"""Who receives what, and the body that all forms are made of."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.events.event_types import (
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    NOTICES,
    QUOTA_NOTICES,
    SEVERITIES,
    TEST_EVENT,
)
from app.notifications.events.subscriptions import (
    CandidateEvent,
    EndpointSubscription,
    enters_severity_range,
    is_first_event,
    matches_subscription,
)
from app.notifications.formats.native_and_cloudevents import build_native_body
from app.rules.definitions import severity

ENDPOINT, SITE, OTHER = uuid4(), uuid4(), uuid4()


@pytest.mark.parametrize(
    ("events", "sites", "type_", "site", "wanted"),
    [
        (["alert.firing"], None, "alert.firing", SITE, True),
        (["alert.firing"], None, "alert.firing", None, True),
        (["alert.firing"], None, "alert.resolved", SITE, False),
        (["*"], None, "alert.acknowledged", SITE, True),
        (["*"], [SITE], "alert.firing", SITE, True),
        (["*"], [SITE, OTHER], "alert.firing", OTHER, True),
        (["*"], [OTHER], "alert.firing", SITE, False),
        (["*"], [SITE], "alert.firing", None, False),
        (["*"], None, TEST_EVENT, None, False),
    ],
)
def test_who_receives_what(
    events: list[str],
    sites: list[UUID] | None,
    type_: str,
    site: UUID | None,
    wanted: bool,  # noqa: FBT001 (a parameter)
) -> None:
    payload = json.dumps({"endpoint_id": str(uuid4())})
    assert (
        matches_subscription(
            EndpointSubscription(ENDPOINT, events, sites), CandidateEvent.of(type_, site, payload)
        )
        is wanted
    )


def test_a_test_event_goes_to_the_one_it_names() -> None:
    event = CandidateEvent.of(TEST_EVENT, None, json.dumps({"endpoint_id": str(ENDPOINT)}))
    assert matches_subscription(EndpointSubscription(ENDPOINT, ["alert.firing"], [SITE]), event)
    assert matches_subscription(
        EndpointSubscription(ENDPOINT, ["alert.firing"], None, min_severity="critical"), event
    )


@pytest.mark.parametrize("type_", sorted(QUOTA_NOTICES))
@pytest.mark.parametrize(
    ("subscription", "wanted"),
    [
        (EndpointSubscription(ENDPOINT, ["*"], None), True),
        (EndpointSubscription(ENDPOINT, ["*"], [SITE]), False),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], None), False),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], [SITE], kind="email"), True),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], [SITE], kind="email", notices=False), False),
    ],
)
def test_quotas_are_mailed_unasked_and_posted_to_who_subscribes(
    subscription: EndpointSubscription,
    wanted: bool,  # noqa: FBT001 (a parameter)
    type_: str,
) -> None:
    assert matches_subscription(subscription, CandidateEvent.of(type_, None, "{}")) is wanted


@pytest.mark.parametrize("type_", sorted(NOTICES))
@pytest.mark.parametrize(
    ("subscription", "wanted"),
    [
        (EndpointSubscription(ENDPOINT, ["*"], None), True),
        (EndpointSubscription(ENDPOINT, ["*"], None, min_severity="critical"), True),
        # It is of no site: as in a stream, who wants those of some sites does not get it, unless by mail.
        (EndpointSubscription(ENDPOINT, ["*"], [SITE]), False),
        (EndpointSubscription(ENDPOINT, ["*"], [SITE], kind="mqtt"), False),
        (EndpointSubscription(ENDPOINT, ["*"], [SITE], kind="email", notices=False), True),
        (EndpointSubscription(ENDPOINT, [ENDPOINT_FAILING, ENDPOINT_DISABLED], None), True),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], None), False),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], None, kind="mqtt"), False),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], [SITE], kind="email"), True),
        (EndpointSubscription(ENDPOINT, ["alert.firing"], None, kind="email", notices=False), False),
        (EndpointSubscription(ENDPOINT, ["*"], None, kind="email", notices=False), True),
        (EndpointSubscription(OTHER, ["*"], None), False),
        (EndpointSubscription(OTHER, ["*"], None, kind="email"), False),
    ],
)
def test_a_notice_goes_to_whoever_wants_it_and_to_mails_but_never_to_itself(
    type_: str,
    subscription: EndpointSubscription,
    wanted: bool,  # noqa: FBT001 (a parameter)
) -> None:
    event = CandidateEvent.of(type_, None, json.dumps({"endpoint_id": str(OTHER), "reason": "gone"}))
    assert matches_subscription(subscription, event) is wanted


def alert(type_: str, **data: Any) -> CandidateEvent:  # noqa: ANN401 (fields of an alert's data)
    return CandidateEvent.of(type_, SITE, json.dumps({"alert_id": str(uuid4()), **data}))


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (alert("alert.firing", severity="critical", highest_severity="critical"), True),
        (alert("alert.firing", severity="warning", highest_severity="warning"), False),
        # It had been graver: whoever heard of that hears how it goes on.
        (alert("alert.deescalated", severity="warning", highest_severity="critical"), True),
        (alert("alert.resolved", severity="info", highest_severity="critical"), True),
        (alert("alert.resolved", severity="info", highest_severity="warning"), False),
        (alert("alert.resolved", severity="critical"), True),
        (alert("alert.resolved", severity="warning"), False),
        # Rather one too many than an alert that nobody is told of.
        (alert("alert.firing"), True),
        (alert("alert.firing", severity="dreadful"), True),
        (alert("alert.firing", severity=7), True),
        (CandidateEvent.of("platform.messages_dropped", None, "{}"), True),
    ],
)
def test_a_least_severity_goes_by_the_highest_that_an_alert_had(
    event: CandidateEvent,
    wanted: bool,  # noqa: FBT001 (a parameter)
) -> None:
    assert (
        matches_subscription(EndpointSubscription(ENDPOINT, ["*"], None, min_severity="critical"), event)
        is wanted
    )


def test_an_escalation_into_range_is_a_beginning() -> None:
    subscription = EndpointSubscription(
        ENDPOINT, ["alert.firing", "alert.resolved"], None, min_severity="critical"
    )
    data = {"severity": "critical", "highest_severity": "critical", "previous_severity": "info"}
    into = alert("alert.escalated", **data)
    assert matches_subscription(subscription, into)
    assert enters_severity_range(subscription, into)
    within = alert("alert.escalated", **{**data, "previous_severity": "warning", "severity": "critical"})
    assert not matches_subscription(subscription._replace(min_severity="warning"), within)
    assert not matches_subscription(subscription._replace(min_severity=None), into)
    assert not matches_subscription(subscription._replace(site_ids=[OTHER]), into)
    assert not matches_subscription(subscription._replace(events=["alert.resolved"]), into)


def test_only_the_first_escalation_into_range_is_a_beginning() -> None:
    subscription = EndpointSubscription(
        ENDPOINT, ["alert.firing", "alert.resolved"], None, min_severity="critical"
    )

    def rise(**data: str | None) -> CandidateEvent:
        usual = {"severity": "critical", "highest_severity": "critical", "previous_severity": "warning"}
        return alert("alert.escalated", **usual, **data)

    def is_first(event: CandidateEvent) -> bool:
        assert event.alert is not None
        return is_first_event(subscription, event.type, event.alert)

    first, again = rise(previous_highest_severity="warning"), rise(previous_highest_severity="critical")
    assert (matches_subscription(subscription, first), is_first(first)) == (True, True)
    assert (matches_subscription(subscription, again), is_first(again)) == (False, False)
    # Of an earlier version, or of an alert that was muted: rather one too many, but no certain beginning.
    for event in (rise(), rise(previous_highest_severity=None)):
        assert (matches_subscription(subscription, event), is_first(event)) == (True, False)
    assert is_first(alert("alert.firing", severity="critical"))
    assert not is_first(alert("alert.resolved", severity="critical", highest_severity="critical"))


def life(severities: Sequence[str]) -> list[CandidateEvent]:
    """What is told of an alert that has these severities, one after the other, and then resolves."""
    events = []
    highest = now = severities[0]
    identifier = str(uuid4())

    def tell(type_: str, **more: str) -> None:
        data = {"alert_id": identifier, "severity": now, "highest_severity": highest, **more}
        events.append(CandidateEvent.of(type_, SITE, json.dumps(data)))

    tell("alert.firing")
    for each in severities[1:]:
        before, former, now = now, highest, each
        highest = severity.find_highest_severity((highest, now))
        if now != before:
            up = severity.rank_severity(now) > severity.rank_severity(before)
            if up:
                tell("alert.escalated", previous_severity=before, previous_highest_severity=former)
            else:
                tell("alert.deescalated", previous_severity=before)
    tell("alert.reminder")
    tell("alert.resolved")
    return events


@given(
    severities=st.lists(st.sampled_from(SEVERITIES), min_size=1, max_size=8),
    least=st.none() | st.sampled_from(SEVERITIES),
    more=st.sets(st.sampled_from(["alert.escalated", "alert.deescalated", "alert.reminder"])),
)
def test_an_end_is_told_exactly_when_a_beginning_was(
    severities: list[str], least: str | None, more: set[str]
) -> None:
    events = ["alert.firing", "alert.resolved", *more]
    subscription = EndpointSubscription(ENDPOINT, events, None, min_severity=least)
    told = [event for event in life(severities) if matches_subscription(subscription, event)]
    grave = least is None or severity.rank_severity(
        severity.find_highest_severity(severities)
    ) >= severity.rank_severity(least)
    assert bool(told) is grave
    if told:
        # The first that is told is the beginning: it fires, or comes into range; the last is the end.
        assert told[0].type == "alert.firing" or enters_severity_range(subscription, told[0])
        assert told[-1].type == "alert.resolved"
        beginnings = [event for event in told if enters_severity_range(subscription, event)]
        assert len(beginnings) + (told[0].type == "alert.firing") == 1
        first = told[0].alert
        assert first is not None
        assert least is None or severity.rank_severity(str(first.severity)) >= severity.rank_severity(least)


def test_the_severities_are_the_rules() -> None:
    assert SEVERITIES == severity.SEVERITIES


def test_the_body_is_the_contracts() -> None:
    at = datetime(2026, 11, 24, 11, 10, 2, tzinfo=timezone(timedelta(hours=1)))
    data: dict[str, Any] = {"value": 31.2, "name": "Rue d'Alsace — « été »", "resolved_at": None}
    body = build_native_body("alert.firing", at, json.dumps(data, ensure_ascii=False))
    assert json.loads(body) == {"type": "alert.firing", "timestamp": "2026-11-24T10:10:02Z", "data": data}
    assert build_native_body("a", datetime(2026, 1, 1, 0, 0, 0, 125_000, tzinfo=UTC), "{}") == (
        b'{"type":"a","timestamp":"2026-01-01T00:00:00.125Z","data":{}}'
    )
