"""The costs of the parts of a cluster, fitted to runs."""

import pytest

from tools.scale_model import ClusterShape, fit_part

SHAPE = ClusterShape(edges=3, workers=2, partitions=6, batch_delay_s=0.02)


def test_a_fit_finds_the_costs_that_made_the_points() -> None:
    points = [
        (batches, rate, 0.1 + batches * 0.002 + rate * 0.00005) for batches, rate in ((50, 250), (90, 2e3))
    ]
    cost = fit_part(points, at_rest=0.1)
    assert (cost.at_rest, cost.record, cost.message) == pytest.approx((0.1, 0.002, 0.00005))
    assert cost.compute(1_000, 70) == pytest.approx(0.1 + 0.14 + 0.05)


def test_without_records_only_messages_count() -> None:
    cost = fit_part([(0, 100, 1.0), (0, 200, 2.0)], at_rest=0.0)
    assert (cost.record, cost.message) == pytest.approx((0.0, 0.01))


def test_a_part_without_records_is_fitted_at_rest_too() -> None:
    # Its use falls with the load by chance: messages cost nothing, and at rest it is the mean.
    cost = fit_part([(0, 0, 0.031), (120, 260, 0.026), (160, 1_500, 0.027)])
    assert (cost.at_rest, cost.record, cost.message) == pytest.approx((0.028, 0.0, 0.0))
    assert fit_part([(0, 0, 0.1), (9, 100, 0.2), (9, 200, 0.3)]).message == pytest.approx(0.001)


@pytest.mark.parametrize(
    "points", [[(10, 100, 1.0), (20, 200, 1.5), (30, 900, 0.5)], [(1, 1, 0.0), (2, 5, 0.0)]]
)
def test_no_cost_is_negative(points: list[tuple[float, float, float]]) -> None:
    cost = fit_part(points, at_rest=0.2)
    assert cost.record >= 0
    assert cost.message >= 0


def test_a_message_costs_at_least_what_it_costs_in_full_batches() -> None:
    # The points alone would say that messages cost nothing.
    points = [(100, 1_000, 0.5), (200, 1_000, 1.0)]
    assert fit_part(points, at_rest=0.0).message == 0.0
    floored = fit_part(points, at_rest=0.0, least=0.0001)
    assert floored.message >= 0.0001
    assert floored.record < 0.005


def test_few_messages_make_a_record_each_and_many_fill_records() -> None:
    assert SHAPE.count_records(0) == 0
    # A message every ten seconds at each edge: nothing to wait for.
    assert SHAPE.count_records(0.3) == pytest.approx(0.3, rel=0.01)
    # Many: at each edge a batch each 20 ms, in all partitions.
    assert SHAPE.count_records(1e6) == pytest.approx(900, rel=0.01)
    assert 300 < SHAPE.count_records(1_000) < 900
