"""What Alertmanager's receivers are sent."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.notifications.events.event_examples import EXAMPLES, ORGANISATION
from app.notifications.formats.alertmanager_webhook import MOST_CHARACTERS, NEVER, render_alertmanager_webhook

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "data" / "alertmanager-webhook-v4.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)
URL = "https://vigie.example.com"


def rendered(example: dict[str, Any], organisation: str = ORGANISATION) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(
        render_alertmanager_webhook(json.dumps(example).encode(), UUID(organisation), URL)
    )
    VALIDATOR.validate(sent)
    return sent


def changed(type_: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of an event's data)
    example = EXAMPLES[type_]
    return {**example, "data": {**example["data"], **data}}


def test_the_schema_is_one_and_refuses_what_others_send_us() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert not VALIDATOR.is_valid(EXAMPLES["alert.firing"])


def test_a_firing_alert() -> None:
    data = EXAMPLES["alert.firing"]["data"]
    labels = {
        "alertname": "Particules fines",
        "severity": "warning",
        "organisation_id": data["organisation_id"],
        "site_id": data["site_id"],
        "box": "box-0001",
        "metric": "pm2_5",
        "rule_id": data["rule_id"],
        "instance": "box-0001",
    }
    annotations = {
        "summary": "Particules fines (warning) on box box-0001: pm2_5 at 31.2",
        "description": "Close the windows of the school.",
        "value": "31.2",
        "threshold": "25",
        "sentence": "PM2.5 at Rue de Metz is 31.2 µg/m³, above 25 for 10 minutes",
        "site_name": "Rue de Metz",
        "unit": "µg/m³",
    }
    sent = rendered(EXAMPLES["alert.firing"])
    fingerprint = sent["alerts"][0].pop("fingerprint")
    assert len(fingerprint) == 16
    assert sent == {
        "version": "4",
        "groupKey": f'{{}}:{{alert_id="{data["alert_id"]}"}}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "vigie",
        "groupLabels": {"alertname": "Particules fines"},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": URL,
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2026-11-24T10:10:00Z",
                "endsAt": NEVER,
                "generatorURL": f"{URL}/console/alerts/{data['alert_id']}",
            }
        ],
    }


def test_an_alert_stays_one_over_its_life() -> None:
    life = ["firing", "escalated", "acknowledged", "reminder", "deescalated", "resolved"]
    sent = [rendered(EXAMPLES[f"alert.{kind}"]) for kind in life]
    assert len({one["alerts"][0]["fingerprint"] for one in sent}) == 1
    assert len({one["groupKey"] for one in sent}) == 1
    assert [one["status"] for one in sent] == ["firing"] * 5 + ["resolved"]
    severities = [one["alerts"][0]["labels"]["severity"] for one in sent]
    assert severities == ["warning", "critical", "critical", "warning", "warning", "critical"]
    assert sent[-1]["alerts"][0]["endsAt"] == "2026-11-24T11:02:00Z"
    assert sent[-1]["alerts"][0]["annotations"]["summary"] == (
        "Particules fines on box box-0001 is over (cleared)"
    )
    assert sent[-1]["alerts"][0]["annotations"]["value"] == "18.4"
    other = rendered(changed("alert.firing", alert_id=str(uuid4())))
    assert other["alerts"][0]["fingerprint"] != sent[0]["alerts"][0]["fingerprint"]
    assert other["groupKey"] != sent[0]["groupKey"]


def test_of_a_whole_site_there_is_no_box_and_what_is_null_is_left_out() -> None:
    names = ("sentence", "site_name", "box_name", "unit")
    nothing = dict.fromkeys(("box", "metric", "value", "threshold", "description", *names))
    (alert,) = rendered(changed("alert.firing", **nothing))["alerts"]
    named = {"alertname", "severity", "organisation_id", "site_id", "rule_id", "instance"}
    assert alert["labels"].keys() == named
    assert alert["labels"]["instance"] == alert["labels"]["site_id"]
    assert alert["annotations"] == {"summary": "Particules fines (warning) on the whole site"}


def test_an_index_is_called_by_its_title() -> None:
    cause = {"index": {"method": "eaqi", "title": "European Air Quality Index (hourly)"}}
    (alert,) = rendered(changed("alert.firing", metric=None, value=4.0, cause=cause))["alerts"]
    summary = "Particules fines (warning) on box box-0001: European Air Quality Index (hourly) at 4"
    assert alert["annotations"]["summary"] == summary


def test_what_was_closed_without_a_sample_ended_when_it_was_told() -> None:
    gone = changed("alert.resolved", resolved_at=None, resolved_value=None, resolution="box_deleted")
    (alert,) = rendered(gone)["alerts"]
    assert alert["endsAt"] == gone["timestamp"]
    assert "value" not in alert["annotations"]


def test_a_group_is_one_message_of_all_its_alerts() -> None:
    example = EXAMPLES["alert.group"]
    sent = rendered(changed("alert.group", truncated=3))
    group = example["data"]["group"]
    assert sent["status"] == "firing"
    assert sent["truncatedAlerts"] == 3
    assert sent["groupLabels"] == group
    assert sent["groupKey"] == f'{{}}:{{site_id="{group["site_id"]}", rule_id="{group["rule_id"]}"}}'
    assert [alert["status"] for alert in sent["alerts"]] == ["firing", "resolved"]
    assert [alert["labels"]["box"] for alert in sent["alerts"]] == ["box-0001", "box-0002"]
    assert sent["alerts"][1]["endsAt"] == "2026-11-24T10:10:06Z"
    assert "box" not in sent["commonLabels"]
    assert sent["commonLabels"]["alertname"] == "Particules fines"
    assert sent["commonAnnotations"].keys() == {
        "description",
        "threshold",
        "site_name",
        "unit",
    }
    # Each is the alert that it is on its own.
    alone = rendered(EXAMPLES["alert.firing"])
    assert sent["alerts"][0] == alone["alerts"][0]


def test_a_group_in_which_all_is_over_is_over() -> None:
    events = [
        event for event in EXAMPLES["alert.group"]["data"]["events"] if event["type"] == "alert.resolved"
    ]
    sent = rendered(changed("alert.group", group={"box": None}, firing=0, resolved=1, events=events))
    assert (sent["status"], sent["groupKey"], sent["groupLabels"]) == ("resolved", '{}:{box=""}', {})


@pytest.mark.parametrize(
    ("type_", "name", "severity", "summary"),
    [
        ("webhook.test", "VigieTest", "info", EXAMPLES["webhook.test"]["data"]["message"]),
        (
            "endpoint.failing",
            "VigieEndpointFailing",
            "warning",
            "Nothing has reached https://example.com since 2026-11-23T10:05:00Z: http_error",
        ),
        (
            "endpoint.disabled",
            "VigieEndpointDisabled",
            "critical",
            "https://example.com is disabled: gone",
        ),
        (
            "quota.warning",
            "VigieQuotaWarning",
            "warning",
            "4000217 of 5000000 samples_per_day are used",
        ),
        (
            "quota.exceeded",
            "VigieQuotaExceeded",
            "critical",
            "The quota of samples_per_day (5000000) is used up: 1210 were refused",
        ),
        (
            "platform.messages_dropped",
            "VigieMessagesDropped",
            "critical",
            "The broker dropped 1500 messages",
        ),
    ],
)
def test_what_is_not_of_an_alert_becomes_one(type_: str, name: str, severity: str, summary: str) -> None:
    sent = rendered(EXAMPLES[type_])
    (alert,) = sent["alerts"]
    assert (sent["status"], alert["labels"]["alertname"], alert["labels"]["severity"]) == (
        "firing",
        name,
        severity,
    )
    assert alert["annotations"]["summary"] == summary
    assert alert["startsAt"] == EXAMPLES[type_]["timestamp"]
    # The same thing again is the same alert; that of another organisation is another one.
    assert rendered(EXAMPLES[type_])["alerts"] == sent["alerts"]
    assert rendered(EXAMPLES[type_], str(uuid4()))["alerts"][0]["fingerprint"] != alert["fingerprint"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Times are the program's own.
FIELDS = st.sampled_from(
    sorted(
        {*EXAMPLES["alert.firing"]["data"], *EXAMPLES["endpoint.failing"]["data"]}
        - {"started_at", "resolved_at"}
    )
)


@given(
    type_=st.sampled_from(["alert.firing", "webhook.test", "endpoint.failing", "new.thing"]),
    data=st.dictionaries(FIELDS, ANYTHING, max_size=8),
)
def test_whatever_the_data_holds_there_is_something_to_send(type_: str, data: dict[str, Any]) -> None:
    rendered({"type": type_, "timestamp": "2026-11-24T10:10:02Z", "data": data})


def test_what_is_long_is_cut() -> None:
    (alert,) = rendered(changed("alert.firing", rule_name="n" * 5000, description="d" * 5000))["alerts"]
    assert alert["labels"]["alertname"] == "n" * MOST_CHARACTERS
    assert alert["annotations"]["description"] == "d" * MOST_CHARACTERS
    assert len(alert["annotations"]["summary"]) == MOST_CHARACTERS
