import time

import pytest

from app.console.framework.problem_translation import (
    CONTEXT,
    PART_CONTEXT,
    ProblemText,
    translate_problem,
    translate_problem_text,
)
from app.presentation.translation import load_french
from tests.unit.console.framework.problem_sources import (
    find_problem_texts,
    is_in_sources,
    normalise_template,
)

# Rooms whose problems people meet in the console, and the least share of them in French.
_ROOMS = {
    "alerts": 0.8,
    "console": 0.8,
    "installation_settings": 0.8,
    "notifications": 0.7,
    "people": 0.8,
    "privacy_requests": 0.9,
    "registry": 0.9,
    "reports": 0.7,
    "rules": 0.9,
    "sound_incidents": 0.9,
}


def _entries(*contexts: str) -> list[str]:
    return [english for context, english in load_french() if context in contexts]


def test_every_translated_problem_is_a_text_of_the_sources() -> None:
    stale = [each for each in _entries(CONTEXT, PART_CONTEXT) if not is_in_sources(each)]
    assert stale == [], "remove these from vigie.po, or correct them"


def test_most_problems_that_people_meet_are_translated() -> None:
    translated = {normalise_template(each) for each in _entries(CONTEXT, PART_CONTEXT)}
    shares = {}
    for room in _ROOMS:
        texts = {text for text, rooms in find_problem_texts().items() if room in rooms}
        missing = texts - translated
        shares[room] = 1 - len(missing) / len(texts)
        print(f"{room}: {shares[room]:.0%} of {len(texts)}", *sorted(missing), sep="\n    ")  # noqa: T201 (shown if the test fails)
    assert {room: share for room, share in shares.items() if share < _ROOMS[room]} == {}


_TRANSLATED = {
    "Field required": "Ce champ est obligatoire",
    "There is no box 'box-1'.": "Le boîtier «\xa0box-1\xa0» n\u2019existe pas.",
    "Input should be 'a', 'b' or 'c'": "La valeur doit être «\xa0a\xa0», «\xa0b\xa0» ou «\xa0c\xa0»",
    "The silence has several ends: `ends_at` and `duration`. Give one of them": (
        "La mise en sourdine a plusieurs fins\xa0: `ends_at` et `duration`. N\u2019en donnez qu\u2019une"
    ),
    "A correction of this kind takes gain and offset": "Une correction de ce type demande gain et offset",
    "Samples exist for the years 2000 to 9998 only.": (
        "Il n\u2019y a de mesures que pour les années 2000 à 9998."
    ),
    "The history would have more than 10,000 results. Choose a longer `period` (P1D, P7D), a shorter range, "
    "or fewer boxes with `box`.": (
        "L\u2019historique aurait plus de 10\u202f000 résultats. Choisissez une `period` plus longue (P1D, "
        "P7D), une durée plus courte, ou moins de boîtiers avec `box`."
    ),
    "The organisation still has 3 boxes, 1 site. First delete its boxes; delete its sites, after the rules "
    "of each site.": (
        "L\u2019organisation a encore 3 boîtiers, 1 site. D\u2019abord, supprimez ses boîtiers\u202f; "
        "supprimez ses sites, après les règles de chaque site."
    ),
    "This URL cannot receive webhooks: 10.0.0.1 is private.": (
        "Cette URL ne peut pas recevoir de webhooks\xa0: 10.0.0.1 est une adresse privée."
    ),
    "This cannot be the mail server: 10.0.0.1 is private. The operator of this installation can set "
    "VIGIE_SMTP__ALLOW_PRIVATE or VIGIE_SMTP__HOST.": (
        "Ce ne peut pas être le serveur de courrier\xa0: 10.0.0.1 est une adresse privée. "
        "L\u2019exploitant de cette installation peut régler VIGIE_SMTP__ALLOW_PRIVATE ou VIGIE_SMTP__HOST."
    ),
    """'x' is not a number. Send a number, or {"attribute": "limit"} for an attribute of the box or its """
    "site": (
        """«\xa0x\xa0» n\u2019est pas un nombre. Envoyez un nombre, ou {"attribute": "limit"} pour un """
        "attribut du boîtier ou de son site"
    ),
}


@pytest.mark.parametrize(("english", "french"), _TRANSLATED.items())
def test_values_stay_and_words_are_translated(english: str, french: str) -> None:
    assert translate_problem_text(english, "fr") == ProblemText(french, "fr")
    assert translate_problem_text(english, "en") == ProblemText(english, "en")


def test_unknown_and_very_long_texts_stay_english() -> None:
    for text in ("Nobody translated this.", "", f"There is no box {'x' * 2_000!r}."):
        assert translate_problem_text(text, "fr") == ProblemText(text, "en")


def test_values_of_a_client_are_not_templates() -> None:
    text = translate_problem_text("There is no box '{what} {0.real}'.", "fr").text
    assert text == "Le boîtier «\xa0{what} {0.real}\xa0» n\u2019existe pas."


def test_a_detail_that_lists_its_faults_is_translated_by_fault() -> None:
    required, unknown = "Field required", "Nobody translated this"
    faults = [("body.name", required), ("body.kind", required), ("body.url", unknown)]
    detail = f"body.name, body.kind: {required}; body.url: {unknown}; and 3 more"
    assert [*translate_problem(detail, faults, "fr")] == [
        ("body.name, body.kind\xa0: ", "fr"),
        ("Ce champ est obligatoire", "fr"),
        ("\u202f; body.url\xa0: ", "fr"),
        (unknown, "en"),
        ("\u202f; et 3 de plus", "fr"),
    ]
    assert [*translate_problem(detail, faults, "en")] == [(detail, "en")]
    begins_with_a_value = "'a b': a box's id has 1 to 64 of the characters A-Z a-z 0-9 _ -"
    parts = translate_problem(f"body.id: {begins_with_a_value}", [("body.id", begins_with_a_value)], "fr")
    assert "".join(part.text for part in parts).startswith(
        "body.id\xa0: «\xa0a b\xa0»\xa0: l\u2019identifiant"
    )
    assert [*translate_problem("Something else", faults, "fr")] == [("Something else", "en")]


@pytest.mark.parametrize(
    "text",
    [
        "'a' " * 500,
        "a, " * 660,
        "x; " * 660,
        ": " * 1_000,
        "There is no " * 160 + ".",
        "This URL cannot receive webhooks: " + "it has, " * 240 + ".",
        "The organisation still has " + "1 box, " * 250 + ". First " + "delete its boxes" + ".",
    ],
)
def test_the_time_of_a_text_is_bounded(text: str) -> None:
    translate_problem_text("Field required", "fr")
    begin = time.process_time()
    translate_problem_text(text, "fr")
    assert time.process_time() - begin < 0.5
