"""What a site may take, against the words of docs/purposes.md written out plainly."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import COLUMNS
from app.catalogue.purposes import PURPOSE_BY_METRIC, PURPOSES, PURPOSES_BY_NAME, SAMPLE_PURPOSES, PurposeName
from app.registry.purpose_policy import (
    NOTHING_DECLARED,
    PurposePolicy,
    SitePurposePolicies,
    describe_purpose_refusal,
)

_TIMES = st.integers(0, 20)
_PERMITS = st.dictionaries(
    st.sampled_from(sorted(PURPOSES_BY_NAME)),
    st.builds(PurposePolicy, st.none() | _TIMES, st.none() | _TIMES, st.booleans()),
)
_VALUES = st.tuples(*(st.sampled_from((None, None, 1.5)) for _ in COLUMNS))


def plain(permits: dict[str, PurposePolicy], purpose: PurposeName, time: int, now: int) -> str | None:
    """The same as `SitePurposePolicies.refusal`, as the documentation puts it."""
    if purpose not in permits:
        return "purpose_not_declared"
    starts, ends, approved = permits[purpose]
    if PURPOSES_BY_NAME[purpose].sensitive and not approved:
        return "purpose_not_approved"
    if ends is not None and now >= ends:
        return "purpose_ended"
    if starts is not None and (now < starts or time < starts):
        return "purpose_not_declared"
    return None


@given(_PERMITS, st.sampled_from([purpose.name for purpose in PURPOSES]), _TIMES, _TIMES)
def test_a_purpose_holds_as_it_was_declared(
    permits: dict[str, PurposePolicy], purpose: PurposeName, time: int, now: int
) -> None:
    code = SitePurposePolicies(permits).refusal(purpose, time, now)
    assert code == plain(permits, purpose, time, now)
    if code is not None:
        assert purpose in describe_purpose_refusal(code, purpose)


@given(_PERMITS, _VALUES, _TIMES, _TIMES)
def test_of_a_sample_what_is_not_permitted_is_taken_out_and_nothing_else(
    permits: dict[str, PurposePolicy], values: tuple[float | None, ...], time: int, now: int
) -> None:
    site = SitePurposePolicies(permits)
    left, refused = site.sift(values, time, now)
    codes = {purpose.name: plain(permits, purpose.name, time, now) for purpose in SAMPLE_PURPOSES}
    expected = [
        None if codes[PURPOSE_BY_METRIC[name]] else value for name, value in zip(COLUMNS, values, strict=True)
    ]
    assert list(left) == expected
    present = {
        PURPOSE_BY_METRIC[name] for name, value in zip(COLUMNS, values, strict=True) if value is not None
    }
    assert dict(refused) == {name: code for name, code in codes.items() if code and name in present}
    # Who goes by this alone is never wrong.
    if now < site.first_refusal_us:
        assert not refused


def test_a_site_that_has_declared_nothing_takes_nothing_and_one_as_it_is_made_all() -> None:
    now = round(datetime(2026, 11, 24, tzinfo=UTC).timestamp() * 1_000_000)
    values = tuple(1.0 for _ in COLUMNS)
    assert set(NOTHING_DECLARED.sift(values, now, now)[0]) == {None}
    usual = SitePurposePolicies(
        {purpose.name: PurposePolicy() for purpose in PURPOSES if not purpose.sensitive}
    )
    assert usual.sift(values, 0, now) == (values, [])
    assert usual.first_refusal_us > now
    assert usual.refusal("acoustic_safety", now, now) == "purpose_not_declared"
