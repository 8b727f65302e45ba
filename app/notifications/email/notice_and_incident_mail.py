"""Builds mails on incidents, disabled endpoints, dropped messages and quotas, and test mails. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.notifications.email.alert_mail import SiteName, sanitize_link
from app.notifications.email.mail_event_schemas import MailEvent
from app.notifications.email.mail_texts import MailTexts
from app.notifications.events.event_types import (
    ENDPOINT_DISABLED,
    MESSAGES_DROPPED,
    NOTICES,
    QUOTA_NOTICES,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_NOTICES,
    TEST_EVENT,
)
from app.presentation.date_formats import format_local_time
from app.presentation.mail_layout import SUBJECT_LIMIT, MailContent, MailTone
from app.presentation.number_formats import format_exact_measurement, format_exact_number, format_percent
from app.presentation.typography import clean_line, truncate_text

_LIMIT: Final = 200
_SUBJECT_PART: Final = 80
_MOST_ROWS: Final = 40
_DEEPEST: Final = 3
_ENDPOINT_ROWS: Final = (
    *("kind", "target", "description", "failing_since", "last_reason", "last_status", "pending"),
)
_SUBSCRIPTION_ROWS: Final = (*("subscription", "sink", "failing_since", "last_reason", "last_status"),)
_PLATFORM_ROWS: Final = ("dropped", "total", "broker_started_at")
_QUOTA_ROWS: Final = ("quota", "limit_of_quota", "used", "refused", "resets_at")
_TIMES: Final = frozenset({"failing_since", "broker_started_at", "resets_at"})


def build_notice_mail(event: MailEvent, texts: MailTexts) -> MailContent:
    """Build the mail of an event that is neither of an alert nor of an incident; times are in UTC."""
    if event.type == TEST_EVENT:
        if "endpoint_id" not in event.data:
            title, lead = texts.test_of_server
            return _page(texts, title, lead, title)._replace(footer=(texts.footer_test,))
        title, lead = texts.test
        return _page(texts, title, lead, title)
    for types, build in _BUILDERS:
        if event.type in types:
            return build(event, texts)
    if event.type == MESSAGES_DROPPED:
        title, lead = texts.notices[MESSAGES_DROPPED]
        return _page(texts, title, lead, title, _named_rows(event.data, _PLATFORM_ROWS, texts))
    return _of_anything(event, texts)


def _of_endpoint(event: MailEvent, texts: MailTexts) -> MailContent:
    name = event.type
    if name == ENDPOINT_DISABLED:
        name += ".gone" if event.data.get("reason") == "gone" else ".failing"
    title, lead = texts.notices[name]
    target = clean_line(str(event.data.get("target") or event.data.get("description") or ""), _SUBJECT_PART)
    page = _page(
        texts,
        title,
        lead,
        f"{title}{texts.colon}{target}" if target else title,
        _named_rows(event.data, _ENDPOINT_ROWS, texts),
    )
    endpoint = event.data.get("endpoint_id")
    return page._replace(thread=f"endpoint-{endpoint}" if endpoint else None)


def _of_subscription(event: MailEvent, texts: MailTexts) -> MailContent:
    name, data = event.type, event.data
    if name == SUBSCRIPTION_DISABLED:
        reason = str(data.get("reason"))
        name += f".{reason}" if f"{name}.{reason}" in texts.notices else ".failing"
    title, lead = texts.notices[name]
    subscription = clean_line(str(data.get("name") or ""), _SUBJECT_PART)
    about = f"{title}{texts.colon}{subscription}" if subscription else title
    rows = _named_rows({**data, "subscription": data.get("name")}, _SUBSCRIPTION_ROWS, texts)
    page = _page(texts, title, lead, about, rows)
    identifier = data.get("subscription_id")
    return page._replace(thread=f"subscription-{identifier}" if identifier else None)


def _of_quota(event: MailEvent, texts: MailTexts) -> MailContent:
    title, lead = texts.notices[event.type]
    # The label `limit` is that of an alert's threshold.
    data = {**event.data, "limit_of_quota": event.data.get("limit")}
    about = f"{title}{texts.colon}{_value('quota', data.get('quota'), texts)}"
    page = _page(texts, title, lead, about, _named_rows(data, _QUOTA_ROWS, texts))
    organisation = event.data.get("organisation_id")
    return page._replace(thread=f"quota-{organisation}" if organisation else None)


_BUILDERS: Final = (
    (NOTICES, _of_endpoint),
    (SUBSCRIPTION_NOTICES, _of_subscription),
    (QUOTA_NOTICES, _of_quota),
)


def _of_anything(event: MailEvent, texts: MailTexts) -> MailContent:
    """Build the mail of an unknown event: its type, its time, and its fields by name."""
    kind = clean_line(event.type, _SUBJECT_PART) or "?"
    title, lead = texts.other
    rows = [(texts.labels["type"], kind)]
    if at := format_local_time(event.timestamp, None, texts.language):
        rows.append((texts.labels["timestamp"], at))
    rows += list(_flat(event.data, "", _DEEPEST))[:_MOST_ROWS]
    return _page(texts, title.format(type=kind), lead, title.format(type=kind), tuple(rows))


def _page(
    texts: MailTexts, title: str, lead: str, about: str, rows: tuple[tuple[str, str], ...] = ()
) -> MailContent:
    word = texts.tags["other"]
    return MailContent(
        subject=truncate_text(f"[{word}] {about}", SUBJECT_LIMIT),
        tone="plain",
        word=word,
        title=title,
        lead=lead,
        rows=rows,
        footer=(texts.footer,),
    )


def _named_rows(
    data: Mapping[str, Any], names: tuple[str, ...], texts: MailTexts
) -> tuple[tuple[str, str], ...]:
    rows = ((texts.labels[name], _value(name, data.get(name), texts)) for name in names)
    return tuple((label, value) for label, value in rows if value)


def _value(name: str, value: object, texts: MailTexts) -> str:
    if value is None:
        return ""
    if name == "kind":
        return texts.kinds.get(str(value)) or clean_line(str(value), _LIMIT)
    if name == "quota":
        return texts.quotas.get(str(value)) or clean_line(str(value), _LIMIT)
    if name in _TIMES:
        return format_local_time(str(value), None, texts.language) or clean_line(str(value), _LIMIT)
    if isinstance(value, int | float) and name != "last_status":
        return format_exact_number(value, texts.language)
    return clean_line(str(value), _LIMIT)


def _flat(data: Mapping[str, Any], before: str, depth: int) -> Iterator[tuple[str, str]]:
    """Flatten an object to rows; lists are only counted."""
    for name, value in data.items():
        label = f"{before}{clean_line(name, _SUBJECT_PART)}"
        if isinstance(value, dict) and depth:
            yield from _flat(value, f"{label}.", depth - 1)
        elif isinstance(value, list | dict):
            yield label, f"({len(value)})"
        elif value is not None:
            yield label, clean_line(str(value), _LIMIT)


PREFIX: Final = "incident."
"""The prefix of the types of incident events."""

_INCIDENT_MAIL_LIMIT: Final = 120
_SENTENCE_LIMIT: Final = 1000
_BOXES_LISTED: Final = 10
_TONES: Final[Mapping[str, MailTone]] = {"incident.detected": "critical", "incident.confirmed": "critical"}


def build_incident_mail(event: MailEvent, sites: Mapping[str, SiteName], texts: MailTexts) -> MailContent:
    """Build the mail of an incident; times are in the site's time zone, or in UTC."""
    data = event.data
    title, lead = texts.notices[event.type]
    site = sites.get(str(data.get("site_id")))
    name = "" if site is None else clean_line(site.name, _INCIDENT_MAIL_LIMIT)
    rows = [(texts.labels["site"], name)] if name else []
    rows += [
        (texts.labels[label], value)
        for label, value in _rows(data, None if site is None else site.timezone, texts)
        if value
    ]
    word = texts.tags["other"]
    about = f"{title}{texts.colon}{name}" if name else title
    said = clean_line(
        str(data.get("sentence_fr" if texts.language == "fr" else "sentence") or ""), _SENTENCE_LIMIT
    )
    return MailContent(
        subject=truncate_text(f"[{word}] {about}", SUBJECT_LIMIT),
        tone=_TONES.get(event.type, "plain"),
        word=word,
        title=title,
        lead=f"{lead} {said}." if said else lead,
        rows=tuple(rows),
        footer=(texts.footer,),
        link=sanitize_link(str(data.get("link") or "")),
        thread=f"incident-{clean_line(str(data['incident_id']), _INCIDENT_MAIL_LIMIT)}",
    )


def _rows(data: Mapping[str, Any], zone: str | None, texts: MailTexts) -> Iterator[tuple[str, str]]:
    yield "occurred_at", format_local_time(str(data.get("occurred_at") or ""), zone, texts.language) or ""
    yield "evidence", texts.evidences.get(str(data.get("evidence")), "")
    yield "position", _position(data, texts)
    classes = data.get("classes") or [{}]
    yield "class", clean_line(str(classes[0].get("class") or ""), _INCIDENT_MAIL_LIMIT)
    probability = data.get("probability")
    if isinstance(probability, int | float):
        yield "probability", format_percent(100 * probability, texts.language)
    rounds = data.get("rounds")
    yield "rounds", format_exact_number(rounds, texts.language) if isinstance(rounds, int) else ""
    boxes = [clean_line(str(box), _INCIDENT_MAIL_LIMIT) for box in data.get("boxes") or []]
    yield "boxes", ", ".join(boxes[:_BOXES_LISTED]) + (" …" if len(boxes) > _BOXES_LISTED else "")
    yield "outcome", clean_line(str(data.get("outcome") or ""), _INCIDENT_MAIL_LIMIT)


def _position(data: Mapping[str, Any], texts: MailTexts) -> str:
    """Format latitude and longitude with the error."""
    geometry, ellipse = data.get("geometry") or {}, data.get("ellipse")
    if geometry.get("type") != "Point" or ellipse is None:
        return ""
    longitude, latitude = geometry["coordinates"][:2]
    # With a decimal point in any language, so that it can be copied into a map.
    error = format_exact_measurement(round(ellipse["semi_major_m"], 1), "m", texts.language)
    return f"{latitude:.5f}, {longitude:.5f} (± {error})"
