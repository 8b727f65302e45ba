"""Computes the age limits of a site's data from its retention settings. Pure: `now` is an argument.

Only whole local days expire: a sample is removed when its local day ended more than the retention ago. So the
roll-up of a day never lacks half of it. Ingest counts from the sample's own time, so that no accepted sample
is removed immediately.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.catalogue.purposes import EVENT_PURPOSES, PURPOSE_BY_EVENT_TYPE, SAMPLE_PURPOSES
from app.registry.site_retention import RetentionSettings
from app.timeseries.rollups.rollup_queries import find_local_midnight

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The limit of data that are retained for ever: no sample is older."""
SUMMARIES: Final = "summaries"
"""The name of roll-ups in lists of purposes."""
_EVENTS_ALONE: Final = tuple(purpose.name for purpose in EVENT_PURPOSES if not purpose.metrics)
EXPIRY_CATEGORIES: Final = (*(purpose.name for purpose in SAMPLE_PURPOSES), *_EVENTS_ALONE, SUMMARIES)
"""All categories that have a limit, in the order of `ExpiryLimits.listed`."""
EXPIRY_EVENT_TYPES: Final = tuple(PURPOSE_BY_EVENT_TYPE)
"""All event types, in the order of `ExpiryLimits.of_types`."""


@dataclass(frozen=True, slots=True)
class ExpiryLimits:
    """The limits; older data have expired.

    Attributes:
        metrics: for samples, by purpose; a local midnight, or NEVER.
        events: for events, by purpose.
        daily: for roll-ups of days: they begin at local midnights.
        hourly: for rows of hourly roll-ups, each of which is a whole day of UTC.
    """

    metrics: Mapping[str, datetime]
    events: Mapping[str, datetime]
    daily: datetime
    hourly: datetime

    @classmethod
    def of(cls, retention: RetentionSettings, timezone: str, now: datetime) -> "ExpiryLimits":
        """Compute the limits at a time, whether the site removes expired data or not."""
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
        """The limits of samples, in the order of the purposes that have metrics."""
        return list(self.metrics.values())

    @property
    def listed(self) -> list[datetime]:
        """All limits, in the order of EXPIRY_CATEGORIES."""
        return [*self.of_samples, *(self.events[name] for name in _EVENTS_ALONE), self.daily]

    @property
    def of_types(self) -> list[datetime]:
        """The limits of events, in the order of EXPIRY_EVENT_TYPES."""
        return [self.events[purpose] for purpose in PURPOSE_BY_EVENT_TYPE.values()]

    @property
    def of_other_types(self) -> datetime:
        """The limit of events whose type is not in the catalogue: they were accepted before it existed."""
        return self.events["acoustic_safety"]

    @property
    def newest(self) -> datetime:
        """Samples at or after this have no expired values."""
        return max(self.of_samples)
