"""What a version changed, in words."""

from typing import Any

import pytest

from app.console.framework.page_translation import PageTranslator
from app.console.rules.rule_differences import list_differences
from app.presentation.languages import Language
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NO_VALUE

OLD: dict[str, Any] = {
    "name": "r",
    "severity": "warning",
    "condition": {"metric": "pm2_5", "operator": ">", "threshold": 13.5, "for": "PT10M"},
    "levels": None,
    "active": None,
    "enabled": True,
    "sentence": "Old.",
    "sentence_fr": "Ancienne.",
}


def differences(new: dict[str, Any], language: Language = "en") -> list[tuple[str, str, str]]:
    texts = PageTranslator(LocalFormatter(language))
    return [tuple(each) for each in list_differences(OLD, new, texts)]  # type: ignore[misc]


def test_equal_versions_differ_in_nothing() -> None:
    assert differences({**OLD, "version": 2, "sentence": "Other."}) == []


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            [("Threshold", "13.5", "20"), ("For at least", "10 minutes", "1 hour"), ("Enabled", "yes", "no")],
        ),
        (
            "fr",
            [
                ("Seuil", "13,5", "20"),
                ("Pendant au moins", "10 minutes", "1 heure"),
                ("Active", "oui", "non"),
            ],
        ),
    ],
)
def test_fields_have_names_and_values_in_words(
    language: Language, expected: list[tuple[str, str, str]]
) -> None:
    condition = OLD["condition"] | {"threshold": 20, "for": "PT1H"}
    found = differences({**OLD, "condition": condition, "enabled": False}, language)
    assert [tuple(part.replace("\u00a0", " ") for part in each) for each in found] == expected


def test_what_is_new_or_gone_has_a_dash() -> None:
    active = [{"days": ["mon", "fri"], "from": "22:00", "to": "06:00"}]
    assert differences({**OLD, "active": active}) == [
        ("Days", NO_VALUE, "mon, fri"),
        ("Hours from", NO_VALUE, "22:00"),
        ("Hours to", NO_VALUE, "06:00"),
    ]


def test_levels_are_numbered_and_unknown_fields_have_their_path() -> None:
    levels = [{"severity": "info", "condition": {"metric": "pm2_5", "odd": 1}}]
    labels = [label for label, _, _ in differences({**OLD, "condition": None, "levels": levels})]
    assert "Level 1: Severity" in labels
    assert "levels.0.condition.odd" in labels


def test_many_differences_are_two_sentences() -> None:
    many = {"all": [{"metric": f"m{number}", "operator": ">", "threshold": number} for number in range(9)]}
    new = {**OLD, "condition": many, "sentence": "New.", "sentence_fr": "Nouvelle."}
    assert differences(new) == [("The rule", "Old.", "New.")]
    assert differences(new, "fr") == [("La règle", "Ancienne.", "Nouvelle.")]
