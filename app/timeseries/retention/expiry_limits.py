"""Up to when what a site has measured is too old. Pure: `now` is an argument.

Only whole days of the site's time zone go: a sample is removed when the local day in which it lies has ended
more than so many days ago. So the summary of a day never sees a half of it, and what the door takes, which
counts from the sample itself, is never removed at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.catalogue.purposes import EVENT_PURPOSES, PURPOSE_BY_EVENT_TYPE, SAMPLE_PURPOSES
from app.registry.retention_settings import RetentionSettings
from app.timeseries.rollups.rollup_queries import find_local_midnight

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The limit of what is kept for ever: nothing was measured before it."""
SUMMARIES: Final = "summaries"
"""How roll-ups are called where purposes are listed."""
_EVENTS_ALONE: Final = tuple(purpose.name for purpose in EVENT_PURPOSES if not purpose.metrics)
EXPIRY_CATEGORIES: Final = (*(purpose.name for purpose in SAMPLE_PURPOSES), *_EVENTS_ALONE, SUMMARIES)
"""All that has a limit, in the order of `ExpiryLimits.listed`."""
EXPIRY_EVENT_TYPES: Final = tuple(PURPOSE_BY_EVENT_TYPE)
"""All types of events, in the order of `ExpiryLimits.of_types`."""


@dataclass(frozen=True, slots=True)
class ExpiryLimits:
    """What lies before is too old.

    Attributes:
        metrics: of samples, for each purpose that has metrics; a local midnight, or NEVER.
        events: of events, for each purpose that has some.
        daily: of summaries of days: they begin at local midnights.
        hourly: of rows of summaries of hours, each of which is a whole day of UTC.
    """

    metrics: Mapping[str, datetime]
    events: Mapping[str, datetime]
    daily: datetime
    hourly: datetime

    @classmethod
    def of(cls, retention: RetentionSettings, timezone: str, now: datetime) -> "ExpiryLimits":
        """The limits at a moment, as if the site removed what is too old."""
        zone = ZoneInfo(timezone)

        def limit(days: int | None, of: ZoneInfo = zone) -> datetime:
            return NEVER if days is None else find_local_midnight(now - timedelta(days=days), of, up=False)

        return cls(
            {purpose.name: limit(retention.days(purpose.name)) for purpose in SAMPLE_PURPOSES},
            {purpose.name: limit(retention.days(purpose.name)) for purpose in EVENT_PURPOSES},
            limit(retention.summaries_days),
            limit(retention.summaries_days, ZoneInfo("UTC")),
        )

    @property
    def of_samples(self) -> list[datetime]:
        """Those of samples, in the order of the purposes that have metrics."""
        return list(self.metrics.values())

    @property
    def listed(self) -> list[datetime]:
        """All of them, in the order of SPANS."""
        return [*self.of_samples, *(self.events[name] for name in _EVENTS_ALONE), self.daily]

    @property
    def of_types(self) -> list[datetime]:
        """Those of events, in the order of TYPES."""
        return [self.events[purpose] for purpose in PURPOSE_BY_EVENT_TYPE.values()]

    @property
    def of_other_types(self) -> datetime:
        """That of events whose type no catalogue has: they were taken before there was one."""
        return self.events["acoustic_safety"]

    @property
    def newest(self) -> datetime:
        """Before this samples may have values that are too old."""
        return max(self.of_samples)
