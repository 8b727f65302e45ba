"""Sentences on events: all kinds of conditions, in English and French."""

# ruff: noqa: E501 (each sentence stands on one line, as it is read)

from typing import Any

import pytest

from app.notifications.events.event_examples import EXAMPLES
from app.notifications.events.event_schemas import EVENT_SCHEMAS
from app.notifications.sentences import condition_node, event_sentence

_NBSP = "\xa0"
CAUSE: dict[str, Any] = {
    "path": "levels/0/condition",
    "function": None,
    "window": None,
    "event": None,
    "boxes": [],
    "index": None,
}
ALERT: dict[str, Any] = {
    "alert_id": "01a21017-b012-70c3-9e7d-1f6a3c5e8b92",
    "rule_name": "Fine particles",
    "site_name": "Rue de Metz",
    "box": "box-0001",
    "box_name": None,
    "metric": "pm2_5",
    "value": 42.0,
    "threshold": 25.0,
    "clear": 20.0,
    "severity": "warning",
    "state": "firing",
    "pending_since": "2026-11-24T10:00:00Z",
    "started_at": "2026-11-24T10:10:00Z",
    "cause": CAUSE,
}
ENDED = {"state": "resolved", "resolved_at": "2026-11-24T11:02:00Z", "resolution": "cleared"}
ABOVE = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M", "repeat": 1}
MOULD = {
    "all": [
        {"metric": "humidity", "operator": ">", "threshold": 80},
        {"not": {"no_data": "PT30M", "metric": "humidity"}},
    ],
    "for": "PT6H",
}
INDEX = {
    "method": "eaqi",
    "title": "European air quality index",
    "title_fr": "Indice européen de qualité de l'air",
    "unit": "1",
    "band": {"label": "Poor", "label_fr": "Mauvais"},
    "limit_band": {"label": "Poor", "label_fr": "Mauvais"},
}
SHOT = {
    "type": "gunshot",
    "time": "2026-11-24T22:14:03Z",
    "confidence": 0.81,
    "class": "pistol",
    "model": None,
}


def both(type_: str, data: dict[str, Any], condition: dict[str, Any] | None, **more: bool) -> tuple[str, str]:
    english, french = (
        event_sentence(type_, data, language, condition=condition, **more) for language in ("en", "fr")
    )
    return english, french.replace(_NBSP, " ").replace("\u202f", " ").replace("\u2019", "'")


def caused(**cause: object) -> dict[str, Any]:
    return {"cause": {**CAUSE, **cause}}


@pytest.mark.parametrize(
    ("type_", "more", "condition", "english", "french"),
    [
        (
            "alert.firing",
            {},
            ABOVE,
            "PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes",
            "Rue de Metz : PM2,5 à 42 µg/m³, au-dessus de 25 depuis 10 minutes",
        ),
        (
            "alert.escalated",
            {"previous_severity": "info", "reason": "samples"},
            ABOVE,
            "PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes; the severity went from info to warning",
            (
                "Rue de Metz : PM2,5 à 42 µg/m³, au-dessus de 25 depuis 10 minutes ; gravité passée de "
                "« information » à « avertissement »"
            ),
        ),
        (
            "alert.acknowledged",
            {"acknowledged_by": {"kind": "user", "id": "x", "name": "Léa"}},
            {**ABOVE, "for": "PT0S", "repeat": 3},
            "PM2.5 at Rue de Metz is 42 µg/m³, above 25, 3 times in a row; acknowledged by Léa",
            "Rue de Metz : PM2,5 à 42 µg/m³, au-dessus de 25, 3 fois de suite ; prise en charge par Léa",
        ),
        (
            "alert.reminder",
            {},
            ABOVE,
            "PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes; nobody has acknowledged it",
            "Rue de Metz : PM2,5 à 42 µg/m³, au-dessus de 25 depuis 10 minutes ; personne ne l'a prise en charge",
        ),
        (
            "alert.resolved",
            {**ENDED, "resolved_value": 18.4},
            ABOVE,
            "PM2.5 at Rue de Metz is back to 18.4 µg/m³ after 52 minutes",
            "Rue de Metz : PM2,5 de retour à 18,4 µg/m³ après 52 minutes",
        ),
        (
            "alert.resolved",
            {**ENDED, "resolution": "rule_disabled", "resolved_value": None},
            None,
            "“Fine particles” at Rue de Metz is over after 52 minutes: its rule was disabled",
            "Rue de Metz : l'alerte « Fine particles » est terminée après 52 minutes (sa règle a été désactivée)",
        ),
        (
            "alert.firing",
            {"metric": "temperature", "value": 22.04, "threshold": 20.0, "clear": None},
            {"metric": "temperature", "operator": "outside", "low": 14, "high": 20, "for": "PT1H30M"},
            "Temperature at Rue de Metz is 22.04 °C, outside 14 to 20 for 1 hour 30 minutes",
            "Rue de Metz : température à 22,04 °C, hors de l'intervalle de 14 à 20 depuis 1 heure 30 minutes",
        ),
        (
            "alert.firing",
            {
                "metric": "laeq",
                "value": 71.234,
                "threshold": 65.0,
                **caused(function="energy_mean", window="PT1H"),
            },
            {
                "metric": "laeq",
                "operator": ">=",
                "threshold": {"attribute": "noise_limit"},
                "function": "energy_mean",
                "window": "PT1H",
            },
            "Energy mean of sound level (LAeq) over 1 hour at Rue de Metz is 71.23 dB, at or above 65",
            "Rue de Metz : niveau sonore (LAeq), moyenne énergétique sur 1 heure à 71,23 dB, à 65 ou au-dessus",
        ),
        (
            "alert.firing",
            {
                "metric": "no2",
                "value": 210.0,
                "threshold": 200.0,
                **caused(function="percentile", window="P1D"),
            },
            {"metric": "no2", "operator": ">", "threshold": 200, "function": "percentile", "percentile": 95},
            "95th percentile of NO2 over 1 day at Rue de Metz is 210 µg/m³, above 200",
            "Rue de Metz : NO2, 95e centile sur 1 jour à 210 µg/m³, au-dessus de 200",
        ),
        (
            "alert.firing",
            {
                "metric": None,
                "value": 900.0,
                "threshold": 900.0,
                "clear": 900.0,
                **caused(function="no_data"),
            },
            {"no_data": "PT15M"},
            "No data from Rue de Metz for 15 minutes",
            "Rue de Metz : aucune donnée depuis 15 minutes",
        ),
        (
            "alert.firing",
            {"metric": "humidity", "value": 960.0, "threshold": 900.0, **caused(function="no_data")},
            {"no_data": "PT15M", "metric": "humidity"},
            "No humidity from Rue de Metz for 16 minutes",
            "Rue de Metz : humidité, aucune mesure depuis 16 minutes",
        ),
        (
            "alert.resolved",
            {**ENDED, "metric": None, "resolved_value": 0.0, **caused(function="no_data")},
            None,
            "Data comes from Rue de Metz again after 52 minutes",
            "Rue de Metz : les données arrivent à nouveau après 52 minutes",
        ),
        (
            "alert.firing",
            {
                "metric": None,
                "value": 0.81,
                "threshold": 0.7,
                "clear": None,
                **caused(event=SHOT, window="PT1M"),
            },
            {"event": "gunshot", "confidence": 0.7, "count": 2, "window": "PT1M"},
            "Gunshot recognised at Rue de Metz (pistol, 81%), 2 times in 1 minute",
            "Rue de Metz : coup de feu détecté (pistolet, 81 %), 2 fois en 1 minute",
        ),
        (
            "alert.resolved",
            {**ENDED, "metric": None, "resolved_value": None, **caused(event=SHOT, window="PT2M")},
            {"event": "gunshot", "confidence": 0.7, "count": 1, "window": "PT2M"},
            "“Fine particles” at Rue de Metz is over after 52 minutes: no further event for 2 minutes",
            (
                "Rue de Metz : l'alerte « Fine particles » est terminée après 52 minutes (aucun nouvel événement "
                "pendant 2 minutes)"
            ),
        ),
        (
            "alert.resolved",
            {**ENDED, "metric": None, "resolved_value": None, **caused(event=SHOT, window="PT2M")},
            {"event": "gunshot", "confidence": 0.7, "count": 3, "window": "PT2M"},
            "“Fine particles” at Rue de Metz is over after 52 minutes: fewer than 3 events in 2 minutes",
            (
                "Rue de Metz : l'alerte « Fine particles » est terminée après 52 minutes (moins de 3 événements en "
                "2 minutes)"
            ),
        ),
        (
            "alert.firing",
            {"metric": None, "value": 62.0, "threshold": None, "clear": None, **caused(index=INDEX)},
            {"index": "eaqi", "band": "poor", "for": "PT1H"},
            "European air quality index at Rue de Metz is 62, in class “Poor” (limit: “Poor” or worse) for 1 hour",
            (
                "Rue de Metz : Indice européen de qualité de l'air à 62, classe « Mauvais » (seuil : « Mauvais » ou "
                "pire) depuis 1 heure"
            ),
        ),
        (
            "alert.firing",
            {"box": None, **caused(path="levels/0/condition/boxes", boxes=["a", "b", "c"])},
            {"boxes": {"metric": "pm2_5", "operator": ">", "threshold": 25}, "share": 50, "for": "PT15M"},
            "3 boxes at Rue de Metz: PM2.5 is above 25 µg/m³ for 15 minutes",
            "Rue de Metz : 3 boîtiers, PM2,5 au-dessus de 25 µg/m³ depuis 15 minutes",
        ),
        (
            "alert.firing",
            {"box": None, "metric": None, **caused(path="levels/0/condition/boxes", boxes=["a", "b"])},
            {"boxes": {"no_data": "PT15M"}, "share": 50, "for": "PT5M"},
            "2 boxes at Rue de Metz: no data comes for 15 minutes, all of it for 5 minutes",
            "Rue de Metz : 2 boîtiers, aucune donnée pendant 15 minutes, le tout depuis 5 minutes",
        ),
        (
            "alert.firing",
            {
                "metric": "humidity",
                "value": 84.0,
                "threshold": 80.0,
                **caused(path="levels/0/condition/all/0"),
            },
            MOULD,
            (
                "Humidity at Rue de Metz is 84%, above 80; the whole condition holds for 6 hours: humidity is above "
                "80%, unless no humidity comes for 30 minutes"
            ),
            (
                "Rue de Metz : humidité à 84 %, au-dessus de 80 ; la condition entière est remplie depuis 6 heures "
                "(humidité au-dessus de 80 %, sauf si aucune mesure pendant 30 minutes (humidité))"
            ),
        ),
        (
            "alert.firing",
            {"metric": "humidity", **caused(path="levels/0/condition/all/1/not", function="no_data")},
            MOULD,
            (
                "“Fine particles” holds at Rue de Metz for 6 hours: humidity is above 80%, unless no humidity comes "
                "for 30 minutes"
            ),
            (
                "Rue de Metz : la condition de « Fine particles » est remplie depuis 6 heures (humidité au-dessus de "
                "80 %, sauf si aucune mesure pendant 30 minutes (humidité))"
            ),
        ),
    ],
)
def test_each_kind_of_condition_has_a_sentence(
    type_: str, more: dict[str, Any], condition: dict[str, Any] | None, english: str, french: str
) -> None:
    assert both(type_, {**ALERT, **more}, condition, one_box=True) == (english, french)


def test_a_box_is_named_where_a_site_has_several() -> None:
    assert both("alert.firing", ALERT, ABOVE)[0].startswith("PM2.5 at Rue de Metz (box-0001) is 42")
    named = {**ALERT, "box_name": "North crossing"}
    assert both("alert.firing", named, ABOVE)[0].startswith("PM2.5 at Rue de Metz (North crossing) is 42")


def test_without_the_rule_the_numbers_and_the_times_say_it() -> None:
    english, _ = both("alert.firing", ALERT, None, one_box=True)
    assert english == "PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes"
    below, _ = both("alert.firing", {**ALERT, "value": 3.0, "clear": 30.0}, None, one_box=True)
    assert below == "PM2.5 at Rue de Metz is 3 µg/m³, below 25 for 10 minutes"


def test_a_name_cannot_break_a_sentence() -> None:
    hostile = {**ALERT, "site_name": "A{0}\n\u202eevil {x}", "rule_name": "{place}"}
    assert "A{0} evil {x}" in event_sentence("alert.firing", hostile)
    assert "{place}" in event_sentence("alert.resolved", {**hostile, "resolution": "rule_deleted"})


def test_every_type_that_is_sent_has_a_sentence_in_both_languages() -> None:
    for type_ in EVENT_SCHEMAS:
        english, french = (event_sentence(type_, EXAMPLES[type_]["data"], each) for each in ("en", "fr"))
        assert english, type_
        assert french, type_


def test_strange_data_have_a_sentence() -> None:
    assert event_sentence("alert.firing", {"alert_id": "x"}) == "“?” fires at the site"
    assert event_sentence(
        "alert.new", {**ALERT, "cause": {"path": "levels/7/condition/all/x"}}, condition=MOULD
    )


def test_a_stored_sentence_stands() -> None:
    data = {**ALERT, "sentence": "As it was", "sentence_fr": "Comme c'était"}
    assert event_sentence("alert.firing", data) == "As it was"
    assert event_sentence("alert.firing", data, "fr") == "Comme c'était"


def test_the_condition_of_a_cause_is_its_levels() -> None:
    definition = {"levels": [{"condition": ABOVE}, {"condition": MOULD}]}
    assert condition_node(definition, "levels/1/condition/all/0") == MOULD
    assert condition_node(definition, "levels/4/condition") is None
    assert condition_node(None, "levels/0/condition") is None
