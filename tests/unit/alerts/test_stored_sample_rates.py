"""The rate of stored samples, from counts that requests read."""

from app.alerts.stored_sample_rates import StoredSampleRates


def test_the_first_read_has_no_rate_and_the_next_one_has() -> None:
    rates = StoredSampleRates()
    assert rates.add("a", 1_000, 100.0) is None
    assert rates.add("a", 1_050, 105.0) == 10.0
    assert rates.add("a", 1_050, 110.0) == 5.0


def test_it_is_that_of_the_last_minute() -> None:
    rates = StoredSampleRates()
    for second in range(0, 300, 5):
        rates.add("a", second * (10 if second < 200 else 2), float(second))
    # Counts went down at 200 s: the reads before it do not count.
    assert rates.add("a", 600, 300.0) == 2.0
    busy = StoredSampleRates()
    busy.add("a", 0, 0.0)
    busy.add("a", 60_000, 60.0)
    assert busy.add("a", 60_060, 120.0) == 1.0


def test_a_read_that_is_long_ago_does_not_count() -> None:
    rates = StoredSampleRates()
    rates.add("a", 0, 0.0)
    assert rates.add("a", 300, 300.0) == 1.0
    assert rates.add("a", 10_000, 901.0) is None


def test_reads_in_the_same_second_are_one() -> None:
    rates = StoredSampleRates()
    rates.add("a", 0, 0.0)
    assert rates.add("a", 500, 0.5) is None
    assert rates.add("a", 1_000, 1.0) == 1_000.0


def test_scopes_are_apart_and_bounded() -> None:
    rates = StoredSampleRates(most=2)
    rates.add("a", 0, 0.0)
    rates.add("b", 0, 0.0)
    assert rates.add("a", 10, 10.0) == 1.0
    rates.add("c", 0, 10.0)
    assert rates.add("b", 100, 20.0) is None
    assert rates.add("a", 20, 20.0) is None
