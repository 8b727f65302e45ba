"""Mails of incidents, of the examples that the catalogue has."""

import json

import msgspec

from app.notifications.email.mail_rendering import RenderedMail, SiteName, render_mail
from app.notifications.events.incident_event_schemas import EXAMPLES

DETECTED, UPDATED, CONFIRMED, DISMISSED = EXAMPLES


def mail_of(event: dict[str, object], language: str = "en") -> RenderedMail:
    sites = {"01a20ff2-6f03-7a91-8c55-0be1d94f2a37": SiteName("Place du Capitole", "Europe/Paris")}
    return msgspec.json.decode(render_mail(json.dumps(event).encode(), language, sites), type=RenderedMail)


def test_it_says_where_it_was_and_how_sure_that_is() -> None:
    mail = mail_of(UPDATED)
    assert mail.subject == "[Vigie] Possible gunshot: more is known: Place du Capitole"
    assert mail.thread == f"incident-{UPDATED['data']['incident_id']}"
    for line in (
        "Site: Place du Capitole",
        "Latitude, longitude: 43.60472, 1.44499 (± 6.4\xa0m)",
        "Evidence: a position, of three boxes or more",
        "Most likely: pistol",
        "A gunshot or an explosion: 95%",
        "Rounds: 2",
        "Heard by: box-0001, box-0002, box-0003, box-0004",
    ):
        assert f"\n{line}\n" in mail.text
    # In the site's own time.
    assert "23:14" in mail.text


def test_of_one_box_no_place_is_told_and_of_an_end_what_was_found() -> None:
    first = mail_of(DETECTED, "fr")
    assert first.subject == "[Vigie] Coup de feu possible\xa0: Place du Capitole"
    assert "non localisé" in first.text
    assert "Latitude" not in first.text
    assert "\nFound: gunshot\n" in mail_of(CONFIRMED).text
    assert "\nFound: firework\n" in mail_of(DISMISSED).text
