"""Builds the bodies of webhooks and channels from the forms of the console. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.console.framework.form_fields import FormFields
from app.console.framework.site_choices import read_site_choice

ALL_EVENTS: Final = "*"
KIND_FIELDS: Final[Mapping[str, Sequence[str]]] = {
    "webhook": ("url", "format", "headers", "concurrency", "grouping"),
    "email": ("to", "language", "notices", "grouping"),
    "mqtt": ("format", "grouping"),
    "slack": ("secret_url", "language", "grouping"),
    "teams": ("secret_url", "language", "grouping"),
    "discord": ("secret_url", "language", "grouping"),
    "ntfy": ("url", "topic", "token", "language", "grouping"),
    "pagerduty": ("routing_key", "language"),
    "alertmanager": ("url", "username", "password"),
}
"""By kind, the fields that its form has beside those of all kinds."""

_SPLIT: Final = re.compile(r"[\s,;]+")
_URL_FIELD: Final = "secret_url"
# Sent if they are not empty: a secret that was left empty stays as it is.
_GIVEN: Final = ("url", _URL_FIELD, "format", "language", "topic", "token", "password", "routing_key")


def build_endpoint_body(kind: str, fields: FormFields, *, creating: bool) -> dict[str, Any]:
    """Build the body that creates or changes an endpoint.

    A secret that was left empty is not sent, so that a change retains it.
    """
    shown = KIND_FIELDS[kind]
    body: dict[str, Any] = {
        "events": [ALL_EVENTS] if fields.has("all_events") else fields.many("events"),
        "min_severity": fields.optional("min_severity"),
        "site_ids": read_site_choice(fields),
        "description": fields.optional("description"),
        "recipient": fields.optional("recipient"),
        "rate_per_s": fields.number("rate_per_s"),
    }
    if creating and kind != "webhook":
        body["kind"] = kind
    body |= {name: read(fields) for name, read in _OF_KINDS.items() if name in shown}
    for name in _GIVEN:
        if name in shown and fields.verbatim(name):
            body["url" if name == _URL_FIELD else name] = fields.one(name)
    if "headers" in shown and (creating or fields.has("replace_headers")):
        body["headers"] = parse_headers(fields.verbatim("headers"))
    return body


def _build_grouping(fields: FormFields) -> dict[str, Any] | None:
    by = fields.many("group_by")
    if not by:
        return None
    return {
        "by": by,
        "wait": f"PT{fields.one('group_wait') or '10'}S",
        "interval": f"PT{fields.one('group_interval') or '5'}M",
    }


# The other fields that not all kinds have.
_OF_KINDS: Final[Mapping[str, Callable[[FormFields], Any]]] = {
    "username": lambda fields: fields.optional("username"),
    "to": lambda fields: [each for each in _SPLIT.split(fields.one("to")) if each],
    "notices": lambda fields: fields.has("notices"),
    "concurrency": lambda fields: fields.number("concurrency"),
    "grouping": _build_grouping,
}


def parse_headers(text: str) -> dict[str, str] | None:
    """Parse lines `Name: value`; None if there is none."""
    headers = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip():
            headers[name.strip()] = value.strip()
    return headers or None


def read_grouping(grouping: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the stored grouping as the form shows it: labels, seconds and minutes."""
    if grouping is None:
        return {"by": [], "wait": "10", "interval": "5"}
    return {
        "by": grouping["by"],
        "wait": str(_read_seconds(grouping["wait"])),
        "interval": str(max(1, _read_seconds(grouping["interval"]) // 60)),
    }


def _read_seconds(duration: str) -> int:
    """Read the seconds of an ISO 8601 duration of days, hours, minutes and seconds."""
    units = {"D": 86_400, "H": 3_600, "M": 60, "S": 1}
    return sum(
        int(float(number)) * units[unit] for number, unit in re.findall(r"([0-9.]+)([DHMS])", duration)
    )
