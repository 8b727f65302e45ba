"""What of an incident is told, and what goes with the catalogue of sources."""

from app.acoustics.classification_pooling import GUNSHOT_CLASSES
from app.catalogue.gunshot_sources import CATALOGUE
from app.sound_incidents.incident_values import find_changes, summarise_incident
from app.sound_incidents.review_service import CONFIRMING_OUTCOMES, DISMISSING_OUTCOMES, SYSTEM_OUTCOMES

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
    before = summarise_incident(ROW)
    assert (
        find_changes(before, summarise_incident({**ROW, "latitude": 43.60475, "probability": 0.85}), 10.0)
        == []
    )
    assert find_changes(before, summarise_incident({**ROW, "latitude": 43.6049}), 10.0) == ["position"]
    burst = summarise_incident({**ROW, "probability": 0.7, "rounds": 2})
    assert find_changes(before, burst, 10.0) == ["rounds", "probability"]
    lost = {**ROW, "evidence": "branch", "verified": False, "longitude": None, "latitude": None}
    assert find_changes(before, summarise_incident(lost), 10.0) == ["evidence", "verified"]
    assert find_changes(None, before, 10.0) == ["erased"]


def test_every_class_of_firearms_counts_as_a_gunshot() -> None:
    assert {firearm.class_ for firearm in CATALOGUE.firearms} <= GUNSHOT_CLASSES


def test_a_finding_goes_with_one_side_alone() -> None:
    assert not CONFIRMING_OUTCOMES & DISMISSING_OUTCOMES
    assert not set(SYSTEM_OUTCOMES) & (CONFIRMING_OUTCOMES | DISMISSING_OUTCOMES)
    assert {"glock-17", "pistol", "gunshot", "explosion"} <= CONFIRMING_OUTCOMES
    assert {"firework", "vehicle_backfire", "not_gunshot", "undetermined"} <= DISMISSING_OUTCOMES
