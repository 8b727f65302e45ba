"""Computes how many days a site keeps data by purpose, and how old new samples may be. Pure.

`app.timeseries.retention` decides when a day is over and removes data.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.catalogue.metrics import COLUMNS
from app.catalogue.purposes import EVENT_PURPOSES, PURPOSE_BY_METRIC, SAMPLE_PURPOSES
from app.platform.kernel.instants import DAY_US


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """The retention settings of a site.

    Attributes:
        default_days: The retention of purposes without an entry, in days; None: for ever.
        purposes: The retention in days by purpose; None: for ever, whatever the default is.
        summaries_days: The retention of hourly and daily summaries, in days; None: for ever.
        removes: Whether older data are removed. Otherwise older data are only refused on arrival.
    """

    default_days: int | None = None
    purposes: Mapping[str, int | None] = field(default_factory=dict)
    summaries_days: int | None = None
    removes: bool = False

    @classmethod
    def of_columns(
        cls, default_days: int | None, purposes: str, summaries_days: int | None, *, removes: bool = True
    ) -> "RetentionSettings":
        """Build the settings from columns of `sites`.

        Args:
            default_days: `retention_days`.
            purposes: `retention_purposes` as JSON text.
            summaries_days: `summaries_days`.
            removes: `retention_removes`.
        """
        return cls(default_days, json.loads(purposes), summaries_days, removes)

    def days(self, purpose: str) -> int | None:
        """Get the retention of a purpose's samples or events, in days; None: for ever."""
        return self.purposes.get(purpose, self.default_days)

    def event_days(self, purpose: str) -> int | None:
        """Get the largest age of a new event of a purpose, in days; None: any age.

        A purpose without an entry has a limit only if the site removes older data.
        """
        return self.days(purpose) if purpose in self.purposes or self.removes else None

    def event_ages_us(self) -> dict[str, int]:
        """Get the largest ages of new events (µs) by purpose. Purposes without a limit are left out."""
        days = ((purpose.name, self.event_days(purpose.name)) for purpose in EVENT_PURPOSES)
        return {name: each * DAY_US for name, each in days if each is not None}

    def short_of_samples(self) -> str | None:
        """Find a purpose with samples that would outlive their summaries; None if there is none."""
        if self.summaries_days is None:
            return None
        for purpose in SAMPLE_PURPOSES:
            days = self.days(purpose.name)
            if days is None or days > self.summaries_days:
                return purpose.name
        return None


@dataclass(frozen=True, slots=True)
class SampleAgeLimits:
    """The largest ages of new samples (µs). A sample may be as old as the longest limit of its metrics.

    Attributes:
        shortest: The smallest limit: younger samples are always accepted.
        longest: The largest limit: older samples are always refused; None: some metrics have no limit.
        columns: The limit of each metric, in the order of the catalogue; None: any age.
    """

    shortest: int
    longest: int | None
    columns: tuple[int | None, ...]

    @classmethod
    def of(cls, retention: RetentionSettings) -> "SampleAgeLimits | None":
        """Compute the limits of a site; None if no metric has a limit."""
        days = [retention.days(PURPOSE_BY_METRIC[name]) for name in COLUMNS]
        limited = [each * DAY_US for each in days if each is not None]
        if not limited:
            return None
        columns = tuple(None if each is None else each * DAY_US for each in days)
        return cls(min(limited), None if None in columns else max(limited), columns)

    def exceeded(self, age_us: int, values: Sequence[float | None]) -> int | None:
        """Return the limit (µs) that a sample exceeds; None if it is accepted.

        Args:
            age_us: The age of the sample (µs).
            values: A value or None for each metric, in the order of the catalogue.
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
