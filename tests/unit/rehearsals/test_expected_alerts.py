"""The alerts that a drill expects of its boxes, and their comparison with those that fired."""

from collections import Counter

from tools.clusters.box_load import BoxLedger, BoxMove, find_temperature
from tools.clusters.expected_alerts import (
    SITE_RULE,
    STOP_RULE,
    AlertComparison,
    AlertVerdict,
    DueAlert,
    FiredAlert,
    HumidTime,
    find_firings,
)

START_MS = 1_790_000_000_000


def make_ledger(
    samples: int,
    *,
    gap_after: int | None = None,
    gap_ms: int = 0,
    is_mobile: bool = False,
    stops: bool = False,
) -> BoxLedger:
    ledger = BoxLedger("box", index=0, site="a", is_mobile=is_mobile, stops=stops)
    for seq in range(samples):
        late = gap_ms if gap_after is not None and seq > gap_after else 0
        ledger.times_ms.append(START_MS + seq * 50 + late)
    return ledger


def fire(due: DueAlert, number: int = 0) -> FiredAlert:
    return FiredAlert(
        f"{due.rule}-{due.earliest_ms}-{number}",
        due.rule,
        due.box,
        min(due.sites),
        due.earliest_ms,
        due.value,
        due.resolved_ms,
    )


def test_a_cycle_is_hot_once_for_long_and_once_for_short() -> None:
    values = [find_temperature(0, seq) for seq in range(600)]
    assert (values.count(32.0), values.count(36.0), values.count(27.0)) == (40, 48, 20)
    assert values[80] == 27.0
    assert values[299] == 21.5
    assert values[300] == 36.0


def test_heat_fires_after_its_wait_and_holds_in_the_band() -> None:
    values = [21.0, 31.0, 27.0, 31.0, 31.0, 31.0, 27.0, 31.0, 25.0, 31.0]
    samples = [(number * 1000, value) for number, value in enumerate(values)]
    assert list(find_firings(samples)) == [(1000, 31.0), (9000, 31.0)]
    # A value in the band ends a wait, and no alert.
    assert list(find_firings(samples, for_ms=2000)) == [(5000, 31.0)]
    assert list(find_firings(samples, repeat=3)) == [(5000, 31.0)]


def test_the_alerts_of_a_box_are_due_at_the_times_of_its_samples() -> None:
    due = AlertComparison([make_ledger(600)], []).list_due()
    assert Counter(each.rule for each in due) == {
        "Dust": 3,
        "Lasting heat": 1,
        "Repeated heat": 1,
        "Levels of heat": 2,
        "Heat of a box that sends": 2,
    }
    times = {each.rule: each.earliest_ms - START_MS for each in due}
    assert times["Lasting heat"] == 2000
    assert times["Repeated heat"] == 19 * 50
    assert times["Levels of heat"] == 300 * 50


def test_a_silence_is_due_exactly_and_once_it_has_ended() -> None:
    ledger = make_ledger(100, gap_after=49, gap_ms=16_000, is_mobile=True, stops=True)
    (due,) = [each for each in AlertComparison([ledger], []).list_due() if each.rule == STOP_RULE]
    assert due.earliest_ms == START_MS + 49 * 50 + 15_000
    assert due.resolved_ms == ledger.times_ms[50]
    short = make_ledger(100, gap_after=49, gap_ms=14_000, is_mobile=True, stops=True)
    assert AlertComparison([short], []).list_due() == []
    # One that goes on is compared once it has ended.
    comparison = AlertComparison([ledger], [])
    going_on = fire(due)._replace(id="going on", started_ms=ledger.times_ms[-1] + 15_000, resolved_ms=None)
    verdict = comparison.compare([fire(due), going_on])
    assert (verdict.unfired, verdict.spurious) == ([], [])
    ledger.times_ms.append(ledger.times_ms[-1] + 20_000)
    (later,) = comparison.compare([fire(due), going_on]).unfired
    assert later.resolved_ms == ledger.times_ms[-1], "the alert did not end"


def test_a_moved_box_is_at_either_site_while_a_sample_is_on_its_way() -> None:
    ledger = make_ledger(30, is_mobile=True)
    ledger.moves = [BoxMove("a", "b", 10, 12), BoxMove("b", "c", 20, 20)]
    assert [set(ledger.find_sites(seq)) for seq in (9, 10, 11, 12, 19, 20)] == [
        *({"a"}, {"a", "b"}, {"a", "b"}, {"b"}, {"b"}, {"c"})
    ]


def test_each_difference_is_found_and_counted_once() -> None:
    ledger = make_ledger(600)
    comparison = AlertComparison([ledger], ["a"])
    comparison.humid.append(HumidTime(START_MS, START_MS + 1000))
    due = comparison.list_due()
    humid = next(each for each in due if each.rule == SITE_RULE)
    dust = [each for each in due if each.rule == "Dust"]
    others = [fire(each) for each in due if each not in {*dust, humid}]
    again = fire(dust[0], 1)
    wrong_site = fire(dust[1])._replace(site="b")
    wrong_value = fire(dust[2])._replace(value=41.0)
    site = fire(humid)._replace(started_ms=START_MS + 700)
    fired = [*others, fire(dust[0]), again, wrong_site, wrong_value, site]
    verdict = comparison.compare(fired)
    assert len(verdict.due) == 10
    assert verdict.unfired == dust[1:]
    assert verdict.spurious == [again, wrong_site, wrong_value]
    assert comparison.compare(fired) == AlertVerdict()
