"""Two ways to write a rule are equal, and a change contains only what means something else."""

from typing import Any

from app.console.rules.rule_normal_form import body_of, change_of, normalise_rule

CONDITION = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 25, "for": "PT0S", "repeat": 1}
STORED: dict[str, Any] = {
    "id": "1",
    "site_id": "s",
    "name": "r",
    "description": "Look.",
    "severity": "warning",
    "condition": CONDITION | {"function": "mean", "window": "PT24H"},
    "levels": None,
    "scope": None,
    "active": [{"from": "22:00", "to": "06:00"}],
    "max_age": "PT1H",
    "escalations": [],
    "remind_every": None,
    "enabled": True,
    "dry_run": False,
    "version": 3,
    "sentence": "…",
}
SAME: dict[str, Any] = {
    "site_id": "s",
    "name": "r",
    "description": "Look.",
    "severity": "warning",
    "condition": {
        "metric": "pm2_5",
        "operator": ">",
        "threshold": 25.0,
        "function": "mean",
        "window": "P1D",
    },
    "active": [{"from": "22:00", "to": "06:00"}],
}


def test_defaults_and_notation_do_not_matter() -> None:
    assert normalise_rule(STORED) == normalise_rule(SAME)
    assert change_of(STORED, SAME) == {}


def test_an_invalid_duration_stays_as_it_is() -> None:
    assert normalise_rule({"max_age": "soon"}) == {"max_age": "soon"}


def test_a_change_contains_what_differs() -> None:
    assert change_of(STORED, SAME | {"name": "s"}) == {"name": "s"}
    other = SAME["condition"] | {"threshold": 30}
    assert change_of(STORED, SAME | {"condition": other}) == {"severity": "warning", "condition": other}
    assert change_of(STORED, SAME | {"max_age": "PT2H", "enabled": False}) == {
        "max_age": "PT2H",
        "enabled": False,
    }


def test_a_change_empties_what_is_gone() -> None:
    short = {name: value for name, value in SAME.items() if name not in {"active", "description"}}
    assert change_of(STORED, short) == {"active": None, "description": None}
    assert change_of({**STORED, "max_age": "PT2H"}, SAME) == {"max_age": "PT1H"}


def test_levels_replace_a_condition_and_the_other_way_round() -> None:
    levels = [{"severity": "info", "condition": CONDITION}, {"severity": "critical", "condition": CONDITION}]
    rest = {name: value for name, value in SAME.items() if name not in {"severity", "condition"}}
    assert change_of(STORED, rest | {"levels": levels}) == {"levels": levels}
    ladder = {**STORED, "severity": "critical", "condition": None, "levels": levels}
    assert change_of(ladder, rest | {"levels": levels}) == {}
    assert change_of(ladder, SAME) == {"severity": "warning", "condition": SAME["condition"]}


def test_what_the_api_does_not_know_is_sent_to_be_refused() -> None:
    assert change_of(STORED, SAME | {"colour": "red", "site_id": "t"}) == {"colour": "red", "site_id": "t"}


def test_the_body_has_no_empty_fields() -> None:
    assert list(body_of(STORED)) == [
        *("site_id", "name", "description", "severity", "condition"),
        *("active", "max_age", "escalations", "enabled", "dry_run"),
    ]
