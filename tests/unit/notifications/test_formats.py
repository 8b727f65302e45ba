"""The native body, CloudEvents, and which form goes with which endpoint."""

import json
from datetime import datetime
from uuid import UUID

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from app.notifications.delivery.waiting_groups import EventBodyCache
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.event_examples import EVENT_ID, EXAMPLES, ORGANISATION, SITE
from app.notifications.events.event_types import ALL_EVENTS
from app.notifications.events.subscriptions import EndpointSubscription
from app.notifications.formats import RenderContext, render_event
from app.notifications.formats.native_and_cloudevents import CONTENT_TYPE


def rendering(body: bytes, site_id: str | None = SITE) -> RenderContext:
    return RenderContext(
        body,
        UUID(EVENT_ID),
        UUID(ORGANISATION),
        None if site_id is None else UUID(site_id),
        "https://vigie.example.com",
    )


def body_of(type_: str) -> bytes:
    return json.dumps(EXAMPLES[type_], ensure_ascii=False).encode()


@pytest.mark.parametrize("type_", EXAMPLES)
def test_a_webhooks_native_body_is_sent_as_it_is(type_: str) -> None:
    body = body_of(type_)
    assert render_event("webhook", "native", rendering(body)) is body


@pytest.mark.parametrize("type_", EXAMPLES)
def test_over_mqtt_the_native_body_has_its_id_first(type_: str) -> None:
    sent = render_event("mqtt", "native", rendering(body_of(type_)))
    assert sent.startswith(b'{"id":"msg_01a21017c4e97abfa8ae97180a390a41",')
    assert json.loads(sent) == {"id": f"msg_{UUID(EVENT_ID).hex}", **EXAMPLES[type_]}


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
@pytest.mark.parametrize("type_", EXAMPLES)
def test_others_read_our_cloudevents(kind: str, type_: str) -> None:
    sent = render_event(kind, "cloudevents", rendering(body_of(type_)))
    event = from_http_event(HTTPMessage({"content-type": CONTENT_TYPE}, sent))
    example = EXAMPLES[type_]
    assert event.get_specversion() == "1.0"
    assert event.get_id() == f"msg_{UUID(EVENT_ID).hex}"
    assert event.get_source() == f"/organisations/{ORGANISATION}/sites/{SITE}"
    assert event.get_type() == f"vigie.{type_}"
    assert event.get_time() == datetime.fromisoformat(example["timestamp"])
    assert event.get_datacontenttype() == "application/json"
    assert event.get_subject() == (example["data"].get("alert_id") or example["data"].get("incident_id"))
    assert event.get_data() == example["data"]
    optional = {"subject"} if type_.startswith(("alert.", "incident.")) and type_ != "alert.group" else set()
    required = {"specversion", "id", "source", "type", "time", "datacontenttype", "data"}
    assert json.loads(sent).keys() == required | optional


def test_what_concerns_no_site_comes_from_the_organisation() -> None:
    sent = json.loads(render_event("webhook", "cloudevents", rendering(body_of("webhook.test"), None)))
    assert sent["source"] == f"/organisations/{ORGANISATION}"


def test_a_cloudevents_data_is_the_native_one_to_the_byte() -> None:
    data = b'{"value": 1e2,"name":"Rue d\'Alsace \xe2\x80\x94 \xc3\xa9t\xc3\xa9 \\" ,\\"data\\":"}'
    body = b'{"type":"alert.firing","timestamp":"2026-11-24T10:10:02Z","data":%b}' % data
    assert render_event("webhook", "cloudevents", rendering(body)).endswith(b'"data":%b}' % data)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="no format xml"):
        render_event("webhook", "xml", rendering(b"{}"))


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("type_", EXAMPLES)
def test_a_mail_is_a_mail_whatever_the_format(type_: str, language: str) -> None:
    event = rendering(body_of(type_))._replace(
        language=language, sites={SITE: SiteName("Quai Lucien-Lombard", "Europe/Paris")}
    )
    made = {render_event("email", format_, event) for format_ in ("native", "cloudevents", "alertmanager")}
    sent = json.loads(made.pop())
    assert made == set()
    assert sent["subject"]
    assert sent["html"]
    if type_.startswith("alert."):
        assert "Quai Lucien-Lombard" in sent["text"]


def test_a_form_that_cannot_be_made_holds_up_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    body = b'{"type":"alert.group","timestamp":"2026-11-24T10:10:02Z","data":{"group":7}}'
    bodies = EventBodyCache(rendering(body), {})
    assert bodies.body("webhook", "alertmanager", "en") == body
    assert "render_failed" in capsys.readouterr().out


def test_a_form_is_made_once_for_all_who_are_sent_the_same() -> None:
    bodies = EventBodyCache(rendering(body_of("alert.firing")), {})

    def made(kind: str, format_: str, language: str = "en") -> bytes:
        subscription = EndpointSubscription(UUID(int=0), [ALL_EVENTS], None, kind=kind, format=format_)
        return bodies.of(subscription._replace(language=language))

    assert made("webhook", "alertmanager") is made("webhook", "alertmanager", "fr")
    assert made("email", "native") is made("email", "native")
    assert made("webhook", "native") != made("mqtt", "native")
