"""What of a change of a grant applies at once, and what waits for the recipient."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.grants.grant_changes import (
    CONTENT_FIELDS,
    decode_values,
    divide_change,
    encode_values,
    hash_terms,
)

_EARLY, _MIDDLE, _LATE = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6, 12))
_ONE, _TWO = UUID(int=1), UUID(int=2)
_CURRENT: dict[str, Any] = {
    "purpose": "Research",
    "site_ids": [_ONE],
    "metrics": ["pm2_5", "no2"],
    "covers_from": _MIDDLE,
    "covers_until": None,
    "precision_m": 100,
    "terms": "Version 3",
    "valid_until": _MIDDLE,
}


@pytest.mark.parametrize(
    ("change", "now", "offered"),
    [
        ({"metrics": ["pm2_5"]}, {"metrics": ["pm2_5"]}, {}),
        ({"metrics": ["pm2_5", "no2", "o3"]}, {}, {"metrics": ["pm2_5", "no2", "o3"]}),
        ({"metrics": ["no2", "o3"]}, {"metrics": ["no2"]}, {"metrics": ["no2", "o3"]}),
        ({"site_ids": [_TWO]}, {"site_ids": []}, {"site_ids": [_TWO]}),
        ({"covers_from": _LATE}, {"covers_from": _LATE}, {}),
        ({"covers_from": _EARLY}, {}, {"covers_from": _EARLY}),
        ({"covers_from": None}, {}, {"covers_from": None}),
        ({"covers_until": _LATE}, {"covers_until": _LATE}, {}),
        ({"precision_m": 1000}, {"precision_m": 1000}, {}),
        ({"precision_m": 10}, {}, {"precision_m": 10}),
        ({"precision_m": None}, {}, {"precision_m": None}),
        ({"valid_until": _EARLY}, {"valid_until": _EARLY}, {}),
        ({"valid_until": _LATE}, {}, {"valid_until": _LATE}),
        ({"terms": "Version 4"}, {}, {"terms": "Version 4"}),
        ({"purpose": "Advertising"}, {}, {"purpose": "Advertising"}),
        (dict(_CURRENT), {}, {}),
    ],
)
def test_a_change_is_divided(change: dict[str, Any], now: dict[str, Any], offered: dict[str, Any]) -> None:
    divided = divide_change(_CURRENT, change)
    assert divided.now == now
    assert divided.offered == offered


_times = st.sampled_from([None, _EARLY, _MIDDLE, _LATE])
_content = st.fixed_dictionaries(
    {
        "purpose": st.sampled_from(["a", "b"]),
        "site_ids": st.sets(st.sampled_from([_ONE, _TWO])).map(sorted),
        "metrics": st.sets(st.sampled_from(["pm2_5", "no2", "o3"])).map(sorted),
        "covers_from": _times,
        "covers_until": _times,
        "precision_m": st.sampled_from([None, 10, 1000]),
        "terms": st.sampled_from(["a", "b"]),
        "valid_until": st.sampled_from([_EARLY, _MIDDLE, _LATE]),
    }
)


@given(_content, _content)
def test_what_applies_at_once_never_widens(current: dict[str, Any], change: dict[str, Any]) -> None:
    after = current | divide_change(current, change).now
    assert set(after["site_ids"]) <= set(current["site_ids"])
    assert set(after["metrics"]) <= set(current["metrics"])
    assert after["covers_from"] == current["covers_from"] or (
        after["covers_from"] is not None
        and (current["covers_from"] is None or after["covers_from"] > current["covers_from"])
    )
    assert after["covers_until"] == current["covers_until"] or (
        after["covers_until"] is not None
        and (current["covers_until"] is None or after["covers_until"] < current["covers_until"])
    )
    assert (after["precision_m"] or 0) >= (current["precision_m"] or 0)
    assert after["valid_until"] <= current["valid_until"]
    assert (after["terms"], after["purpose"]) == (current["terms"], current["purpose"])
    # What is accepted afterwards is what was wanted.
    assert after | divide_change(current, change).offered == change


@given(_content)
def test_values_survive_storage_as_json(content: dict[str, Any]) -> None:
    assert decode_values(encode_values(content)) == content
    assert set(content) == set(CONTENT_FIELDS)


def test_terms_have_a_stable_hash() -> None:
    assert hash_terms("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"
