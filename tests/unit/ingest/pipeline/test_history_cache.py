"""Pasts of boxes between HTTP calls: only as long as nobody else wrote to the box."""

from app.ingest.pipeline.history_cache import HistoryCache
from app.rules.engine.value_windows import BoxHistory, RuleLookback, WindowSpec

NEEDS = RuleLookback(frozenset({WindowSpec(0, 60_000_000)}))


def history(values: int = 3) -> BoxHistory:
    made = BoxHistory(NEEDS)
    for place in range(values):
        made.add(0, place, 1.0)
    return made


def test_it_is_taken_out_once_by_who_knows_the_count() -> None:
    pasts, kept = HistoryCache(), history()
    pasts.put(1, 5, NEEDS, kept)
    assert pasts.take(1, 5, NEEDS) is kept
    assert pasts.take(1, 5, NEEDS) is None


def test_it_is_of_no_use_once_others_wrote_or_the_rules_are_others() -> None:
    pasts = HistoryCache()
    pasts.put(1, 5, NEEDS, history())
    assert pasts.take(1, 6, NEEDS) is None
    pasts.put(1, 5, NEEDS, history())
    assert pasts.take(1, 5, RuleLookback(frozenset({WindowSpec(0, 30_000_000)}))) is None
    assert len(pasts) == 0


def test_events_are_counted_by_no_row() -> None:
    pasts = HistoryCache()
    pasts.put(1, 5, RuleLookback(NEEDS.spans, {"gunshot": 60_000_000}), history())
    pasts.put(2, None, NEEDS, history())
    assert len(pasts) == 0


def test_the_one_used_longest_ago_is_forgotten_first() -> None:
    pasts = HistoryCache(limit=6)
    for key in (1, 2, 3):
        pasts.put(key, 5, NEEDS, history())
    assert [pasts.take(key, 5, NEEDS) is None for key in (1, 2, 3)] == [True, False, False]
