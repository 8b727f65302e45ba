import random

import pytest

from tools.rehearsals.soak_slopes import SoakRecord, compute_slope, compute_slopes, find_worst

EVERY_S = 5.0


def soak(*, leak_per_hour: float = 0.0) -> list[SoakRecord]:
    """An hour with noise, a warm-up and outliers."""
    noise = random.Random(1)  # noqa: S311 (no secret)
    records = []
    for number in range(720):
        at_s = number * EVERY_S
        memory = 200 + min(at_s, 600) / 10 + leak_per_hour * at_s / 3600 + noise.uniform(-2, 2)
        memory += 300 if number % 50 == 0 else 0
        values = {"memory api": memory, "descriptors api": 40.0, "disk samples": at_s}
        records.append(SoakRecord(at_s, values))
    return records


def test_a_slope_is_that_of_the_line_despite_outliers() -> None:
    times = [number * 60.0 for number in range(60)]
    values = [100.0 + 2.0 * number for number in range(60)]
    values[7] = 10_000.0
    assert compute_slope(times, values) == pytest.approx(120.0, rel=0.01)
    assert compute_slope([1.0], [5.0]) == 0.0


def test_a_level_process_passes_after_its_warm_up() -> None:
    slopes = compute_slopes(soak())
    memory = next(each for each in slopes if each.name == "memory api")
    assert abs(memory.per_hour) < 2
    assert memory.level == pytest.approx(260, abs=3)
    assert not any(each.is_too_steep for each in slopes)


def test_a_leak_is_too_steep_and_the_worst() -> None:
    slopes = compute_slopes(soak(leak_per_hour=20))
    assert [each.name for each in slopes if each.is_too_steep] == ["memory api"]
    worst = find_worst(slopes)
    assert (worst.name, worst.unit, worst.bound) == ("memory api", "MiB", 12.0)
    assert worst.per_hour == pytest.approx(20, abs=2)
    assert str(worst).startswith("memory api: median ")
    assert str(worst).endswith("MiB an hour (bound 12)")


def test_data_may_grow() -> None:
    disk = next(each for each in compute_slopes(soak()) if each.name == "disk samples")
    assert disk.per_hour == pytest.approx(3600)
    assert disk.bound is None


def test_nothing_was_recorded() -> None:
    assert compute_slopes([]) == []
