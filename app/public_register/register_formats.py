"""How the register writes numbers, dates, lengths and spans of time in each language. Pure: no clock."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_date

from app.indicators.index_results import BilingualText
from app.platform.kernel.spdx_licences import get_licence_title
from app.public_register.legal_texts import KEPT, LICENCES_FR, SPANS
from app.public_register.page_texts import WORDS
from app.reports.render.number_formats import ReportFormatter, typeset_text
from app.reports.report_input import ReportLanguage

_KILOMETRE: Final = 1000
_UTC: Final = ZoneInfo("UTC")
_LOCALES: Final = {"en": "en_GB", "fr": "fr_FR"}


@dataclass(frozen=True, slots=True)
class RegisterFormatter:
    """A language, and the clocks of a place.

    Attributes:
        language: `en` or `fr`.
        zone: whose days are meant.
    """

    language: ReportLanguage
    zone: ZoneInfo = _UTC

    @property
    def formats(self) -> ReportFormatter:
        """The formats of reports, which are the same."""
        return ReportFormatter(self.language, self.zone)

    def said(self, text: BilingualText) -> str:
        """A text of ours, with its language's typography."""
        return typeset_text(text.fr if self.language == "fr" else text.en, self.language)

    def word(self, key: str) -> str:
        """One of `WORDS`."""
        return self.said(WORDS[key])

    def filled(self, text: BilingualText, **values: str) -> str:
        """A text of ours with what is told in it; what others wrote keeps its own typography."""
        return self.said(text).format(**values)

    def number(self, value: float, decimals: int = 0) -> str:
        """A number."""
        return self.formats.number(value, decimals)

    def length(self, metres: int) -> str:
        """A length in metres or kilometres."""
        if metres < _KILOMETRE:
            return self.word("metre").format(self.number(metres))
        return self.word("kilometre").format(self.number(metres // _KILOMETRE))

    def distance(self, metres: float) -> str:
        """A distance that a grid's cells leave uncertain: in hundreds of metres, or kilometres."""
        hundreds = max(1, round(metres / 100))
        if hundreds < 10:  # noqa: PLR2004 (a kilometre)
            return self.word("metre").format(self.number(hundreds * 100))
        decimals = 1 if hundreds < 100 and hundreds % 10 else 0  # noqa: PLR2004 (ten kilometres)
        return self.word("kilometre").format(self.number(hundreds / 10, decimals))

    def day(self, moment: datetime | date) -> str:
        """A date with its year."""
        local = moment.astimezone(self.zone).date() if isinstance(moment, datetime) else moment
        text = format_date(local, "d MMMM y", locale=_LOCALES[self.language])
        return f"1er{text[1:]}" if self.language == "fr" and local.day == 1 else text

    def clock(self, moment: datetime) -> str:
        """A time of a day (UTC)."""
        return self._clock(moment.astimezone(UTC))

    def clock_there(self, moment: datetime) -> str:
        """A time of a day by the clocks of the place."""
        return self._clock(moment.astimezone(self.zone))

    def _clock(self, at: datetime) -> str:
        return f"{at:%H:%M}" if self.language == "en" else f"{at.hour}\xa0h\xa0{at:%M}"

    def licence(self, identifier: str) -> str:
        """A licence by its name and its identifier."""
        if self.language == "fr" and identifier in LICENCES_FR:
            return LICENCES_FR[identifier]
        title = get_licence_title(identifier)
        return identifier if title == identifier else f"{title} ({identifier})"

    def days(self, count: int) -> str:
        """A number of days."""
        return self.formats.counted(count, KEPT["day_one"], KEPT["day_many"])

    def kept(self, days: int | None, *, removes: bool) -> str:
        """How long something is kept."""
        if days is None:
            return self.said(KEPT["ever"])
        return self.said(KEPT["removed" if removes else "refused"]).format(self.days(days))

    def span(self, start: datetime | None, end: datetime | None, now: datetime) -> str:
        """From when to when a purpose holds."""
        if start is not None and end is not None:
            return self.filled(SPANS["both"], start=self.day(start), end=self.day(end))
        if start is not None:
            return self.filled(SPANS["start" if start <= now else "from"], start=self.day(start))
        if end is not None:
            return self.filled(SPANS["end"], end=self.day(end))
        return self.said(SPANS["open"])

    def joined(self, parts: list[str]) -> str:
        """Parts of a sentence, one behind the other."""
        return self.formats.joined(parts)

    def listed(self, parts: list[str]) -> str:
        """Parts that have commas of their own."""
        return ("\u202f; " if self.language == "fr" else "; ").join(parts)
