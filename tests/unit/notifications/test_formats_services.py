"""What chat and paging services and Alertmanager are sent: by their schemas and limits, whatever happens."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.event_examples import EXAMPLES, ORGANISATION, SITE
from app.notifications.formats import RenderContext, render_event
from app.notifications.formats.alertmanager_api import (
    FIRING_LIFETIME,
    TEST_LIFETIME,
    render_alertmanager_events,
)
from app.notifications.formats.chat_formats import MESSAGE_LIMIT, SIZE_LIMIT
from app.notifications.http.service_channel_requests import HTTP_CHANNELS, build_channel_request
from tests.service_schemas import SCHEMAS

URL = "https://vigie.example.com"
KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
SITES = {SITE: SiteName("Rue de Metz", "Europe/Paris")}
TARGET = {"url": "https://service.example.com/", "topic": "ville"}
CREDENTIALS = {"url": "https://chat.example.com/secret", "routing_key": KEY}
KINDS = sorted(HTTP_CHANNELS)
VALIDATORS = {kind: Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}


def made(kind: str, body: dict[str, Any], language: str = "en") -> bytes:
    """The bytes that a service of a kind is posted."""
    event = RenderContext(
        json.dumps(body).encode(), UUID(int=7), UUID(ORGANISATION), UUID(SITE), URL, language, SITES
    )
    return build_channel_request(kind, TARGET, CREDENTIALS, render_event(kind, "native", event)).body


def sent(kind: str, body: dict[str, Any], language: str = "en") -> Any:  # noqa: ANN401 (JSON)
    message = json.loads(made(kind, body, language))
    VALIDATORS[kind].validate(message)
    return message


def changed(type_: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of an event's data)
    example = EXAMPLES[type_]
    return {**example, "data": {**example["data"], **data}}


def texts(value: Any) -> list[str]:  # noqa: ANN401 (JSON)
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("kind", KINDS)
def test_the_schemas_are_schemas_and_refuse_what_is_no_message(kind: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[kind])
    assert not VALIDATORS[kind].is_valid(EXAMPLES["alert.firing"])


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("type_", sorted(EXAMPLES))
@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_a_valid_message(kind: str, type_: str, language: str) -> None:
    if (kind, type_) == ("alertmanager", "alert.group"):
        return  # it groups by itself: such a channel has no grouping
    sent(kind, EXAMPLES[type_], language)


@pytest.mark.parametrize("kind", KINDS)
@given(
    name=st.text(max_size=5000),
    advice=st.text(max_size=20_000),
    box=st.one_of(st.none(), st.text(max_size=3000)),
    value=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_texts_of_any_kind_and_length_are_cut_to_the_limits(
    kind: str, name: str, advice: str, box: str | None, value: float | None
) -> None:
    body = changed("alert.firing", rule_name=name, description=advice, box=box, value=value)
    message = sent(kind, body)
    size = len(made(kind, body))
    if kind == "teams":
        assert size <= SIZE_LIMIT
    if kind == "ntfy":
        assert len(message["message"].encode()) <= MESSAGE_LIMIT
    if kind == "pagerduty":
        assert size < 512 * 1024
    if kind == "discord":
        (embed,) = message["embeds"]
        fields = [each[part] for each in embed["fields"] for part in ("name", "value")]
        assert sum(map(len, [embed["title"], embed["description"], *fields])) <= 6000


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("alertmanager", "pagerduty")])
def test_a_group_of_hundreds_of_alerts_is_listed_as_far_as_there_is_room(kind: str) -> None:
    example = EXAMPLES["alert.group"]
    one = example["data"]["events"][0]
    many = [{**one, "data": {**one["data"], "box": f"box-{number:04}" * 8}} for number in range(500)]
    body = {**example, "data": {**example["data"], "events": many, "firing": 700, "truncated": 200}}
    message = sent(kind, body)
    assert "box-0000" in json.dumps(message).replace("\\\\", "")
    assert len(made(kind, body)) <= SIZE_LIMIT or kind != "teams"


@pytest.mark.parametrize("kind", ["slack", "teams", "discord", "ntfy"])
def test_a_message_says_what_happened_where_and_leads_on(kind: str) -> None:
    message = sent(kind, EXAMPLES["alert.firing"])
    said = "\n".join(texts(message)).replace("\\", "")
    assert "PM2.5 at Rue de Metz is 31.2 µg/m³, above 25 for 10 minutes" in said
    assert "Particules fines" in said
    assert "Close the windows of the school." in said
    assert f"/console/alerts/{EXAMPLES['alert.firing']['data']['alert_id']}" in said
    assert "Rue de Metz" in said


@pytest.mark.parametrize("kind", ["slack", "teams", "discord", "ntfy", "pagerduty"])
def test_a_message_is_in_the_channel_s_language(kind: str) -> None:
    said = "\n".join(texts(sent(kind, EXAMPLES["alert.firing"], "fr"))).replace("\\", "")
    assert "PM2,5 à 31,2\xa0µg/m³" in said or "PM2,5 à 31,2 µg/m³" in said
    assert "Ouvrir dans Vigie" in said or kind not in ("slack", "teams", "pagerduty")


def test_a_name_cannot_mention_anybody_nor_be_a_link() -> None:
    body = changed("alert.firing", rule_name="<!channel> @everyone [click](https://evil.example) **x**")
    slack = sent("slack", body)
    assert "<!channel>" not in slack["text"]
    assert {block["text"]["type"] for block in slack["blocks"] if "text" in block} == {"plain_text"}
    (link,) = slack["blocks"][-1]["elements"]
    assert link["text"].startswith(f"<{URL}/")
    discord = sent("discord", body)
    assert discord["allowed_mentions"] == {"parse": []}
    assert "\\[click\\]\\(https\\:" in discord["embeds"][0]["title"]
    for element in sent("teams", body)["attachments"][0]["content"]["body"]:
        assert element["type"] == "RichTextBlock"


def test_a_cut_never_ends_within_an_escape() -> None:
    for length in range(230, 300):
        title = sent("discord", changed("alert.firing", rule_name="*" * length))["embeds"][0]["title"]
        assert not title.removesuffix("…").replace("\\\\", "").endswith("\\")


@pytest.mark.parametrize(
    ("type_", "action"),
    [
        ("alert.firing", "trigger"),
        ("alert.escalated", "trigger"),
        ("alert.deescalated", "trigger"),
        ("alert.reminder", "trigger"),
        ("alert.acknowledged", "acknowledge"),
        ("alert.resolved", "resolve"),
    ],
)
def test_pagerduty_is_told_of_an_alert_under_its_id(type_: str, action: str) -> None:
    event = sent("pagerduty", EXAMPLES[type_])
    data = EXAMPLES[type_]["data"]
    assert (event["event_action"], event["dedup_key"]) == (action, data["alert_id"])
    assert event["routing_key"] == KEY
    if action == "trigger":
        payload = event["payload"]
        assert payload["severity"] == data["severity"]
        assert payload["summary"].startswith("PM2.5 at Rue de Metz is ")
        assert (payload["source"], payload["component"]) == ("box-0001", "pm2_5")
        assert (payload["group"], payload["class"]) == ("Rue de Metz", "Particules fines")
        assert payload["timestamp"] == data["started_at"]


def test_a_paging_service_knows_incidents_and_notices_apart() -> None:
    keys = {
        type_: sent("pagerduty", EXAMPLES[type_])["dedup_key"] for type_ in EXAMPLES if type_ != "alert.group"
    }
    incident = EXAMPLES["incident.detected"]["data"]["incident_id"]
    assert {keys[type_] for type_ in keys if type_.startswith("incident.")} == {incident}
    assert keys["endpoint.failing"] == keys["endpoint.disabled"] != keys["webhook.test"]
    assert sent("pagerduty", EXAMPLES["incident.dismissed"])["event_action"] == "resolve"
    assert sent("pagerduty", EXAMPLES["webhook.test"])["payload"]["severity"] == "info"


def test_the_routing_key_is_in_no_body_that_is_stored() -> None:
    event = RenderContext(
        json.dumps(EXAMPLES["alert.firing"]).encode(), UUID(int=7), UUID(ORGANISATION), None, URL
    )
    for kind in KINDS:
        stored = render_event(kind, "native", event)
        assert KEY.encode() not in stored
        assert b"/secret" not in stored


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_alertmanager_keeps_an_alert_for_hours_and_ends_it_when_it_is_over() -> None:
    (firing,) = sent("alertmanager", EXAMPLES["alert.firing"])
    data = EXAMPLES["alert.firing"]["data"]
    assert firing["labels"] == {
        "alertname": "Particules fines",
        "severity": "warning",
        "organisation_id": data["organisation_id"],
        "site_id": data["site_id"],
        "box": "box-0001",
        "metric": "pm2_5",
        "rule_id": data["rule_id"],
        "instance": "box-0001",
    }
    assert firing["annotations"]["alert_id"] == data["alert_id"]
    assert firing["annotations"]["summary"].startswith("PM2.5 at ")
    assert firing["startsAt"] == data["started_at"]
    assert _instant(firing["endsAt"]) - _instant(EXAMPLES["alert.firing"]["timestamp"]) == FIRING_LIFETIME
    (over,) = sent("alertmanager", changed("alert.resolved", severity="warning"))
    assert over["labels"] == firing["labels"]
    assert over["endsAt"] == EXAMPLES["alert.resolved"]["data"]["resolved_at"]


def test_at_alertmanager_another_severity_is_another_alert_and_ends_the_former_one() -> None:
    former, now = sent("alertmanager", EXAMPLES["alert.escalated"])
    assert (former["labels"]["severity"], now["labels"]["severity"]) == ("warning", "critical")
    assert former["endsAt"] == EXAMPLES["alert.escalated"]["timestamp"]
    assert _instant(now["endsAt"]) > _instant(former["endsAt"])
    assert {**former["labels"], "severity": "critical"} == now["labels"]


def test_a_test_at_alertmanager_ends_by_itself() -> None:
    (test,) = sent("alertmanager", EXAMPLES["webhook.test"])
    assert _instant(test["endsAt"]) - _instant(test["startsAt"]) == TEST_LIFETIME


def test_an_alert_that_ends_before_it_begins_is_none_that_alertmanager_would_refuse() -> None:
    (over,) = sent("alertmanager", changed("alert.resolved", started_at="2026-11-24T12:00:00Z"))
    assert over["startsAt"] <= over["endsAt"]


def test_many_alerts_are_one_list() -> None:
    bodies = [json.dumps(EXAMPLES[type_]).encode() for type_ in ("alert.firing", "alert.resolved")]
    listed = json.loads(render_alertmanager_events(bodies, UUID(ORGANISATION), URL))
    VALIDATORS["alertmanager"].validate(listed)
    assert len(listed) == 2
    assert timedelta(hours=1) <= FIRING_LIFETIME <= timedelta(days=1)
