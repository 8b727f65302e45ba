"""A box at one moment: which values are on time, and what is kept of them."""

import pytest

from app.catalogue.metrics import INDEX
from app.rules.engine.box_and_site_views import NEVER, BoxFacts, BoxView, SiteView, compile_scope
from app.rules.engine.value_windows import BoxEvent, BoxHistory, RuleLookback, WindowSpec
from tests.unit.rules.helpers import move, row

PM, TEMPERATURE = INDEX["pm2_5"], INDEX["temperature"]
NEEDS = RuleLookback(frozenset({WindowSpec(PM, 100)}), {"gunshot": 50})


def view_of(**latest: list[float]) -> BoxView:
    return BoxView(BoxFacts(1, "box-1"), latest, BoxHistory(NEEDS), NEEDS)


def test_a_box_of_which_nothing_is_known() -> None:
    view = view_of()
    assert (view.newest_us, view.time(None), view.time(PM), view.value(PM)) == (NEVER, NEVER, NEVER, None)
    assert view.fresh(0, row(pm2_5=1)) == [PM]


def test_late_is_said_of_each_column_alone() -> None:
    view = view_of(pm2_5=[1.0, 100], temperature=[20.0, 200])
    assert view.newest_us == 200
    assert view.fresh(100, row(pm2_5=5)) == []
    move(view, 100, row(pm2_5=5))
    assert view.value(PM) == (1, 100)
    assert view.fresh(150, row(pm2_5=5, temperature=5)) == [PM]
    move(view, 150, row(pm2_5=5, temperature=5))
    assert (view.value(PM), view.value(TEMPERATURE), view.newest_us) == ((5, 150), (20, 200), 200)
    move(view, 201, row(humidity=50))
    assert (view.time(None), view.time(PM)) == (201, 150)


def test_values_are_kept_and_given_as_they_are_stored() -> None:
    view = view_of(pm2_5=[24.99999999, 1])
    assert view.value(PM) == (25.0, 1)
    move(view, 2, row(pm2_5=12.4000000001))
    assert view.value(PM) == (12.4, 2)
    assert view.history.windows[WindowSpec(PM, 100)].aggregate("max") == 12.4


def test_events_are_on_time_by_type_and_kept_where_a_rule_looks() -> None:
    view = view_of()
    assert not view.event_on_time("scream", 10)
    assert view.event_on_time("gunshot", 10)
    view.take_event("gunshot", BoxEvent(10, []))
    assert not view.event_on_time("gunshot", 10)
    view.take_event("gunshot", BoxEvent(60, []))
    assert view.history.events["gunshot"] == [BoxEvent(60, [])]
    # An event is no sample.
    assert view.newest_us == NEVER


def test_a_view_begins_with_the_events_that_are_kept() -> None:
    history = BoxHistory(NEEDS)
    history.add_event("gunshot", BoxEvent(7, []), 50)
    view = BoxView(BoxFacts(1), {}, history, NEEDS)
    assert not view.event_on_time("gunshot", 7)
    assert view.event_on_time("gunshot", 8)


def test_columns_that_nobody_looks_at_do_not_move_it() -> None:
    view = view_of()
    view.columns = (PM,)
    assert view.fresh(5, row(pm2_5=1, temperature=1)) == [PM]
    move(view, 5, row(pm2_5=1, temperature=1))
    move(view, 6, row(temperature=1))
    assert (view.newest_us, view.time(TEMPERATURE)) == (5, NEVER)


@pytest.mark.parametrize(
    ("scope", "taken"),
    [
        ({"boxes": ["box-1", "box-2"]}, True),
        ({"boxes": ["box-2"]}, False),
        ({"kinds": ["noise"]}, True),
        ({"kinds": ["dust"]}, False),
        ({"tags": ["north", "roof"]}, True),
        ({"tags": ["north"]}, False),
        ({"boxes": ["box-1"], "kinds": ["dust"]}, False),
        ({"boxes": ["box-1"], "kinds": ["noise"], "tags": ["roof"]}, True),
    ],
)
def test_a_box_is_in_scope_when_it_fits_each_list(scope: dict[str, list[str]], taken: bool) -> None:  # noqa: FBT001 (expected)
    made = compile_scope(scope)
    assert made is not None
    assert made.takes(BoxFacts(1, "box-1", kind="noise", tags=frozenset({"roof"}))) is taken


def test_without_lists_there_is_no_scope() -> None:
    assert compile_scope(None) is None
    assert compile_scope({}) is None
    made = compile_scope({"kinds": ["noise"]})
    assert made is not None
    assert not made.takes(BoxFacts(1))


def test_a_site_finds_its_boxes_by_their_ids() -> None:
    view = view_of()
    site = SiteView({1: view})
    assert site.named("box-1") is view
    assert site.named("box-2") is None
