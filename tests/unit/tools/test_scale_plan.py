"""Installations that are planned from figures."""

from dataclasses import replace

import pytest

from tools.scale_assumptions import ScaleAssumptions
from tools.scale_figures import PARTS
from tools.scale_flows import FITTED_FLOWS
from tools.scale_model import ClusterShape, PartCost
from tools.scale_plan import (
    DAY_S,
    MACHINE_KINDS,
    ScaleFigures,
    compute_prices,
    list_limits,
    plan_installation,
)

GIVEN = ScaleAssumptions()
FIGURES = ScaleFigures(
    shape=ClusterShape(3, 3, 6, 0.02),
    parts={part: PartCost(0.05, 0.0005, 0.00005) for part in PARTS},
    flows=dict.fromkeys(FITTED_FLOWS, PartCost(0.0, 400.0, 40.0)),
    memory=dict.fromkeys(PARTS, 100e6),
    connection_bytes=(2_000, 36_000),
    proxy_connection_bytes=1_600,
    tls_us=8,
    account_bytes=300,
    account_reload_us=1,
    connected_reload_us=5,
    ingest_box_bytes=2_000,
    reading_bytes=15,
    rollup_bytes=1_600,
    rollup_us=30,
    deliver_us=(376, 255),
    api_us=(361, 73),
)


def test_a_small_installation_is_three_machines_behind_two_proxies() -> None:
    plan = plan_installation(FIGURES, GIVEN, 10_000, 60)
    assert (plan.clusters, plan.machines) == (1, {"proxy": 2, "three": 3})
    assert plan.price == 2 * GIVEN.proxy.price + 3 * GIVEN.worker.price
    assert plan.load < 0.5


def test_the_disk_decides_between_the_classes_of_three_machines() -> None:
    plan = plan_installation(FIGURES, GIVEN, 30_000, 60)
    assert plan.machines["three"] == 3
    larger = plan_installation(FIGURES, replace(GIVEN, days=900), 30_000, 60)
    assert larger.machines["three-large"] == 3
    assert larger.database_disk == pytest.approx(10 * plan.database_disk)


def test_the_disk_is_that_of_all_readings_and_roll_ups() -> None:
    plan = plan_installation(FIGURES, GIVEN, 1_000, 60)
    assert plan.database_disk == pytest.approx(1_000 * 10 * 90 * (DAY_S / 60 * 15 + 1_600))


def test_no_cluster_is_beyond_its_first_limit() -> None:
    limits = list_limits(FIGURES, GIVEN, 1)
    assert [limit.boxes for limit in limits] == sorted(limit.boxes for limit in limits)
    for boxes in (1_000, 100_000, 10_000_000):
        plan = plan_installation(FIGURES, GIVEN, boxes, 1)
        assert plan.load <= 1
        assert plan.clusters == 1 or plan.load * plan.clusters / (plan.clusters - 1) > 1
        assert plan.first == limits[0]


def test_each_limit_moves_with_what_it_is_made_of() -> None:
    def find(name: str, figures: ScaleFigures = FIGURES, given: ScaleAssumptions = GIVEN) -> float:
        return next(limit.boxes for limit in list_limits(figures, given, 60) if limit.name == name)

    slower = replace(FIGURES, rollup_us=60, account_reload_us=2, ingest_box_bytes=4_000)
    for name in ("roll-ups", "accounts file", "registry in ingest"):
        assert find(name, slower) == pytest.approx(find(name) / 2)
    assert find("disk", given=replace(GIVEN, days=45)) == pytest.approx(2 * find("disk"))
    assert find("primary's network", given=replace(GIVEN, network_bits=5e9)) < find("primary's network")
    more = replace(GIVEN, database=replace(GIVEN.database, cores=64))
    assert find("primary's CPU", given=more) > 1.5 * find("primary's CPU")


def test_ten_times_the_boxes_need_about_ten_times_everything() -> None:
    one, ten = (plan_installation(FIGURES, GIVEN, boxes, 1) for boxes in (1_000_000, 10_000_000))
    for name in ("clusters", "memory", "database_disk", "incoming", "replication", "price"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name), rel=0.05)


def test_separate_machines_have_all_kinds_and_their_price() -> None:
    # More connections than a proxy can open to one broker.
    plan = plan_installation(FIGURES, GIVEN, 400_000, 600)
    assert set(plan.machines) == {"proxy", "edge", "log", "worker", "database"}
    prices = compute_prices(GIVEN)
    assert set(prices) == set(MACHINE_KINDS)
    assert plan.price == sum(count * prices[kind] for kind, count in plan.machines.items())


def test_tls_costs_memory_and_cpu() -> None:
    plain = plan_installation(FIGURES, replace(GIVEN, tls=False), 100_000, 60)
    tls = plan_installation(FIGURES, GIVEN, 100_000, 60)
    assert tls.memory - plain.memory == pytest.approx(100_000 * 34_000)
    assert tls.cores["edge"] - plain.cores["edge"] == pytest.approx(100_000 / 60 * 8e-6)
