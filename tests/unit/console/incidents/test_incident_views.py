"""What pages of incidents are made of."""

import math
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.console.incidents.incident_views import (
    SourceLabels,
    build_incident_map,
    build_list_map,
    compute_period_start,
    list_arrivals,
    outline_ellipse,
)
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NO_VALUE

FRENCH = LocalFormatter("fr", ZoneInfo("Europe/Paris"))
ENGLISH = LocalFormatter("en", ZoneInfo("Europe/Paris"))
PLACE = (1.4449, 43.6047)


def event(box: str, at: str, **more: object) -> dict[str, object]:
    usual = {"role": "round", "round": 1, "verdict": "used", "residual_ms": -0.66}
    return {"box": box, "time": at, "longitude": 1.44, "latitude": 43.6, **usual, **more}


HEARD = [
    event("b", "2026-11-24T22:14:03.501Z"),
    event("a", "2026-11-24T22:14:03.125Z", residual_ms=None, longitude=None, latitude=None),
    event("b", "2026-11-24T22:14:04.000Z", role="echo", round=None),
]


def distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    north = (one[0] - other[0]) * 111_320
    east = (one[1] - other[1]) * 111_320 * math.cos(math.radians(one[0]))
    return math.hypot(north, east)


@pytest.mark.parametrize(("turn", "north", "east"), [(0.0, 1.0, 0.0), (90.0, 0.0, 1.0), (45.0, 0.707, 0.707)])
def test_an_ellipse_has_its_axes_and_direction(turn: float, north: float, east: float) -> None:
    ellipse = {"semi_major_m": 60.0, "semi_minor_m": 20.0, "orientation_deg": turn}
    outline = outline_ellipse(*PLACE, ellipse)
    centre = (PLACE[1], PLACE[0])
    lengths = [distance_m(centre, point) for point in outline]
    assert max(lengths) == pytest.approx(60, abs=0.1)
    assert min(lengths) == pytest.approx(20, abs=0.1)
    tip = outline[0]
    assert (tip[0] - centre[0]) * 111_320 == pytest.approx(60 * north, abs=0.1)
    assert (tip[1] - centre[1]) * 111_320 * math.cos(math.radians(PLACE[1])) == pytest.approx(
        60 * east, abs=0.1
    )


def test_arrivals_are_in_their_order_with_delays_of_their_round() -> None:
    arrivals = list_arrivals(HEARD, FRENCH)
    assert [(each.box, each.clock, each.delay_s) for each in arrivals] == [
        ("a", "23:14:03,125", 0.0),
        ("b", "23:14:03,501", pytest.approx(0.376)),
        ("b", "23:14:04,000", pytest.approx(0.875)),
    ]
    assert [each.residual for each in arrivals] == [
        NO_VALUE,
        "\N{MINUS SIGN}0,7\xa0ms",
        "\N{MINUS SIGN}0,7\xa0ms",
    ]
    assert list_arrivals(HEARD, ENGLISH)[0].clock == "23:14:03.125"


def test_a_map_has_only_what_is_known() -> None:
    nothing: dict[str, Any] = {"geometry": None, "ellipse": None, "alternative": None, "events": []}
    assert build_incident_map(nothing, ENGLISH, {}) == {
        "position": None,
        "areas": [],
        "branch": [],
        "alternative": None,
        "boxes": [],
    }
    branch = {**nothing, "geometry": {"type": "LineString", "coordinates": [[1.0, 43.0], [1.1, 43.1]]}}
    assert build_incident_map(branch, ENGLISH, {})["branch"] == [[43.0, 1.0], [43.1, 1.1]]
    ellipse = {"semi_major_m": 60.0, "semi_minor_m": 20.0, "orientation_deg": 0.0}
    located = {
        "geometry": {"type": "Point", "coordinates": list(PLACE)},
        "ellipse": ellipse,
        "alternative": {"longitude": 1.5, "latitude": 43.7, "ellipse": ellipse},
        "events": HEARD,
    }
    drawn = build_incident_map(located, ENGLISH, {"b": "Quay"})
    assert drawn["position"] == [PLACE[1], PLACE[0]]
    assert drawn["alternative"] == [43.7, 1.5]
    assert len(drawn["areas"]) == 2
    # The box without a place is not on the map.
    assert [(each["box"], each["text"]) for each in drawn["boxes"]] == [("b", "Quay · +376\xa0ms")]


def test_a_box_on_the_map_has_the_delay_of_the_arrival_that_the_position_uses() -> None:
    heard = [
        event("b", "2026-11-24T22:14:03.000Z", role="echo", round=None, verdict=None),
        event("a", "2026-11-24T22:14:03.125Z"),
        event("b", "2026-11-24T22:14:03.325Z", verdict="late"),
        event("a", "2026-11-24T22:14:05.000Z", round=2, verdict=None),
        event("b", "2026-11-24T22:14:03.501Z"),
    ]
    incident: dict[str, Any] = {"geometry": None, "ellipse": None, "alternative": None, "events": heard}
    drawn = build_incident_map(incident, ENGLISH, {})["boxes"]
    assert [each["text"] for each in drawn] == ["a · +0\xa0ms", "b · +376\xa0ms"]
    assert [(each.role, each.round) for each in list_arrivals(heard, ENGLISH)][-2:] == [
        ("round", 2),
        ("echo", None),
    ]


def test_a_list_shows_those_with_a_position() -> None:
    point = {"type": "Point", "coordinates": list(PLACE)}
    rows: list[dict[str, Any]] = [
        {"id": "1", "state": "open", "geometry": point},
        {"id": "2", "state": "open", "geometry": None},
    ]
    (mark,) = build_list_map(rows, {"1": "Pistol", "2": ""}, "/city")
    assert mark == {
        "id": "1",
        "at": [PLACE[1], PLACE[0]],
        "look": "warning",
        "name": "Pistol",
        "href": "/city/console/incidents/1",
    }


def test_a_period_starts_at_midnight() -> None:
    now = datetime(2026, 11, 29, 11, 30, tzinfo=UTC)
    assert compute_period_start("week", now) == "2026-11-22T00:00:00+00:00"
    assert compute_period_start("", now) is None
    assert compute_period_start("century", now) is None


def test_sources_have_names_in_both_languages_and_unknown_ones_their_own() -> None:
    label = {"class_label": "Pistol", "class_label_fr": "Pistolet", "hint": None, "hint_fr": None}
    firearm = {
        "id": "glock-17",
        "kind": "firearm",
        "name": "Glock 17",
        "name_fr": "Glock 17",
        "class": "pistol",
        **label,
    }
    look_alike = {
        "id": "nail_gun",
        "kind": "look_alike",
        "name": "Nail gun",
        "name_fr": "Cloueur",
        "class": "nail_gun",
        "class_label": "Nail gun",
        "class_label_fr": "Cloueur",
        "hint": "It repeats",
        "hint_fr": "Il se répète",
    }
    labels = SourceLabels.of([firearm, look_alike], "fr")
    assert labels.name("pistol") == "Pistolet"
    assert labels.name("ray_gun") == "ray gun"
    assert labels.firearm_classes == ["pistol"]
    assert labels.look_alikes == {"nail_gun": "Il se répète"}
