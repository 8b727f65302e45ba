from typing import Any

from app.console.sites import site_view


def test_boxes_are_counted_by_site_and_state() -> None:
    box_map = {
        "states": ["active", "refused", "silent", "never_heard", "alert_info", "alert_warning"],
        "sites": [{"id": "s"}, {"id": "empty"}, {"id": "t"}],
        "site": [0, 0, 2, 0],
        "state": [0, 2, 3, 5],
    }
    counts = site_view.count_boxes_by_site(box_map)
    assert {site: (each.boxes, each.quiet) for site, each in counts.items()} == {
        "s": (3, 1),
        "empty": (0, 0),
        "t": (1, 1),
    }
    assert site_view.count_boxes_by_site(None) == {}


def test_firing_alerts_are_found_by_site() -> None:
    overview = {"sites": [{"site_id": "s", "firing": {"critical": 0, "warning": 2, "info": 1}}]}
    assert site_view.find_firing_by_site(overview) == {"s": {"warning": 2, "info": 1}}
    assert site_view.find_firing_by_site(None) == {}


def result(box: str, value: float | None, coverage: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (fields)
    return {
        "method": "who-24h",
        "metric": "pm2_5",
        "box": box,
        "value": value,
        "unit": "µg/m³",
        "band": None,
        "coverage": coverage,
        "exceeded": None,
        "limit": None,
        "period": {"end": "2026-11-24T10:00:00Z"},
        "reason": None if value is not None else "coverage_too_low",
        "title": "WHO",
        "title_fr": "OMS",
        "citation": {"text": "WHO (2021)"},
        **more,
    }


def test_an_index_is_that_of_the_worst_box() -> None:
    indices = {
        "worst": [{"method": "who-24h", "metric": "pm2_5", "box": "b"}],
        "data": [
            result("a", None, 12),
            result("b", 18.2, 96, band={"label": "Fair", "label_fr": "Correct", "colour": "#50CCAA"}),
            result("c", 11.0, 99),
            result("a", None, 5, method="odour", metric=None),
            result("b", None, 40, method="odour", metric=None),
        ],
    }
    best, odour = site_view.list_index_badges(indices, "fr")
    assert (best.box, best.band, best.colour, best.title, best.symbol) == (
        "b",
        "Correct",
        "#50CCAA",
        "OMS",
        "PM2,5",
    )
    assert (odour.box, odour.reason, odour.coverage) == ("b", "too few values", 40)
    assert site_view.list_index_badges(None, "en") == []


def test_latest_values_are_in_the_order_of_the_catalogue() -> None:
    latest = {"values": {"laeq": 60.5, "pm2_5": 12}, "times": {"laeq": "t1", "pm2_5": "t2"}}
    found = site_view.list_latest_values(latest, "en")
    assert [(each.metric, each.symbol, each.time) for each in found] == [
        ("pm2_5", "PM2.5", "t2"),
        ("laeq", "LAeq", "t1"),
    ]
    assert site_view.list_latest_values(None, "en") == []


def test_purposes_that_need_something_come_first() -> None:
    states = ("ended", "active", "not_declared", "awaiting_approval")
    found = site_view.sort_purposes({"state": each} for each in states)
    assert [each["state"] for each in found] == ["awaiting_approval", "active", "ended"]
