"""Mails of incidents: what was heard, where and how sure that is, and what a person found. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.notifications.email.alert_mail import SiteName, sanitize_link
from app.notifications.email.event_bodies import MailEvent
from app.notifications.email.mail_content import SUBJECT_LIMIT, MailContent, MailTone
from app.notifications.email.mail_formats import (
    clean_line,
    format_local_time,
    format_number,
    format_percent,
    truncate_text,
)
from app.notifications.email.mail_texts import MailTexts

PREFIX: Final = "incident."
"""What the types of these events begin with."""

_LIMIT: Final = 120
_SENTENCE_LIMIT: Final = 1000
_BOXES_LISTED: Final = 10
_TONES: Final[Mapping[str, MailTone]] = {"incident.detected": "critical", "incident.confirmed": "critical"}


def build_incident_mail(event: MailEvent, sites: Mapping[str, SiteName], texts: MailTexts) -> MailContent:
    """Make the mail of an incident; times are those of its site, or in UTC."""
    data = event.data
    title, lead = texts.notices[event.type]
    site = sites.get(str(data.get("site_id")))
    name = "" if site is None else clean_line(site.name, _LIMIT)
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
        thread=f"incident-{clean_line(str(data['incident_id']), _LIMIT)}",
    )


def _rows(data: Mapping[str, Any], zone: str | None, texts: MailTexts) -> Iterator[tuple[str, str]]:
    yield "occurred_at", format_local_time(str(data.get("occurred_at") or ""), zone, texts) or ""
    yield "evidence", texts.evidences.get(str(data.get("evidence")), "")
    yield "position", _position(data, texts)
    classes = data.get("classes") or [{}]
    yield "class", clean_line(str(classes[0].get("class") or ""), _LIMIT)
    probability = data.get("probability")
    if isinstance(probability, int | float):
        yield "probability", format_percent(probability, texts)
    yield "rounds", format_number(data["rounds"], texts) if isinstance(data.get("rounds"), int) else ""
    boxes = [clean_line(str(box), _LIMIT) for box in data.get("boxes") or []]
    yield "boxes", ", ".join(boxes[:_BOXES_LISTED]) + (" …" if len(boxes) > _BOXES_LISTED else "")
    yield "outcome", clean_line(str(data.get("outcome") or ""), _LIMIT)


def _position(data: Mapping[str, Any], texts: MailTexts) -> str:
    """Latitude and longitude, and how far off they may be."""
    geometry, ellipse = data.get("geometry") or {}, data.get("ellipse")
    if geometry.get("type") != "Point" or ellipse is None:
        return ""
    longitude, latitude = geometry["coordinates"][:2]
    # For maps: a decimal point in any language.
    return f"{latitude:.5f}, {longitude:.5f} (± {format_number(round(ellipse['semi_major_m'], 1), texts)} m)"
