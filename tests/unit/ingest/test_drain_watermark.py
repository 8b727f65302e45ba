"""Up to which time all edges have handed on what their brokers had."""

from datetime import UTC, datetime, timedelta

from app.ingest.drain_watermark import find_drained_time
from app.platform.broker.edges import RegisteredEdge

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def edge(drained_s: float | None, *, silent_s: float = 0.5, connected: bool = True) -> RegisteredEdge:
    """An edge that has drained its broker so many seconds ago, and has reported so many seconds ago."""
    drained = None if drained_s is None else NOW - timedelta(seconds=drained_s)
    seen = NOW - timedelta(seconds=silent_s)
    started = NOW - timedelta(hours=1)
    return RegisteredEdge("e", "h", 1883, started, seen, silent_s, connected, drained, 0, 0, None)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_the_earliest_of_all_edges_counts() -> None:
    assert find_drained_time([edge(2), edge(30), edge(1)]) == ago(30)


def test_without_edges_or_their_word_there_is_no_time() -> None:
    assert find_drained_time([]) is None
    assert find_drained_time([edge(2), edge(None)]) is None


def test_an_edge_that_is_gone_is_waited_for_a_minute() -> None:
    assert find_drained_time([edge(2), edge(55, silent_s=50)]) == ago(55)
    assert find_drained_time([edge(2), edge(75, silent_s=70)]) == ago(2)


def test_an_edge_without_its_broker_is_waited_for_a_minute() -> None:
    assert find_drained_time([edge(2), edge(50, connected=False)]) == ago(50)
    assert find_drained_time([edge(2), edge(90, connected=False)]) == ago(2)
    assert find_drained_time([edge(2), edge(None, connected=False)]) == ago(2)


def test_an_edge_with_a_backlog_is_waited_for_as_long_as_it_takes() -> None:
    assert find_drained_time([edge(2), edge(900)]) == ago(900)
