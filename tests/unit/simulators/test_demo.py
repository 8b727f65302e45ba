"""The demo as data: its rules fire and resolve on what its boxes measure; its memory outlives a restart."""

import stat
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import parse_iso_duration
from app.rules.definitions.schemas import RuleCreate
from simulators.cli import SHIPPED_ARCHIVE
from simulators.demo_definitions import (
    ACK_BOX,
    CONDITION_RULES,
    DEMO_BOXES,
    DEMO_RULES,
    DEMO_SITES,
    EVENT_SITE,
    INTERVAL_S,
    DemoBox,
    DemoRule,
)
from simulators.demo_state import DemoState
from simulators.sensor_community import load_archive
from simulators.synthetic_values import MetricValues, measure_values

DAYS = [1_763_971_200 + n * 86_400 * 13 for n in range(28)]
"""Midnights over a year, all weekdays among them."""


def outcomes(rule: DemoRule, series: list[tuple[float, float]]) -> tuple[int, int]:
    """How often a rule fires and resolves on (seconds, value), by the contract's words."""
    wait = parse_iso_duration(rule.wait)
    sign = 1 if rule.operator == ">" else -1
    pending: float | None = None
    firing = False
    fired = resolved = 0
    for at_s, value in series:
        if firing:
            if sign * value <= sign * rule.clear:
                firing, pending = False, None
                resolved += 1
        elif sign * value > sign * rule.threshold:
            pending = at_s if pending is None else pending
            if at_s - pending >= wait:
                firing = True
                fired += 1
        else:
            pending = None
    return fired, resolved


@cache
def measured(place: DemoBox, at_s: int) -> MetricValues:
    """What a box of a place measures, whichever rule looks at it."""
    return measure_values(place.box(), at_s)


@pytest.mark.parametrize(
    "rule", [rule for rule in DEMO_RULES if rule.site != "aberdeen"], ids=lambda rule: rule.name
)
def test_every_rule_of_a_synthetic_site_fires_and_resolves_within_a_quarter_of_an_hour(
    rule: DemoRule,
) -> None:
    for midnight in DAYS:
        for hour in (1, 8, 13, 18):
            start = midnight + hour * 3_600
            counts = [
                outcomes(
                    rule,
                    [
                        (at_s, measured(place, at_s)[rule.metric])
                        for at_s in range(start, start + 900, INTERVAL_S)
                    ],
                )
                for place in DEMO_BOXES
                if place.site == rule.site and place.episodes
            ]
            fired, resolved = (sum(column) for column in zip(*counts, strict=True))
            assert fired >= 1, (rule.name, start)
            assert resolved >= 1, (rule.name, start)


@pytest.mark.parametrize(
    "rule", [rule for rule in DEMO_RULES if rule.site == "aberdeen"], ids=lambda rule: rule.name
)
def test_every_rule_of_aberdeen_fires_on_the_real_day(rule: DemoRule) -> None:
    stations, _ = load_archive(SHIPPED_ARCHIVE)
    counts = [
        outcomes(
            rule,
            [
                (sample.time_us / 1e6, sample.values[rule.metric])
                for sample in station.samples
                if rule.metric in sample.values
            ],
        )
        for station in stations
    ]
    assert sum(fired for fired, _ in counts) >= 1
    assert sum(resolved for _, resolved in counts) >= 1


@pytest.mark.parametrize(
    ("site", "body"), CONDITION_RULES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_tree_is_a_rule(site: str, body: dict[str, Any]) -> None:
    assert site in DEMO_SITES
    rule = RuleCreate.model_validate({"site_id": str(new_id()), **body})
    assert rule.name == body["name"]


def test_places_and_rules_hang_together() -> None:
    assert len({place.id for place in DEMO_BOXES}) == len(DEMO_BOXES)
    assert (
        {place.site for place in DEMO_BOXES} | {"aberdeen"}
        == set(DEMO_SITES)
        == {rule.site for rule in DEMO_RULES}
    )
    assert ACK_BOX in {place.id for place in DEMO_BOXES}
    # As many as a place takes that others can check.
    assert len([place for place in DEMO_BOXES if place.site == EVENT_SITE]) >= 4
    assert [place.id for place in DEMO_BOXES if place.spec().ack] == [ACK_BOX]
    for place in DEMO_BOXES:
        assert {episode.metric for episode in place.episodes} <= measure_values(place.box(), 0.0).keys()


def test_the_memory_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    state = DemoState(organisation_id="o", key="k", site_ids={"street": "s"}, replayed={"a": 5})
    state.password_store(path).add({"box": "secret"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = DemoState.load(path)
    assert again == state
    assert again.passwords == {"box": "secret"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"key": 5}', '{"unknown": 1}'])
def test_a_broken_memory_counts_as_forgotten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "demo.json"
    path.write_text(text)
    assert DemoState.load(path) == DemoState()
