"""Formats numbers, dates, lengths and periods for the register, in English and French. Pure: no clock."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date

from app.platform.kernel.spdx_licences import get_licence_title
from app.presentation.translation import BilingualText
from app.public_register.legal_texts import LICENCES_FR, RETENTION_TEXTS, SPANS
from app.public_register.page_texts import WORDS
from app.reports.render.report_formatter import ReportFormatter
from app.reports.report_input import ReportLanguage

_KILOMETRE: Final = 1000
_UTC: Final = ZoneInfo("UTC")
_LOCALES: Final = {"en": "en_GB", "fr": "fr_FR"}


@dataclass(frozen=True, slots=True)
class RegisterFormatter:
    """Formats for a language and a time zone.

    Attributes:
        language: `en` or `fr`.
        zone: The time zone of dates.
    """

    language: ReportLanguage
    zone: ZoneInfo = _UTC

    @property
    def formats(self) -> ReportFormatter:
        """The formatter of reports for the same language and time zone."""
        return ReportFormatter(self.language, self.zone)

    def translate(self, text: BilingualText) -> str:
        """Return a text of the program in the language, with its typography."""
        return self.formats.translate(text)

    def word(self, key: str) -> str:
        """Return a text of `WORDS` in the language."""
        return self.translate(WORDS[key])

    def fill(self, text: BilingualText, **values: str) -> str:
        """Fill the placeholders of a text. The typography of the values is not changed."""
        return self.translate(text).format(**values)

    def number(self, value: float, decimals: int = 0) -> str:
        """Format a number."""
        return self.formats.number(value, decimals)

    def length(self, metres: int) -> str:
        """Format a length in metres or kilometres."""
        if metres < _KILOMETRE:
            return self.word("metre").format(self.number(metres))
        return self.word("kilometre").format(self.number(metres // _KILOMETRE))

    def distance(self, metres: float) -> str:
        """Format a distance (m), rounded to 100 m or more because grid cells hide exact locations."""
        hundreds = max(1, round(metres / 100))
        if hundreds < 10:  # noqa: PLR2004 (a kilometre)
            return self.word("metre").format(self.number(hundreds * 100))
        decimals = 1 if hundreds < 100 and hundreds % 10 else 0  # noqa: PLR2004 (ten kilometres)
        return self.word("kilometre").format(self.number(hundreds / 10, decimals))

    def day(self, moment: datetime | date) -> str:
        """Format a date with its year."""
        local = moment.astimezone(self.zone).date() if isinstance(moment, datetime) else moment
        text = format_date(local, "d MMMM y", locale=_LOCALES[self.language])
        return f"1er{text[1:]}" if self.language == "fr" and local.day == 1 else text

    def clock(self, moment: datetime) -> str:
        """Format a time of day (UTC)."""
        return self._clock(moment.astimezone(UTC))

    def local_clock(self, moment: datetime) -> str:
        """Format a local time of day."""
        return self._clock(moment.astimezone(self.zone))

    def _clock(self, at: datetime) -> str:
        return f"{at:%H:%M}" if self.language == "en" else f"{at.hour}\xa0h\xa0{at:%M}"

    def licence(self, identifier: str) -> str:
        """Format a licence by its name and its SPDX identifier."""
        if self.language == "fr" and identifier in LICENCES_FR:
            return LICENCES_FR[identifier]
        title = get_licence_title(identifier)
        return identifier if title == identifier else f"{title} ({identifier})"

    def days(self, count: int) -> str:
        """Format a number of days."""
        return self.formats.counted(count, RETENTION_TEXTS["day_one"], RETENTION_TEXTS["day_many"])

    def retention(self, days: int | None, *, removes: bool) -> str:
        """Format how long data are stored; None: without limit of time."""
        if days is None:
            return self.translate(RETENTION_TEXTS["ever"])
        return self.translate(RETENTION_TEXTS["removed" if removes else "refused"]).format(self.days(days))

    def span(self, start: datetime | None, end: datetime | None, now: datetime) -> str:
        """Format the period in which a purpose is in force.

        Args:
            start: The start; None: not limited.
            end: The end; None: not limited.
            now: The current time: a past start reads "since", a future one "from".
        """
        if start is not None and end is not None:
            return self.fill(SPANS["both"], start=self.day(start), end=self.day(end))
        if start is not None:
            return self.fill(SPANS["start" if start <= now else "from"], start=self.day(start))
        if end is not None:
            return self.fill(SPANS["end"], end=self.day(end))
        return self.translate(SPANS["open"])

    def joined(self, parts: list[str]) -> str:
        """Join parts of a sentence with commas and "and"."""
        return self.formats.joined(parts)

    def listed(self, parts: list[str]) -> str:
        """Join parts that may contain commas, with semicolons."""
        return ("\u202f; " if self.language == "fr" else "; ").join(parts)
