from typing import Any

from app.console.now.current_problems import arrange_problems


def alert(number: int, incident: str | None = None, severity: str = "critical") -> dict[str, Any]:
    return {
        "id": f"alert-{number}",
        "incident_id": incident,
        "severity": severity,
        "state": "firing",
        "box": f"box-{number}",
    }


def overview(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of an overview)
    return {
        "firing": {"total": 0},
        "open_incidents": None,
        "sites": [],
        "silent_boxes": None,
        "refused_boxes": None,
        "endpoints": None,
        **changes,
    }


def test_a_caller_with_few_rights_sees_that_nothing_is_wrong() -> None:
    assert arrange_problems(overview(), [], most_incidents=6).is_empty


def test_alerts_of_an_incident_to_review_stand_with_it() -> None:
    listed = [{"id": each, "probability": 0.1} for each in ("shot", "bang", "older")]
    waiting = {"total": 9, "listed": listed}
    firing = [alert(1, "shot"), alert(2, "reviewed"), alert(3, "shot"), alert(4, "reviewed"), alert(5)]
    found = arrange_problems(overview(open_incidents=waiting, firing={"total": 8}), firing, most_incidents=2)
    assert [(each.incident["id"], len(each.alerts), each.severity) for each in found.incidents] == [
        ("shot", 2, "critical"),
        ("bang", 0, "warning"),
    ]
    assert [(group.incident, group.ids) for group in found.alerts] == [
        ("reviewed", "alert-2,alert-4"),
        ("", "alert-5"),
    ]
    assert (found.more_incidents, found.more_alerts) == (7, 3)


def test_a_probable_shot_is_critical_until_a_person_decides_and_stands_first() -> None:
    listed = [
        {"id": "bang", "probability": 0.49, "class": "firework"},
        {"id": "shot", "probability": 0.5, "class": "rifle"},
        {"id": "blast", "probability": 0.9, "class": None},
    ]
    waiting = {"total": 3, "listed": listed}
    found = arrange_problems(overview(open_incidents=waiting), [], most_incidents=2)
    assert [(each.incident["id"], each.severity, each.is_weapon) for each in found.incidents] == [
        ("shot", "critical", True),
        ("blast", "critical", False),
    ]
    assert found.has_probable_shot
    harmless = {"total": 1, "listed": listed[:1]}
    found = arrange_problems(overview(open_incidents=harmless), [], most_incidents=2)
    assert [each.severity for each in found.incidents] == ["warning"]
    assert not found.has_probable_shot


def test_boxes_that_never_sent_have_a_row_of_their_own() -> None:
    def box(name: str, site: str, heard: str | None) -> dict[str, Any]:
        return {"box": name, "box_name": None, "site_id": site, "last_heard_at": heard}

    sites = [
        {"site_id": "quay", "site_name": "Quay", "silent_boxes": 4, "refused_boxes": 0},
        {"site_id": "park", "site_name": "Park", "silent_boxes": 2, "refused_boxes": 0},
    ]
    listed = [
        box("q-1", "quay", "2026-11-29T11:00Z"),
        box("p-1", "park", "2026-11-29T10:00Z"),
        box("q-2", "quay", None),
    ]
    given = overview(sites=sites, silent_boxes={"listed": listed})
    rows = arrange_problems(given, [], most_incidents=1).boxes
    # What is not listed comes after what is: it never sent either.
    assert [(row.site_id, row.activity, row.total, list(row.names), row.more) for row in rows] == [
        ("quay", "silent", 1, ["q-1"], 0),
        ("quay", "never_heard", 3, ["q-2"], 2),
        ("park", "silent", 1, ["p-1"], 0),
        ("park", "never_heard", 1, [], 1),
    ]


def test_silent_boxes_are_listed_by_site_with_their_exact_number() -> None:
    boxes = [
        {
            "box": f"b-{number}",
            "box_name": None,
            "site_id": "quay",
            "last_heard_at": f"2026-11-29T1{number}:00Z",
        }
        for number in range(4)
    ]
    sites = [
        {"site_id": "quay", "site_name": "Quay", "silent_boxes": 30, "refused_boxes": 0},
        {"site_id": "park", "site_name": "Park", "silent_boxes": 0, "refused_boxes": 1},
    ]
    found = arrange_problems(
        overview(sites=sites, silent_boxes={"listed": boxes}, refused_boxes={"listed": []}),
        [],
        most_incidents=6,
    )
    quay, park = found.boxes
    assert (quay.total, quay.names, quay.more, quay.last_heard_at) == (
        30,
        ["b-0", "b-1", "b-2"],
        27,
        "2026-11-29T13:00Z",
    )
    assert (park.activity, park.total, park.names) == ("refused", 1, [])
