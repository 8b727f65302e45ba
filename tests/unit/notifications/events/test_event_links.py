import json

from app.notifications.events.event_links import alert_link, event_link, incident_link, with_link

URL = "https://vigie.example.com"


def test_an_event_leads_to_what_it_is_about() -> None:
    assert event_link(URL, {"alert_id": "a1"}) == alert_link(URL, "a1") == f"{URL}/v1/alerts/a1"
    assert event_link(URL, {"incident_id": "i1"}) == incident_link(URL, "i1") == f"{URL}/v1/incidents/i1"
    assert event_link(URL, {"quota": "boxes"}) is None


def test_the_link_is_added_to_the_data_as_it_is() -> None:
    payload = '{"alert_id":"a1","value":31.2,"name":"é}"}'
    assert json.loads(with_link(payload, URL)) == {**json.loads(payload), "link": f"{URL}/v1/alerts/a1"}


def test_data_without_a_subject_stay_as_they_are() -> None:
    for payload in ("{}", '{"alert_id":7}', '{"quota":"boxes"}', "[]"):
        assert with_link(payload, URL) == payload
