"""Inhibitions in circles: what is left of "is muted by" always ends at somebody who is told."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.alerts.inhibition_cycle_breaking import InhibitionSide, find_muters_outside_cycles

ALERTS = [UUID(int=number) for number in range(1, 8)]
HUBS = [UUID(int=number) for number in range(100, 104)]
places = st.lists(
    st.builds(
        InhibitionSide,
        st.sampled_from(HUBS),
        st.just("[]"),
        st.sampled_from(ALERTS),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
    unique_by=lambda place: (place.inhibition, place.alert),
)


def edges(found: list[InhibitionSide]) -> set[tuple[UUID, UUID]]:
    """Which alert would mute which, by the definition."""
    return {
        (one.alert, other.alert)
        for one in found
        for other in found
        if one.inhibition == other.inhibition and one.source and other.target
        if not (one.target and other.source)
    }


def reached(start: UUID, pairs: set[tuple[UUID, UUID]]) -> set[UUID]:
    known: set[UUID] = set()
    ahead = {start}
    while ahead:
        ahead = {to for come, to in pairs if come in ahead} - known
        known |= ahead
    return known


@given(places)
def test_of_each_alert_those_are_given_that_it_does_not_reach_itself(found: list[InhibitionSide]) -> None:
    pairs = edges(found)
    given_ = find_muters_outside_cycles(found, ALERTS, 10)
    for alert, sources in given_.items():
        expected = {one for one, other in pairs if other == alert and one not in reached(alert, pairs)}
        assert set(sources) == expected
        assert sources == sorted(sources)


@given(places)
def test_nothing_goes_round_any_more(found: list[InhibitionSide]) -> None:
    """The lowest numbers are the gravest: those mute, and what each does not reach itself."""
    pairs = edges(found)
    given_ = find_muters_outside_cycles(found, ALERTS, 10)
    kept = {(one, other) for one, other in pairs if one < other or one in given_.get(other, [])}
    assert all(alert not in reached(alert, kept) for alert in ALERTS)


def test_the_oldest_are_given_and_no_more_than_asked_for() -> None:
    found = [
        InhibitionSide(HUBS[0], "[]", alert, source=True, target=False) for alert in reversed(ALERTS[1:])
    ]
    found.append(InhibitionSide(HUBS[0], "[]", ALERTS[0], source=False, target=True))
    assert find_muters_outside_cycles(found, ALERTS[:1], 2) == {ALERTS[0]: ALERTS[1:3]}


def test_a_long_chain_is_followed() -> None:
    count = 5000
    alerts = [UUID(int=number + 1) for number in range(count)]
    hubs = [UUID(int=number + count * 2) for number in range(count)]
    found = [
        InhibitionSide(hub, "[]", alert, source=True, target=False)
        for hub, alert in zip(hubs, alerts, strict=True)
    ]
    found += [
        InhibitionSide(hub, "[]", alert, source=False, target=True)
        for hub, alert in zip(hubs, [*alerts[1:], alerts[0]], strict=True)
    ]
    assert find_muters_outside_cycles(found, alerts, 10) == {alert: [] for alert in alerts}
