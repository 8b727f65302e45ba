"""Bodies of webhooks and channels, from forms."""

from app.console.delivery.endpoint_forms import KIND_FIELDS, build_endpoint_body, parse_headers, read_grouping
from app.console.framework.form_fields import FormFields

COMMON = {"events", "min_severity", "site_ids", "description", "recipient", "rate_per_s"}


def fields(**values: str | list[str]) -> FormFields:
    return FormFields({name: value if isinstance(value, list) else [value] for name, value in values.items()})


def test_a_webhook_has_what_was_typed() -> None:
    body = build_endpoint_body(
        "webhook",
        fields(
            url=" https://example.com/hook ",
            events=["alert.firing", "alert.resolved"],
            headers="Authorization: Bearer a:b\nX-Team: night\n",
            group_by=["site"],
            group_wait="20",
            group_interval="",
            rate_per_s="2.5",
            concurrency="two",
        ),
        creating=True,
    )
    assert body == {
        "url": "https://example.com/hook",
        "events": ["alert.firing", "alert.resolved"],
        "headers": {"Authorization": "Bearer a:b", "X-Team": "night"},
        "grouping": {"by": ["site"], "wait": "PT20S", "interval": "PT5M"},
        "rate_per_s": 2.5,
        # The API says what is wrong with it.
        "concurrency": "two",
        **dict.fromkeys(("min_severity", "site_ids", "description", "recipient")),
    }


def test_a_recipient_is_for_all_sites_or_for_those_that_are_ticked() -> None:
    def read(**given: str | list[str]) -> object:
        return build_endpoint_body("mqtt", fields(**given), creating=False)["site_ids"]

    assert read(reach="all", site_ids=["a"]) is None
    assert read(reach="sites", site_ids=["a", "b"]) == ["a", "b"]
    # The API refuses it. "None of them" must not become "all".
    assert read(reach="sites") == []


def test_every_event_stands_for_all() -> None:
    body = build_endpoint_body("mqtt", fields(all_events="yes", events=["alert.firing"]), creating=True)
    assert body["events"] == ["*"]
    assert body["kind"] == "mqtt"


def test_a_change_keeps_secrets_that_were_left_empty() -> None:
    kept = build_endpoint_body("slack", fields(secret_url="", language="fr"), creating=False)
    assert kept.keys() == COMMON | {"language", "grouping"}
    changed = build_endpoint_body("slack", fields(secret_url="https://hooks.slack.com/x"), creating=False)
    assert changed["url"] == "https://hooks.slack.com/x"
    webhook = build_endpoint_body("webhook", fields(headers=""), creating=False)
    assert "headers" not in webhook
    replaced = build_endpoint_body("webhook", fields(headers="", replace_headers="yes"), creating=False)
    assert replaced["headers"] is None


def test_recipients_are_separated_as_people_do() -> None:
    body = build_endpoint_body(
        "email", fields(to="a@example.com, b@example.com\n c@example.com;"), creating=True
    )
    assert body["to"] == ["a@example.com", "b@example.com", "c@example.com"]
    assert body["notices"] is False


def test_each_kind_sends_its_own_fields_only() -> None:
    everything = fields(
        **dict.fromkeys(("url", "topic", "token", "routing_key", "username", "password", "language"), "x"),
        secret_url="y",
    )
    alertmanager = build_endpoint_body("alertmanager", everything, creating=True)
    assert alertmanager.keys() == COMMON | {"kind", "url", "username", "password"}
    assert set(KIND_FIELDS) >= {"webhook", "email", "mqtt", "slack", "ntfy", "pagerduty"}


def test_grouping_is_shown_in_seconds_and_minutes() -> None:
    assert read_grouping(None) == {"by": [], "wait": "10", "interval": "5"}
    stored = {"by": ["site", "rule"], "wait": "PT1M30S", "interval": "PT1H"}
    assert read_grouping(stored) == {"by": ["site", "rule"], "wait": "90", "interval": "60"}


def test_lines_without_a_name_are_no_headers() -> None:
    assert parse_headers("\n: x\n") is None
