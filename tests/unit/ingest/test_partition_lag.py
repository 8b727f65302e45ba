"""The lag in seconds is the age of the oldest record that waits, not that of the last commit."""

from app.ingest.partition_lag import PartitionLag


def test_a_partition_of_which_all_is_committed_has_no_lag() -> None:
    lag = PartitionLag()
    lag.note(0, 10)
    assert lag.measure(100, 10) == (0, 0.0)


def test_the_oldest_record_that_waits_counts() -> None:
    lag = PartitionLag()
    for now, newest in ((0, 10), (5, 20), (10, 30)):
        lag.note(now, newest)
    assert lag.measure(12, 0) == (30, 12)
    assert lag.measure(12, 10) == (20, 7)
    assert lag.measure(12, 19) == (11, 7)
    assert lag.measure(12, 20) == (10, 2)
    assert lag.measure(12, 30) == (0, 0.0)


def test_a_newest_position_that_stays_keeps_its_time() -> None:
    lag = PartitionLag()
    lag.note(0, 10)
    lag.note(5, 10)
    assert lag.measure(8, 9) == (1, 8)
