"""The presets, as data: every rule of theirs is one that the API takes and the evaluator understands."""

import re
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from app.catalogue.metrics import COLUMNS, INDEX, METRICS_BY_NAME
from app.rules.backtests.rule_simulator import RuleSimulator
from app.rules.backtests.schemas import BacktestCreate
from app.rules.definitions.schemas import RuleCreate
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.presets.eu_air_presets import RECAST_FROM
from app.rules.presets.indoor_presets import FORMALDEHYDE_PPB
from app.rules.presets.preset_list import PRESETS, is_preset_modified, translate_rule_name
from app.rules.presets.preset_types import Preset, PresetRule, PresetText
from app.rules.presets.schemas import PresetOut
from app.rules.presets.service import filter_presets

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
        replay = RuleSimulator(partial(always, compiled(rule, **attributes)), [facts])
        told = [*replay.feed(1, times, [tuple(row)] * len(times)), *replay.finish(times[-1] + HOUR_US)]
        found += [each.severity or "" for each in told if each.kind != "resolved"]
    return found


@pytest.mark.parametrize(("preset", "rule"), RULES, ids=lambda value: getattr(value, "id", ""))
def test_every_rule_is_taken_and_understood(preset: Preset, rule: PresetRule) -> None:
    made = compiled(rule)
    looked_at = {COLUMNS[column] for column in made.columns}
    looked_at |= {metric for ask in made.index_queries for metric in ask.figure.method.metrics}
    assert looked_at >= set(preset.metrics) or len(preset.rules) > 1
    assert made.whole_site == (preset.id == "site-silent")


@pytest.mark.parametrize(("preset", "rule"), RULES, ids=lambda value: getattr(value, "id", ""))
def test_every_rule_can_be_tried_as_it_is_shown(preset: Preset, rule: PresetRule) -> None:
    (shown,) = [each.rule for each in PresetOut.of(preset, "en").rules if each.name == rule.name.en]
    body = {"rule": shown, "site_id": SITE, "from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
    assert BacktestCreate.model_validate(body).rule is not None


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_text_is_there_in_both_languages(preset: Preset) -> None:
    texts = [preset.title, preset.description, preset.advice, *(rule.name for rule in preset.rules)]
    for text in texts:
        assert isinstance(text, PresetText)
        assert text.en.strip() == text.en != ""
        assert text.fr.strip() == text.fr != ""
        assert len(text.en) <= 2000
        assert len(text.fr) <= 2000
    assert len({rule.name for rule in preset.rules}) == len(preset.rules)
    assert all(len(name) <= 200 for rule in preset.rules for name in rule.name)
    assert re.fullmatch(r"[a-z0-9-]{1,64}", preset.id)
    assert set(preset.metrics) <= METRICS_BY_NAME.keys()


@pytest.mark.parametrize(
    ("preset", "samples", "expected"),
    [
        ("who-pm2-5-24h", {"pm2_5": 15}, []),
        ("who-pm2-5-24h", {"pm2_5": 15.1}, ["info"]),
        ("who-o3-8h", {"o3": 101}, ["info"]),
        ("eu-no2-1h", {"no2": 201}, ["warning"]),
        ("eu-no2-1h", {"no2": 401}, ["warning", "critical"]),
        ("eu-so2-24h", {"so2": 126}, ["warning"]),
        ("eu-2026-so2-24h", {"so2": 126}, ["warning"]),
        ("eu-2026-no2-1h", {"no2": 199}, []),
        ("eu-2026-no2-1h", {"no2": 401}, ["warning"]),
        ("eu-2026-thresholds-no2", {"no2": 150}, []),
        ("eu-2026-thresholds-no2", {"no2": 151}, ["warning"]),
        ("eu-2026-thresholds-no2", {"no2": 201}, ["warning", "critical"]),
        ("eu-2026-thresholds-so2", {"so2": 351}, ["warning", "critical"]),
        ("eu-2026-thresholds-o3", {"o3": 241}, ["critical"]),
        ("eu-2026-thresholds-pm10", {"pm10": 90}, []),
        ("eu-2026-thresholds-pm10", {"pm10": 91}, ["critical"]),
        ("eu-2026-thresholds-pm2-5", {"pm2_5": 51}, ["critical"]),
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
    (rule,) = [rule for rule in PRESETS["metric-silent"].rules if "PM2.5" in rule.name.en]
    replay = RuleSimulator(partial(always, compiled(rule)), [BoxFacts(1, "box")])
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


MINUTE_US = 60_000_000


def site_alerts(silent_from: int, back: dict[int, int], heard: int = 10) -> list[tuple[str, int]]:
    """What `site-silent` does at a site of ten boxes that send each minute, in minutes.

    Args:
        silent_from: the minute from which on nothing comes.
        back: box -> the minute in which it comes back.
        heard: how many of the ten ever sent anything.
    """
    (rule,) = PRESETS["site-silent"].rules
    made = compiled(rule)
    replay = RuleSimulator(partial(always, made), [BoxFacts(key, f"box-{key}") for key in range(1, 11)])
    row = tuple(20.0 if column == "temperature" else None for column in COLUMNS)
    told: list[Any] = []
    for minute in range(180):
        for key in range(1, heard + 1):
            if minute < silent_from or minute >= back.get(key, 10_000):
                told += replay.feed(key, [MONDAY_US + minute * MINUTE_US], [row])
        told += replay.finish(MONDAY_US + minute * MINUTE_US + 30_000_000)
    return [(each.kind, (each.time_us - MONDAY_US) // MINUTE_US) for each in told]


def test_a_site_is_silent_before_its_boxes_are_and_until_all_are_back() -> None:
    # Its last samples are of minute 19; the boxes come back one after another, over 25 minutes.
    back = {key: 60 + 25 * key // 10 for key in range(1, 11)}
    found = site_alerts(20, back)
    (fired, began), (resolved, ended) = found
    assert (fired, began) == ("firing", 29)
    assert began < 19 + 15, "an alert of a box comes first"
    assert resolved == "resolved"
    assert ended > max(back.values()) + 1, "boxes that are not back yet are told of"


def test_a_box_that_was_never_heard_does_not_keep_a_site_from_being_silent() -> None:
    assert site_alerts(20, {}, heard=9) == [("firing", 29)]
    assert site_alerts(20, {}, heard=8) == []


@pytest.mark.parametrize(
    ("preset", "attributes"),
    [
        ("night-noise", {}),
        ("neighbourhood-noise", {"noise_limit_day": 200.0, "noise_limit_night": 50.0}),
        ("neighbourhood-noise", {"noise_limit_day": 50.0, "noise_limit_night": 200.0}),
    ],
)
def test_noise_of_the_hours_before_is_not_judged(preset: str, attributes: dict[str, float]) -> None:
    # As loud as can be up to the last minute before the night, or the day, and silent from then on.
    by_day = attributes.get("noise_limit_day") == 50
    first, change, last = (4, 7, 12) if by_day else (17, 22, 29)
    facts = BoxFacts(1, "box", attributes=attributes)
    rows = []
    for hour in range(first, last):
        row: list[float | None] = [None] * len(COLUMNS)
        row[INDEX["laeq"]] = 90.0 if hour < change else 20.0
        rows += [tuple(row)] * 60
    times = [MONDAY_US + first * HOUR_US + number * MINUTE_US for number in range(len(rows))]
    for rule in PRESETS[preset].rules:
        replay = RuleSimulator(partial(always, compiled(rule, **attributes)), [facts])
        assert [*replay.feed(1, times, rows), *replay.finish(times[-1])] == []


def test_names_say_metrics_as_people_do() -> None:
    for _, rule in RULES:
        for name in rule.name:
            assert not re.search(r"pm\d|pm2_5|laeq|\b(no2|o3|so2|co2)\b", name), name
        assert not re.search(r"\S[:;?!]( |$)", rule.name.fr), rule.name.fr
        assert not rule.name.fr.startswith("Plus de "), "it reads as `more of`"
    assert [rule.name.fr for rule in PRESETS["metric-silent"].rules][::4] == [
        "PM2,5 : mesures absentes",
        "Température : mesures absentes",
    ]
    for preset_id in ("metric-silent", "flat-line"):
        description = PRESETS[preset_id].description
        for word in ("PM2.5", "NO₂", "ozone", "LAeq", "temperature"):
            assert word in description.en
        for word in ("PM2,5", "NO₂", "ozone", "LAeq", "température"):
            assert word in description.fr


@pytest.mark.parametrize(("preset", "rule"), RULES, ids=lambda value: getattr(value, "id", ""))
def test_what_a_preset_makes_is_not_modified(preset: Preset, rule: PresetRule) -> None:
    made = definition(rule)
    origin = {"preset": {"id": preset.id, "version": preset.version}}
    assert not is_preset_modified(made)
    assert not is_preset_modified(made | origin)
    # As an older version of the preset made it, it is what the present one makes.
    assert not is_preset_modified(made | {"preset": {"id": preset.id, "version": 0}})
    assert not is_preset_modified(made | origin | {"scope": {"tags": ["school"]}})
    assert is_preset_modified(made | origin | {"max_age": "PT2H"})
    assert is_preset_modified(made | origin | {"active": [{"from": "01:00", "to": "02:00"}]})
    assert is_preset_modified(made | origin | {"remind_every": "PT1H"})
    assert is_preset_modified(
        made | origin | {"levels": [{**level, "severity": "x"} for level in made["levels"]]}
    )
    assert is_preset_modified(made | {"preset": {"id": "gone", "version": 1}})


def test_formaldehyde_is_converted() -> None:
    # Molar volume of an ideal gas at 1013.25 hPa, in l/mol; 30.026 g/mol.
    for celsius in (20, 25):
        volume = 8.314462618 * (273.15 + celsius) / 101_325 * 1000
        assert FORMALDEHYDE_PPB * 30.026 / volume == pytest.approx(100, abs=2)


def test_lists_by_kind_and_metric() -> None:
    offices = {preset.id for preset in filter_presets(kind="office", metric=None)}
    assert {"indoor-co2", "desk-light", "box-silent"} <= offices
    assert "eu-no2-1h" not in offices
    assert {preset.id for preset in filter_presets(kind=None, metric="hcho")} == {"indoor-formaldehyde"}
    assert len(list(filter_presets(kind=None, metric=None))) == len(PRESETS)


def _of_the_union(on: date) -> set[str]:
    return {
        preset.id for preset in filter_presets(kind=None, metric=None, on=on) if preset.id.startswith("eu-")
    }


def test_law_applies_by_its_days() -> None:
    before, after, later = (_of_the_union(day) for day in (date(2026, 12, 11), RECAST_FROM, date(2030, 1, 1)))
    assert not any(preset.startswith(("eu-2026-", "eu-2030-")) for preset in before)
    assert after == {f"eu-2026-{preset.removeprefix('eu-')}" for preset in before - {"eu-o3-1h"}} | {
        f"eu-2026-thresholds-{metric}" for metric in ("o3", "no2", "so2", "pm10", "pm2-5")
    }
    assert {preset for preset in later if "thresholds" not in preset} == {
        f"eu-2030-{measured}"
        for measured in ("pm2-5-24h", "pm10-24h", "no2-1h", "no2-24h", "so2-1h", "so2-24h", "co-8h", "co-24h")
    }
    # What is no matter of law applies always.
    assert "who-pm2-5-24h" in {preset.id for preset in filter_presets(kind=None, metric=None, on=RECAST_FROM)}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.id)
def test_a_rules_name_is_said_in_the_readers_language_unless_a_person_gave_it(preset: Preset) -> None:
    for rule in preset.rules:
        for written, own in (("en", "École:"), ("fr", "École :")):
            name = rule.name.to("fr" if written == "fr" else "en")
            assert translate_rule_name(name, preset.id, "en") == rule.name.en
            assert translate_rule_name(name, preset.id, "fr") == rule.name.fr
            assert translate_rule_name(f"{own} {name}", preset.id, "fr") == f"École : {rule.name.fr}"
        assert translate_rule_name(rule.name.en, None, "fr") == rule.name.en
    assert translate_rule_name("Mine", preset.id, "fr") == "Mine"
    assert translate_rule_name("Mine", "a preset that is no more", "fr") == "Mine"
