"""Rules as sentences: every kind of condition that the API shows by example, in both languages."""

# ruff: noqa: E501 (each sentence stands as it is read)

import pytest

from app.catalogue.metrics import COLUMNS
from app.notifications.sentences import rule_sentence
from app.notifications.sentences.phrases import ENGLISH, FRENCH
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.schemas import RuleCreate


def said(name: str, language: str = "en", titles: dict[str, str] | None = None) -> str:
    rule = RuleCreate.model_validate(EXAMPLES[name]["value"])
    text = rule_sentence(rule.definition(), language, dry_run=rule.dry_run, titles=titles)
    return text.replace("\xa0", " ").replace("\u202f", " ").replace("\u2019", "'")


@pytest.mark.parametrize(
    ("name", "english", "french"),
    [
        (
            "threshold",
            "Warning when PM2.5 is above 25 µg/m³ for 10 minutes, until at or below 20 µg/m³.",
            (
                "Avertissement : PM2,5 au-dessus de 25 µg/m³ pendant 10 minutes, jusqu'au retour à 20 µg/m³ ou"
                " au-dessous."
            ),
        ),
        (
            "attribute",
            "Warning when sound level (LAeq) is above its “noise_limit” (65 dB where it has none).",
            "Avertissement : niveau sonore (LAeq) au-dessus de son attribut « noise_limit » (65 dB à défaut).",
        ),
        (
            "range",
            "Warning when temperature is outside 14 to 20 °C for 30 minutes.",
            "Avertissement : température hors de l'intervalle de 14 à 20 °C pendant 30 minutes.",
        ),
        (
            "rate",
            "Warning when the change per hour of CO over 5 minutes is above 20 mg/m³/h, 3 times in a row.",
            "Avertissement : CO, variation par heure sur 5 minutes, au-dessus de 20 mg/m³/h, 3 fois de suite.",
        ),
        (
            "energy_mean",
            (
                "Warning when the energy mean of sound level (LAeq) over 1 hour is above 55 dB. Only every day from"
                " 23:00 to 06:00."
            ),
            (
                "Avertissement : niveau sonore (LAeq), moyenne énergétique sur 1 heure, au-dessus de 55 dB. Seulement"
                " tous les jours de 23 h 00 à 6 h 00."
            ),
        ),
        (
            "silence",
            "Warning when no data comes for 15 minutes. Only for boxes of kind street.",
            "Avertissement : aucune donnée pendant 15 minutes. Seulement pour les boîtiers de type street.",
        ),
        (
            "event",
            (
                "Warning when a box recognises “gunshot”, pistol, with a confidence of 70% or more, 2 times in"
                " 1 minute."
            ),
            (
                "Avertissement : « coup de feu » signalé par un boîtier, pistolet, avec une confiance d'au moins 70 %,"
                " 2 fois en 1 minute."
            ),
        ),
        (
            "all",
            (
                "Warning when humidity is above 80% and temperature is within 15 to 30 °C, unless no humidity"
                " comes for 30 minutes, all of it for 6 hours. It ends once that has been over for 1 hour."
            ),
            (
                "Avertissement : humidité au-dessus de 80 % et température dans l'intervalle de 15 à 30 °C, sauf"
                " si aucune mesure pendant 30 minutes (humidité), le tout pendant 6 heures. L'alerte se termine une"
                " fois que ce n'est plus le cas depuis 1 heure."
            ),
        ),
        (
            "share",
            (
                "Warning when PM2.5 is above 25 µg/m³ at 50% or more of the boxes of kind street, all of it for"
                " 15 minutes."
            ),
            (
                "Avertissement : PM2,5 au-dessus de 25 µg/m³ sur au moins 50 % des boîtiers de type street, le tout"
                " pendant 15 minutes."
            ),
        ),
        (
            "dry_run",
            "Warning when odour is above 5 ou/m³ for 10 minutes. This is a dry run: no notifications are sent.",
            (
                "Avertissement : odeur au-dessus de 5 uoE/m³ pendant 10 minutes. La règle est à l'essai : personne"
                " n'est prévenu."
            ),
        ),
    ],
)
def test_a_rule_is_said_in_both_languages(name: str, english: str, french: str) -> None:
    assert (said(name), said(name, "fr")) == (english, french)


def test_a_ladder_is_a_sentence_for_each_level() -> None:
    assert said("ladder").count(". ") == 2
    assert said("ladder").startswith("Info when NO2 is above 40 µg/m³, until at or below 35 µg/m³. Warning")


def test_an_index_has_its_title_and_its_class() -> None:
    titles = {"eaqi": "European air quality index", "eaqi/poor": "Poor"}
    assert said("index", titles=titles) == (
        "Warning when European air quality index is “Poor” or worse for 1 hour."
    )
    assert "eaqi" in said("index")


def test_every_rule_that_the_api_shows_has_a_sentence() -> None:
    for name in EXAMPLES:
        for language in ("en", "fr"):
            assert "?" not in said(name, language), name
            assert "{" not in said(name, language), name


def test_what_is_no_definition_has_no_sentence() -> None:
    assert not rule_sentence({})
    assert not rule_sentence({"levels": []})


def test_every_metric_of_the_catalogue_has_a_short_name() -> None:
    assert ENGLISH.metrics.keys() == set(COLUMNS)
    assert FRENCH.metrics.keys() == set(COLUMNS)
