"""The presets, as data: every rule of theirs is one that the API takes and the evaluator understands."""

import re
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from app.rules.compile import CompiledRule, compile_rule
from app.rules.preset_data import PRESETS
from app.rules.preset_data.indoors import FORMALDEHYDE_PPB
from app.rules.preset_data.shape import Preset, PresetRule, Text
from app.rules.presets import fitting
from app.rules.replay import Replay
from app.rules.schemas import RuleCreate
from app.rules.view import BoxFacts
from app.sites.catalogue import BY_NAME, COLUMNS, INDEX

SITE = UUID("0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11")
HOUR_US = 3_600_000_000
MONDAY_US = 1_780_876_800_000_000  # 2026-06-08T00:00:00Z
RULES = [(preset, rule) for preset in PRESETS.values() for rule in preset.rules]


def definition(rule: PresetRule) -> dict[str, Any]:
    body = {**rule.body, "site_id": SITE, "name": rule.name.en, "description": None}
    return RuleCreate.model_validate(body).definition()


def compiled(rule: PresetRule, **attributes: Any) -> CompiledRule:  # noqa: ANN401 (as JSON)
    return compile_rule(SITE, 1, SITE, SITE, rule.name.en, definition(rule), attributes=attributes)


def always(rule: CompiledRule, _: BoxFacts) -> CompiledRule:
    return rule


def fired(preset: str, samples: dict[str, float], hours: int = 30, **attributes: Any) -> list[str]:  # noqa: ANN401
    """Which severities a box fires that sends the same values each minute, from a Monday's midnight on."""
    facts = BoxFacts(1, "box", attributes=attributes)
    row: list[float | None] = [None] * len(COLUMNS)
    for metric, value in samples.items():
        row[INDEX[metric]] = value
    times = range(MONDAY_US, MONDAY_US + hours * HOUR_US, 60_000_000)
    found = []
    for rule in PRESETS[preset].rules:
        replay = Replay(partial(always, compiled(rule, **attributes)), [facts])
        told = [*replay.feed(1, times, [tuple(row)] * len(times)), *replay.finish(times[-1] + HOUR_US)]
        found += [each.severity or "" for each in told if each.kind != "resolved"]
    return found


@pytest.mark.parametrize(("preset", "rule"), RULES, ids=lambda value: getattr(value, "id", ""))
def test_every_rule_is_taken_and_understood(preset: Preset, rule: PresetRule) -> None:
    made = compiled(rule)
    assert {COLUMNS[column] for column in made.columns} >= set(preset.metrics) or len(preset.rules) > 1
    assert not made.whole_site


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_text_is_there_in_both_languages(preset: Preset) -> None:
    texts = [preset.title, preset.description, preset.advice, *(rule.name for rule in preset.rules)]
    for text in texts:
        assert isinstance(text, Text)
        assert text.en.strip() == text.en != ""
        assert text.fr.strip() == text.fr != ""
        assert len(text.en) <= 2000
        assert len(text.fr) <= 2000
    assert len({rule.name for rule in preset.rules}) == len(preset.rules)
    assert all(len(name) <= 200 for rule in preset.rules for name in rule.name)
    assert re.fullmatch(r"[a-z0-9-]{1,64}", preset.id)
    assert set(preset.metrics) <= BY_NAME.keys()


@pytest.mark.parametrize(
    ("preset", "samples", "expected"),
    [
        ("who-pm2-5-24h", {"pm2_5": 15}, []),
        ("who-pm2-5-24h", {"pm2_5": 15.1}, ["info"]),
        ("who-o3-8h", {"o3": 101}, ["info"]),
        ("eu-no2-1h", {"no2": 201}, ["warning"]),
        ("eu-no2-1h", {"no2": 401}, ["warning", "critical"]),
        ("eu-so2-24h", {"so2": 126}, ["warning"]),
        ("eu-o3-1h", {"o3": 239}, ["warning"]),
        ("eu-o3-1h", {"o3": 241}, ["critical"]),
        ("eu-co-8h", {"co": 10.5}, ["warning"]),
        ("eu-2030-pm2-5-24h", {"pm2_5": 26}, ["info"]),
        ("indoor-co2", {"co2": 801}, ["info"]),
        ("indoor-co2", {"co2": 1501}, ["warning"]),
        ("indoor-formaldehyde", {"hcho": 81}, ["warning"]),
        ("indoor-benzene", {"benzene": 9}, []),
        ("indoor-benzene", {"benzene": 11}, ["warning"]),
        ("mould-risk", {"humidity": 85, "temperature": 12}, ["warning"]),
        ("mould-risk", {"humidity": 85, "temperature": -3}, []),
        ("dust-mites", {"humidity": 70, "temperature": 24}, ["info"]),
        ("dust-mites", {"humidity": 70, "temperature": 17}, []),
        ("desk-light", {"illuminance": 300}, ["info"]),
        ("desk-light", {"illuminance": 600}, []),
        ("night-noise", {"laeq": 50}, ["info", "info"]),
        ("night-noise", {"laeq": 60}, ["warning", "warning"]),
        ("neighbourhood-noise", {"laeq": 60}, []),
        ("box-silent", {"pm10": 1}, ["warning"]),
        ("flat-line", {"temperature": 20}, ["info"]),
        ("low-battery", {"battery": 15}, ["warning"]),
        ("low-battery", {"battery": 5}, ["critical"]),
    ],
)
def test_what_fires(preset: str, samples: dict[str, float], expected: list[str]) -> None:
    assert fired(preset, samples) == expected


def test_neighbourhood_noise_takes_its_limits_from_attributes() -> None:
    # The day from 7 to 22 h, and what there is of two nights.
    found = fired("neighbourhood-noise", {"laeq": 60.0}, noise_limit_day=58.0, noise_limit_night=48.0)
    assert found == ["warning"] * 3


def test_a_metric_is_missed_while_the_box_sends_others() -> None:
    (rule,) = [rule for rule in PRESETS["metric-silent"].rules if "pm2_5" in rule.name.en]
    replay = Replay(partial(always, compiled(rule)), [BoxFacts(1, "box")])
    both, one = (
        tuple(20.0 if column in sent else None for column in COLUMNS)
        for sent in ({"pm2_5", "temperature"}, {"temperature"})
    )
    times = range(MONDAY_US, MONDAY_US + 3 * HOUR_US, 60_000_000)
    rows = [both if number < 10 else one for number in range(len(times))]
    told = [*replay.feed(1, times, rows), *replay.finish(times[-1] + HOUR_US)]
    ninth = MONDAY_US + 9 * 60_000_000
    assert [(each.kind, each.time_us) for each in told] == [
        ("firing", ninth + HOUR_US),
        ("resolved", times[-1] + 15 * 60_000_000),
    ]


def test_formaldehyde_is_converted() -> None:
    # Molar volume of an ideal gas at 1013.25 hPa, in l/mol; 30.026 g/mol.
    for celsius in (20, 25):
        volume = 8.314462618 * (273.15 + celsius) / 101_325 * 1000
        assert FORMALDEHYDE_PPB * 30.026 / volume == pytest.approx(100, abs=2)


def test_lists_by_kind_and_metric() -> None:
    offices = {preset.id for preset in fitting(kind="office", metric=None)}
    assert {"indoor-co2", "desk-light", "box-silent"} <= offices
    assert "eu-no2-1h" not in offices
    assert {preset.id for preset in fitting(kind=None, metric="hcho")} == {"indoor-formaldehyde"}
    assert len(list(fitting(kind=None, metric=None))) == len(PRESETS)
