import json

from app.notifications.events.event_enrichment import (
    add_event_link,
    build_alert_link,
    build_event_link,
    build_incident_link,
)

URL = "https://vigie.example.com"


def test_an_event_leads_to_what_it_is_about() -> None:
    assert (
        build_event_link(URL, {"alert_id": "a1"}) == build_alert_link(URL, "a1") == f"{URL}/console/alerts/a1"
    )
    assert (
        build_event_link(URL, {"incident_id": "i1"})
        == build_incident_link(URL, "i1")
        == f"{URL}/console/incidents/i1"
    )
    assert build_event_link(URL, {"quota": "boxes"}) is None


def test_the_link_is_added_to_the_data_as_it_is() -> None:
    payload = '{"alert_id":"a1","value":31.2,"name":"é}"}'
    assert json.loads(add_event_link(payload, URL)) == {
        **json.loads(payload),
        "link": f"{URL}/console/alerts/a1",
    }


def test_data_without_a_subject_stay_as_they_are() -> None:
    for payload in ("{}", '{"alert_id":7}', '{"quota":"boxes"}', "[]"):
        assert add_event_link(payload, URL) == payload
