"""What of an incident is told, and what goes with the catalogue of sources."""

from app.acoustics.class_pooling import GUNS
from app.catalogue.acoustic_sources import CATALOGUE
from app.incidents.incident_versions import changed, summary
from app.incidents.review_outcomes import BY_SYSTEM, CONFIRMING, DISMISSING

ROW = {
    "evidence": "position",
    "verified": True,
    "longitude": 1.4442,
    "latitude": 43.6047,
    "classes": [{"class": "pistol", "probability": 0.9}],
    "probability": 0.9,
    "rounds": 1,
}


def test_what_does_not_matter_is_not_told() -> None:
    before = summary(ROW)
    assert changed(before, summary({**ROW, "latitude": 43.60475, "probability": 0.85}), 10.0) == []
    assert changed(before, summary({**ROW, "latitude": 43.6049}), 10.0) == ["position"]
    burst = summary({**ROW, "probability": 0.7, "rounds": 2})
    assert changed(before, burst, 10.0) == ["rounds", "probability"]
    lost = {**ROW, "evidence": "branch", "verified": False, "longitude": None, "latitude": None}
    assert changed(before, summary(lost), 10.0) == ["evidence", "verified"]
    assert changed(None, before, 10.0) == ["erased"]


def test_every_class_of_firearms_counts_as_a_gunshot() -> None:
    assert {firearm.class_ for firearm in CATALOGUE.firearms} <= GUNS


def test_a_finding_goes_with_one_side_alone() -> None:
    assert not CONFIRMING & DISMISSING
    assert not set(BY_SYSTEM) & (CONFIRMING | DISMISSING)
    assert {"glock-17", "pistol", "gunshot", "explosion"} <= CONFIRMING
    assert {"firework", "vehicle_backfire", "not_gunshot", "undetermined"} <= DISMISSING
