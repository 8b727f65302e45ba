"""Pasts of boxes between HTTP calls: only as long as nobody else wrote to the box."""

from app.ingest.pipeline.rule_context import HistoryCache
from app.rules.engine.value_windows import BoxHistory, RuleLookback, WindowSpec

NEEDS = RuleLookback(frozenset({WindowSpec(0, 60_000_000)}))


def history(values: int = 3) -> BoxHistory:
    made = BoxHistory(NEEDS)
    for place in range(values):
        made.add(0, place, 1.0)
    return made


def test_it_is_taken_out_once_by_who_knows_the_count() -> None:
    cache, stored = HistoryCache(), history()
    cache.put(1, 5, NEEDS, stored)
    assert cache.take(1, 5, NEEDS) is stored
    assert cache.take(1, 5, NEEDS) is None


def test_it_is_of_no_use_once_others_wrote_or_the_rules_are_others() -> None:
    cache = HistoryCache()
    cache.put(1, 5, NEEDS, history())
    assert cache.take(1, 6, NEEDS) is None
    cache.put(1, 5, NEEDS, history())
    assert cache.take(1, 5, RuleLookback(frozenset({WindowSpec(0, 30_000_000)}))) is None
    assert len(cache) == 0


def test_events_are_counted_by_no_row() -> None:
    cache = HistoryCache()
    cache.put(1, 5, RuleLookback(NEEDS.spans, {"gunshot": 60_000_000}), history())
    cache.put(2, None, NEEDS, history())
    assert len(cache) == 0


def test_the_one_used_longest_ago_is_forgotten_first() -> None:
    cache = HistoryCache(limit=6)
    for key in (1, 2, 3):
        cache.put(key, 5, NEEDS, history())
    assert [cache.take(key, 5, NEEDS) is None for key in (1, 2, 3)] == [True, False, False]
