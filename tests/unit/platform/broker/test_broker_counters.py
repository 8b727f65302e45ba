"""The broker's own counters: what of them is new, over restarts of either side."""

from datetime import UTC, datetime, timedelta

from app.platform.broker.broker_counters import AnnouncedDrops, BrokerCounters

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def said(tally: BrokerCounters, *, uptime: int, dropped: int, expired: int | None = None) -> None:
    tally.take("$SYS/broker/uptime", f"{uptime} seconds".encode())
    tally.take("$SYS/broker/publish/messages/dropped", str(dropped).encode())
    if expired is not None:
        tally.take("$SYS/broker/clients/expired", str(expired).encode())


def later(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_nothing_is_said_before_the_figures_are_there() -> None:
    tally = BrokerCounters()
    assert tally.settle(NOW) == (0, 0)
    tally.take("$SYS/broker/publish/messages/dropped", b"7")
    assert tally.settle(NOW) == (0, 0)
    tally.take("$SYS/broker/uptime", b"60 seconds")
    assert tally.settle(NOW) == (7, 0)
    assert tally.started_at == later(-60)


def test_each_increase_is_told_once() -> None:
    tally = BrokerCounters()
    said(tally, uptime=60, dropped=0)
    assert tally.settle(NOW) == (0, 0)
    said(tally, uptime=70, dropped=5)
    assert tally.settle(later(10)) == (5, 0)
    assert tally.settle(later(11)) == (0, 0)
    said(tally, uptime=80, dropped=12)
    assert tally.settle(later(20)) == (7, 0)
    assert tally.total == 12


def test_a_broker_that_started_anew_begins_at_nothing() -> None:
    for after in (3, 12):
        tally = BrokerCounters()
        said(tally, uptime=600, dropped=10)
        assert tally.settle(NOW) == (10, 0)
        tally.connected()
        said(tally, uptime=2, dropped=after)
        assert tally.settle(later(60)) == (after, 0), "even where the new count is past the old one"
        assert tally.total == after


def test_what_was_told_before_is_not_told_again() -> None:
    for known, told in (
        (AnnouncedDrops(10, later(-600)), 2),
        (AnnouncedDrops(10, later(-608)), 2),  # what `$SYS` says is some seconds old
        (AnnouncedDrops(12, later(-600)), 0),
        (AnnouncedDrops(10, later(-9000)), 12),  # another run of the broker
        (AnnouncedDrops(40, later(-600)), 12),
        (None, 12),
    ):
        tally = BrokerCounters(known)
        said(tally, uptime=600, dropped=12)
        assert tally.settle(NOW) == (told, 0), known


def test_sessions_that_expired_before_the_watch_are_not_news() -> None:
    tally = BrokerCounters()
    said(tally, uptime=600, dropped=0, expired=4)
    assert tally.settle(NOW) == (0, 0)
    said(tally, uptime=610, dropped=0, expired=5)
    assert tally.settle(later(10)) == (0, 1)


def test_what_is_no_figure_is_passed_over() -> None:
    tally = BrokerCounters()
    for topic, payload in (
        ("$SYS/broker/version", b"mosquitto version 2.0.21"),
        ("$SYS/broker/publish/messages/dropped", b"many"),
        ("$SYS/broker/publish/messages/dropped", b"-1"),
        ("$SYS/broker/uptime", b""),
    ):
        tally.take(topic, payload)
    assert tally.figures == {}
    tally.take("$SYS/broker/publish/messages/dropped", b"9" * 5000)
    assert tally.figures["dropped"] == int("9" * 18)
    tally.take("$SYS/broker/uptime", b"9" * 5000)
    assert tally.settle(NOW) == (int("9" * 18), 0)
