"""Formats distances, licences, retentions and periods for the register. Pure: no clock."""

from dataclasses import dataclass
from datetime import datetime

from app.presentation.local_formatter import LocalFormatter
from app.public_register.legal_texts import LICENCES_FR, RETENTION_TEXTS, SPANS
from app.public_register.page_texts import WORDS
from app.registry.spdx_licences import get_licence_title


@dataclass(frozen=True, slots=True)
class RegisterFormatter(LocalFormatter):
    """Formats for a language and a time zone, with the texts of the register."""

    def word(self, key: str) -> str:
        """Return a text of `WORDS` in the language."""
        return self.translate(WORDS[key])

    def distance(self, metres: float) -> str:
        """Format a distance (m), rounded to 100 m or more because grid cells hide exact locations."""
        return self.length(100 * max(1, round(metres / 100)))

    def licence(self, identifier: str) -> str:
        """Format a licence by its name and its SPDX identifier."""
        if self.language == "fr" and identifier in LICENCES_FR:
            return LICENCES_FR[identifier]
        title = get_licence_title(identifier)
        return identifier if title == identifier else f"{title} ({identifier})"

    def days(self, count: int) -> str:
        """Format a number of days."""
        return self.counted(count, RETENTION_TEXTS["day_one"], RETENTION_TEXTS["day_many"])

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
