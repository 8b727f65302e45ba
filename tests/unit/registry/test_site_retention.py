"""What settings of retention say: days of purposes, contradictions, and ages at the door."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalogue.metrics import COLUMNS, INDEX
from app.catalogue.purposes import PURPOSE_BY_METRIC, PURPOSES_BY_NAME, SAMPLE_PURPOSES
from app.platform.kernel.instants import DAY_US
from app.registry.site_retention import RetentionSettings, SampleAgeLimits

_DAYS = st.none() | st.integers(1, 400)
_RETENTION = st.builds(
    RetentionSettings, _DAYS, st.dictionaries(st.sampled_from(sorted(PURPOSES_BY_NAME)), _DAYS)
)


def row(*names: str) -> list[float | None]:
    values: list[float | None] = [None] * len(COLUMNS)
    for name in names:
        values[INDEX[name]] = 1.0
    return values


def test_the_default_holds_where_nothing_else_is_said() -> None:
    retention = RetentionSettings(365, {"noise": 30, "odour": None})
    assert [retention.days(name) for name in ("noise", "odour", "air_quality")] == [30, None, 365]


def test_without_purposes_ages_are_as_they_were() -> None:
    ages = SampleAgeLimits.of(RetentionSettings(2))
    assert ages is not None
    assert ages.exceeded(2 * DAY_US, row("laeq")) is None
    assert ages.exceeded(2 * DAY_US + 1, row("laeq")) == 2 * DAY_US
    assert SampleAgeLimits.of(RetentionSettings()) is None
    assert SampleAgeLimits.of(RetentionSettings(None, {"acoustic_safety": 3})) is None


@given(_RETENTION, st.sets(st.sampled_from(COLUMNS), min_size=1, max_size=4), st.integers(0, 401 * DAY_US))
@settings(max_examples=60)
def test_a_sample_may_be_as_old_as_the_longest_of_its_purposes(
    retention: RetentionSettings, names: set[str], age_us: int
) -> None:
    days = [retention.days(PURPOSE_BY_METRIC[name]) for name in names]
    longest = None if None in days else max(each for each in days if each is not None) * DAY_US
    ages = SampleAgeLimits.of(retention)
    found = None if ages is None else ages.exceeded(age_us, row(*names))
    assert found == (longest if longest is not None and age_us > longest else None)


def test_events_are_refused_for_their_age_where_they_would_be_removed_again() -> None:
    assert RetentionSettings(5).event_days("acoustic_safety") is None
    assert RetentionSettings(5, removes=True).event_days("acoustic_safety") == 5
    assert RetentionSettings(5, {"acoustic_safety": 3}).event_days("acoustic_safety") == 3
    assert RetentionSettings(5, {"acoustic_safety": None}, removes=True).event_days("acoustic_safety") is None


def test_summaries_may_not_go_before_what_they_sum_up() -> None:
    assert RetentionSettings(30, {}, 30).short_of_samples() is None
    assert RetentionSettings(30, {"acoustic_safety": None}, 30).short_of_samples() is None
    assert RetentionSettings(31, {}, 30).short_of_samples() == SAMPLE_PURPOSES[0].name
    assert RetentionSettings(None, {}, 30).short_of_samples() == SAMPLE_PURPOSES[0].name
    assert RetentionSettings(30, {"odour": 31}, 30).short_of_samples() == "odour"
