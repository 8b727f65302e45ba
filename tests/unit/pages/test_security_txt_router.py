"""`security.txt`: its fields are those of RFC 9116, from the settings."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from pydantic import ValidationError

from app.pages.security_txt_router import render_security_txt
from app.pages.settings import SecurityTxtSettings

NOW: Final = datetime(2026, 11, 29, 17, 40, tzinfo=UTC)


def test_the_file_has_the_fields_of_the_standard_in_its_syntax() -> None:
    settings = SecurityTxtSettings(
        contacts=["mailto:security@city.example", "https://city.example/report"],
        policy="https://city.example/policy",
        languages=["fr", "en"],
        encryption="openpgp4fpr:" + "5" * 40,
        acknowledgments="https://city.example/thanks",
        csaf="https://city.example/.well-known/csaf/provider-metadata.json",
        valid_days=30,
    )
    assert render_security_txt(settings, "https://vigie.example.com", NOW) == (
        "Contact: mailto:security@city.example\n"
        "Contact: https://city.example/report\n"
        "Expires: 2026-12-29T00:00:00Z\n"
        f"Encryption: openpgp4fpr:{'5' * 40}\n"
        "Acknowledgments: https://city.example/thanks\n"
        "Policy: https://city.example/policy\n"
        "CSAF: https://city.example/.well-known/csaf/provider-metadata.json\n"
        "Preferred-Languages: fr, en\n"
        "Canonical: https://vigie.example.com/.well-known/security.txt\n"
    )


def test_it_expires_within_a_year_and_names_no_address_without_https() -> None:
    settings = SecurityTxtSettings(contacts=["tel:+33-1-23-45-67-89"])
    text = render_security_txt(settings, "http://127.0.0.1:8000", NOW)
    assert text == (
        "Contact: tel:+33-1-23-45-67-89\nExpires: 2027-02-27T00:00:00Z\nPreferred-Languages: en\n"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"contacts": ["security@city.example"]},
        {"contacts": ["mailto:a@b.example\nContact: mailto:evil@b.example"]},
        {"contacts": ["http://city.example/report"]},
        {"policy": "http://city.example/policy"},
        {"policy": "https://city.example/a b"},
        {"languages": ["french, en"]},
        {"valid_days": 366},
    ],
)
def test_settings_that_would_make_an_invalid_file_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SecurityTxtSettings(**wrong)
