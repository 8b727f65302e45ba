"""How long a site keeps what its boxes measured: its settings, and what follows from them. Pure.

Owns which days hold for a purpose, which settings contradict each other, and how old a sample or an event may
be at the door. Must not know a database or a clock: when a day has ended is for who removes things to say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.catalogue.metrics import COLUMNS
from app.catalogue.purposes import EVENT_PURPOSES, PURPOSE_BY_METRIC, SAMPLE_PURPOSES

DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What a site has set.

    Attributes:
        default_days: how long what has no days of its own is kept; None: for ever.
        purposes: purpose → days; None: for ever, whatever the default is.
        summaries_days: how long summaries of hours and days are kept; None: for ever.
        removes: whether what is older is removed. Otherwise it is refused when it comes, and no more.
    """

    default_days: int | None = None
    purposes: Mapping[str, int | None] = field(default_factory=dict)
    summaries_days: int | None = None
    removes: bool = False

    @classmethod
    def of_columns(
        cls, default_days: int | None, purposes: str, summaries_days: int | None, *, removes: bool = True
    ) -> "RetentionSettings":
        """What columns of `sites` say; `purposes` is the JSON of an object."""
        return cls(default_days, json.loads(purposes), summaries_days, removes)

    def days(self, purpose: str) -> int | None:
        """How long a purpose's samples or events are kept; None: for ever."""
        return self.purposes.get(purpose, self.default_days)

    def event_days(self, purpose: str) -> int | None:
        """How old an event for a purpose may be at the door; None: any age.

        Without days of its own it is refused for its age only where it would be removed again.
        """
        return self.days(purpose) if purpose in self.purposes or self.removes else None

    def event_ages_us(self) -> dict[str, int]:
        """How old events may be at the door (µs), by purpose; what is not there is never too old."""
        days = ((purpose.name, self.event_days(purpose.name)) for purpose in EVENT_PURPOSES)
        return {name: each * DAY_US for name, each in days if each is not None}

    def short_of_samples(self) -> str | None:
        """A purpose whose samples would outlive their summaries; None where there is none."""
        if self.summaries_days is None:
            return None
        for purpose in SAMPLE_PURPOSES:
            days = self.days(purpose.name)
            if days is None or days > self.summaries_days:
                return purpose.name
        return None


@dataclass(frozen=True, slots=True)
class SampleAgeLimits:
    """How old samples may be at a door (µs): as old as the longest of the purposes that they serve.

    Attributes:
        shortest: what is younger is kept, whatever it measures.
        longest: what is older is refused, whatever it measures; None: it depends.
        columns: of each metric, in the order of the catalogue; None: any age.
    """

    shortest: int
    longest: int | None
    columns: tuple[int | None, ...]

    @classmethod
    def of(cls, retention: RetentionSettings) -> "SampleAgeLimits | None":
        """What a site's settings say; None where nothing is too old."""
        days = [retention.days(PURPOSE_BY_METRIC[name]) for name in COLUMNS]
        limited = [each * DAY_US for each in days if each is not None]
        if not limited:
            return None
        columns = tuple(None if each is None else each * DAY_US for each in days)
        return cls(min(limited), None if None in columns else max(limited), columns)

    def exceeded(self, age_us: int, values: Sequence[float | None]) -> int | None:
        """Of a sample that is too old, how old it might have been (µs); None of any other.

        Args:
            age_us: how old it is.
            values: a value or None for each metric, in the order of the catalogue.
        """
        if age_us <= self.shortest:
            return None
        if self.longest is not None and self.longest == self.shortest:
            return self.longest
        longest = 0
        for limit, value in zip(self.columns, values, strict=True):
            if value is not None:
                if limit is None:
                    return None
                longest = max(longest, limit)
        return longest if age_us > longest else None
