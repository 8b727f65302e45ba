"""Defines the texts of mails in one language; `mail_texts_en` and `mail_texts_fr` contain them.

Callers fill in the placeholders, always with cleaned texts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

NBSP: Final = "\xa0"
THIN_NBSP: Final = "\u202f"
APOSTROPHE: Final = "\u2019"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MailTexts:
    """The texts of one language.

    Attributes:
        language: The value of `Content-Language`.
        digits, apostrophes: Translations of the characters of numbers, and of the catalogue's texts.
        first: The first day of a month.
        moment: A time, with `day`, `month`, `year`, `clock` and `zone`.
        place: A rule and its site in a subject.
        tags, happened, leads: By type of event: the badge, the text in lists, and the first sentence.
        resolutions, reasons: Why an alert ended, and why its severity changed.
        functions, kinds, recognised: Names of functions, endpoint kinds, and events that boxes recognise.
        quotas: The names of quotas.
        evidences: How well the position of an incident is known.
        open: The text of a link to the alert.
        and_more, firing, resolved, unlisted: Singular and plural.
    """

    language: str
    digits: Mapping[int, str]
    apostrophes: Mapping[int, str]
    months: tuple[str, ...]
    first: str
    moment: str
    day: str
    percent: str
    colon: str
    severities: Mapping[str, str]
    place: str
    tags: Mapping[str, str]
    happened: Mapping[str, str]
    leads: Mapping[str, str]
    resolutions: Mapping[str, str]
    reasons: Mapping[str, str]
    functions: Mapping[str, str]
    over: str
    limit: str
    upper_bound: str
    silence: str
    silence_of: str
    kinds: Mapping[str, str]
    recognised: Mapping[str, str]
    quotas: Mapping[str, str]
    evidences: Mapping[str, str]
    labels: Mapping[str, str]
    whole_site: str
    and_more: tuple[str, str]
    advice: str
    firing: tuple[str, str]
    resolved: tuple[str, str]
    counted: str
    rules: str
    sites: str
    since: str
    lasted: str
    events: str
    unlisted: tuple[str, str]
    test: tuple[str, str]
    test_of_server: tuple[str, str]
    notices: Mapping[str, tuple[str, str]]
    other: tuple[str, str]
    open: str
    footer: str
    footer_alert: str
    footer_test: str
