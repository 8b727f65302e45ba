"""Up to when something is too old: midnights of the site's, whatever its clocks do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from app.registry.site_retention import RetentionSettings
from app.timeseries.retention.expiry_cutoffs import (
    EXPIRY_CATEGORIES,
    EXPIRY_EVENT_TYPES,
    NEVER,
    ExpiryLimits,
)

_ZONES = ("Europe/Paris", "America/Toronto", "Asia/Kathmandu", "Pacific/Auckland", "UTC")


@given(st.integers(0, 7 * 366 * 1440), st.integers(1, 800), st.sampled_from(_ZONES))
@settings(max_examples=60)
def test_a_day_has_ended_for_so_long_and_the_next_one_has_not(minutes: int, days: int, timezone: str) -> None:
    now, zone = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes), ZoneInfo(timezone)
    limits = ExpiryLimits.of(RetentionSettings(days), timezone, now)
    (limit,) = set(limits.of_samples) | set(limits.events.values())
    local = limit.astimezone(zone)
    assert (local.hour, local.minute, local.second) == (0, 0, 0)
    assert limit <= now - timedelta(days=days)
    tomorrow = datetime(local.year, local.month, local.day, tzinfo=zone) + timedelta(days=1)
    assert tomorrow.astimezone(UTC) > now - timedelta(days=days)
    # What the door takes now is not removed now.
    assert now - timedelta(days=days) >= limit


def test_what_is_kept_for_ever_has_no_limit() -> None:
    now = datetime(2026, 11, 26, 18, tzinfo=UTC)
    limits = ExpiryLimits.of(RetentionSettings(None, {"noise": 1}, 2), "Asia/Kathmandu", now)
    assert limits.metrics["air_quality"] == limits.events["acoustic_safety"] == limits.of_other_types == NEVER
    assert (
        dict(zip(EXPIRY_EVENT_TYPES, limits.of_types, strict=True))["noise_peak"]
        == limits.events["noise"]
        > NEVER
    )
    assert limits.newest == limits.metrics["noise"] == datetime(2026, 11, 24, 18, 15, tzinfo=UTC)
    # Rows of summaries of hours are days of UTC, those of days the site's.
    assert limits.hourly == datetime(2026, 11, 24, tzinfo=UTC)
    assert limits.daily == datetime(2026, 11, 23, 18, 15, tzinfo=UTC)
    assert len(limits.listed) == len(EXPIRY_CATEGORIES)
