"""The texts that mails are made of: which there are. What they are is in `texts_en` and `texts_fr`.

Braces in them are filled in by who uses a text: always with words that are cleaned already.
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
        language: As in `Content-Language`.
        digits, apostrophes: What becomes of characters of numbers, and of words of the catalogue.
        first: The first day of a month.
        moment: A time, of `day`, `month`, `year`, `clock` and `zone`.
        place: A rule and its site, as a subject names them.
        tags, happened, leads: By the type of the event: before the subject, in lists, and as a sentence.
        resolutions, reasons: Why an alert ended, and why it went up or down.
        functions, kinds, recognised: What windows come to, ways out, types of events of boxes.
        quotas: What each is of.
        evidences: How far it is known where something was.
        open: What a link to the alert says.
        and_more, firing, resolved, unlisted: Of one, and of several.
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
