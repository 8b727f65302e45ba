from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.settings import WebhookSettings
from app.webhooks.schedule import next_due

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SCHEDULE = WebhookSettings.model_fields["schedule_s"].get_default(call_default_factory=True)


@pytest.mark.parametrize(("count", "seconds"), [(0, 0), (1, 5), (2, 300), (9, 86_400)])
def test_each_wait_is_the_schedules(count: int, seconds: float) -> None:
    assert next_due(SCHEDULE, count, NOW, 0.0, lambda: 0.5) == NOW + timedelta(seconds=seconds)


def test_used_up_means_given_up() -> None:
    assert next_due(SCHEDULE, len(SCHEDULE), NOW, 0.1, lambda: 0.0) is None
    assert next_due(SCHEDULE, len(SCHEDULE) + 5, NOW, 0.1, lambda: 0.0) is None
    assert next_due([], 0, NOW, 0.1, lambda: 0.0) is None


@given(
    count=st.integers(0, 9),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_jitter_stretches_and_never_shortens(count: int, jitter: float, chance: float) -> None:
    due = next_due(SCHEDULE, count, NOW, jitter, lambda: chance)
    assert due is not None
    wait = (due - NOW).total_seconds()
    assert SCHEDULE[count] <= wait + 1e-6
    assert wait <= SCHEDULE[count] * (1 + jitter) + 1e-6
