"""Composes the mail that a scheduled report is attached to, in English and in French. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from app.environmental_indices.period_selection import DatedPeriod
from app.presentation.languages import LOCALES, Language
from app.presentation.local_formatter import LocalFormatter
from app.presentation.mail_layout import SUBJECT_LIMIT, MailContent
from app.presentation.translation import translate_fields
from app.presentation.typography import clean_line, truncate_text
from app.reports.period_labels import format_period
from app.reports.report_input import ReportLength

_NAME_LIMIT: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportMailTexts:
    """The texts of one language."""

    language: Language
    tag: str
    subjects: Mapping[str, str]
    lead: str
    site: str
    period: str
    organisation: str
    files: str
    forms: Mapping[str, str]
    footer: str


TEXTS: Final = ReportMailTexts(
    language="en",
    tag="Report",
    subjects={
        "day": "Daily report: {site}, {period}",
        "week": "Weekly report: {site}, {period}",
        "month": "Monthly report: {site}, {period}",
    },
    lead="The report on {site} is attached to this email.",
    site="Site",
    period="Period",
    organisation="Organisation",
    files="Attached",
    forms={"pdf": "the report (PDF)", "csv": "the measurements (CSV)"},
    footer="{organisation} sends you this report regularly. To stop receiving it, ask them to remove your "
    "address.",
)
"""The texts as typed, which the message catalogue has as `msgid`."""

TEXTS_BY_LANGUAGE: Final[Mapping[Language, ReportMailTexts]] = {
    language: translate_fields(TEXTS, language, context="report mail") for language in LOCALES
}


def build_report_mail(
    language: Language,
    *,
    length: ReportLength,
    site: str,
    organisation: str,
    slot: DatedPeriod,
    forms: Sequence[str],
) -> MailContent:
    """Compose the mail of a report.

    Args:
        language: The language of the mail.
        length: The length of the period.
        site: The site's name.
        organisation: The name of the site's organisation.
        slot: The period.
        forms: The attached formats.
    """
    words = TEXTS_BY_LANGUAGE[language]
    formats = LocalFormatter(language, ZoneInfo("UTC"))
    place, owner = clean_line(site, _NAME_LIMIT), clean_line(organisation, _NAME_LIMIT)
    period = format_period(slot, formats)
    subject = words.subjects[length].format(site=place, period=period)
    return MailContent(
        subject=truncate_text(subject, SUBJECT_LIMIT),
        tone="info",
        word=words.tag,
        title=place,
        lead=words.lead.format(site=place),
        rows=(
            (words.site, place),
            (words.period, period),
            (words.organisation, owner),
            (words.files, formats.joined([words.forms[form] for form in forms])),
        ),
        footer=(words.footer.format(organisation=owner),),
    )
