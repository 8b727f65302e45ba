"""A mail of one alert, and an alert as a line of a list. Pure.

Owns which of an alert's data is told, and in which words; but for what was measured, which is in `figures`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from app.notifications.email.alert_values import RESOLVED, format_alert_value, list_comparison_values
from app.notifications.email.event_bodies import MailAlertData, MailAlertEvent
from app.notifications.email.mail_formats import (
    clean_line,
    clean_lines,
    format_count,
    format_duration,
    format_local_time,
    parse_instant,
    truncate_text,
)
from app.notifications.email.mail_layout import SUBJECT_LIMIT, MailContent, MailListItem, MailTone
from app.notifications.email.mail_texts import MailTexts

_ACKNOWLEDGED: Final = "alert.acknowledged"
_ENDED: Final = "alert.resolved"
_NAME_LIMIT: Final = 120
_SUBJECT_NAME_LIMIT: Final = 50
_ADVICE_LIMIT: Final = 2000
_BOXES_LISTED: Final = 10
_SENTENCE_LIMIT: Final = 1000
_LINK: Final = re.compile(r"https?://[!-~]{1,1000}")
_TONES: Final[Mapping[str, MailTone]] = {"critical": "critical", "warning": "warning", "info": "info"}


class SiteName(NamedTuple):
    """What a mail says of a site.

    Attributes:
        name: What it is called.
        timezone: IANA's name of its time zone.
    """

    name: str
    timezone: str


class AlertLocation(NamedTuple):
    """Where an alert is: the site's name, cleaned, and its time zone; None where neither is known."""

    site: str | None
    zone: str | None


def find_alert_location(alert: MailAlertData, sites: Mapping[str, SiteName]) -> AlertLocation:
    """Find an alert's site among those that the mail may speak of."""
    found = sites.get(alert.site_id or "")
    if found is None:
        return AlertLocation(clean_line(alert.site_name or "", _NAME_LIMIT) or None, None)
    return AlertLocation(clean_line(found.name, _NAME_LIMIT), found.timezone)


def build_alert_mail(event: MailAlertEvent, sites: Mapping[str, SiteName], texts: MailTexts) -> MailContent:
    """Make the mail of an event of an alert."""
    alert = event.data
    place = find_alert_location(alert, sites)
    tone, word = choose_badge(event, texts)
    rule = clean_line(alert.rule_name or "", _NAME_LIMIT) or texts.labels["rule"]
    footer = [texts.footer]
    if alert.alert_id is not None:
        known = clean_line(alert.alert_id, _NAME_LIMIT)
        footer.insert(0, texts.footer_alert.format(id=known, sequence=alert.sequence or 1))
    return MailContent(
        subject=_subject(event, place, texts),
        tone=tone,
        word=word,
        title=_placed(rule, place.site, texts),
        lead=_lead(event, texts),
        rows=tuple(_rows(event, place, texts)),
        advice=split_advice_lines(alert),
        footer=tuple(footer),
        link=sanitize_link(alert.link),
        thread=None if alert.alert_id is None else f"alert-{alert.alert_id}",
    )


def build_alert_item(
    event: MailAlertEvent, sites: Mapping[str, SiteName], texts: MailTexts, *, placed: bool
) -> MailListItem:
    """Make the line of an alert in a list; `placed`: with its rule and its site."""
    alert = event.data
    place = find_alert_location(alert, sites)
    tone, word = choose_badge(event, texts, in_list=True)
    title = _box(alert, texts)
    if placed:
        rule = clean_line(alert.rule_name or "", _NAME_LIMIT)
        title = f"{title} \u2014 {_placed(rule, place.site, texts)}" if rule else title
    happened = "" if event.type == _ENDED else _happened(event, texts)
    details = [happened] if happened else []
    if figure := format_alert_value(alert, texts):
        details.append(figure)
    lasted = _lasted(alert, texts)
    since = format_local_time(alert.started_at, place.zone, texts)
    if alert.state == RESOLVED and lasted is not None:
        details.append(texts.lasted.format(lasted))
    elif since is not None:
        details.append(texts.since.format(since))
    if event.events_count > 1:
        details.append(texts.events.format(event.events_count))
    return MailListItem(tone, word, title, ", ".join(details), sanitize_link(alert.link))


def choose_badge(event: MailAlertEvent, texts: MailTexts, *, in_list: bool = False) -> tuple[MailTone, str]:
    """Say in a word what matters most: that it is over, that somebody sees to it, or how grave it is."""
    alert = event.data
    if alert.state == RESOLVED or event.type == _ENDED:
        return "resolved", texts.tags["resolved"]
    tone = _TONES.get(alert.severity or "", "plain")
    if event.type == _ACKNOWLEDGED and not in_list:
        return tone, texts.tags["acknowledged"]
    return tone, format_severity(alert.severity, texts)


def format_severity(severity: str | None, texts: MailTexts) -> str:
    """Return a severity in words."""
    if severity is None:
        return texts.tags["other"]
    return texts.severities.get(severity) or clean_line(severity, _NAME_LIMIT) or texts.tags["other"]


def split_advice_lines(alert: MailAlertData) -> tuple[str, ...]:
    """Return the lines of what is to be done, as the rule says it."""
    return tuple(clean_lines(alert.description or "", _ADVICE_LIMIT))


def _placed(rule: str, site: str | None, texts: MailTexts) -> str:
    return rule if site is None else texts.place.format(rule=rule, site=site)


def _subject(event: MailAlertEvent, place: AlertLocation, texts: MailTexts) -> str:
    alert = event.data
    _, word = choose_badge(event, texts)
    rule = clean_line(alert.rule_name or "", _SUBJECT_NAME_LIMIT) or texts.labels["rule"]
    site = None if place.site is None else truncate_text(place.site, _SUBJECT_NAME_LIMIT)
    happened = "" if event.type in (_ENDED, _ACKNOWLEDGED) else _happened(event, texts)
    subject = f"[{word}] " + (f"{happened}{texts.colon}" if happened else "") + _placed(rule, site, texts)
    figure = format_alert_value(alert, texts)
    return truncate_text(f"{subject}{texts.colon}{figure}" if figure else subject, SUBJECT_LIMIT)


def _happened(event: MailAlertEvent, texts: MailTexts) -> str:
    return texts.happened.get(event.type, "").format(who=_who(event.data))


def _who(alert: MailAlertData) -> str:
    return _acknowledger(alert) or "?"


def _acknowledger(alert: MailAlertData) -> str:
    """The name of who acknowledged it; empty where it has none. Events had the name alone before."""
    by = alert.acknowledged_by
    return clean_line((by if isinstance(by, str) or by is None else by.name) or "", _NAME_LIMIT)


def get_alert_sentence(alert: MailAlertData, texts: MailTexts) -> str:
    """Return what happened in one sentence, as the event says it; empty where it does not."""
    said = alert.sentence_fr if texts.language == "fr" else alert.sentence
    return clean_line(said or "", _SENTENCE_LIMIT)


def sanitize_link(link: str | None) -> str | None:
    """Return a link as a mail may have it: to a page of the web, without spaces."""
    return link if link is not None and _LINK.fullmatch(link) else None


def _lead(event: MailAlertEvent, texts: MailTexts) -> str:
    alert = event.data
    lead = texts.leads.get(event.type)
    if lead is None:
        return clean_line(event.type, _NAME_LIMIT)
    why = alert.resolution or ""
    said = get_alert_sentence(alert, texts)
    happened = lead.format(
        previous=format_severity(alert.previous_severity, texts),
        severity=format_severity(alert.severity, texts),
        reason=texts.reasons.get(alert.reason or "", ""),
        why=texts.resolutions.get(why) or clean_line(why, _NAME_LIMIT) or "?",
        who=_who(alert),
    )
    return f"{happened} {said}." if said else happened


def _box(alert: MailAlertData, texts: MailTexts) -> str:
    """The box; or that it is the site as a whole, and the boxes behind that."""
    if alert.box is not None:
        box, name = clean_line(alert.box, _NAME_LIMIT), clean_line(alert.box_name or "", _NAME_LIMIT)
        return f"{name} ({box})" if name and name != box else box
    behind = [clean_line(box, _NAME_LIMIT) for box in alert.cause.boxes] if alert.cause else []
    if not behind:
        return texts.whole_site
    names = ", ".join(behind[:_BOXES_LISTED])
    if len(behind) > _BOXES_LISTED:
        names += f" {format_count(len(behind) - _BOXES_LISTED, texts.and_more, texts)}"
    return f"{texts.whole_site} ({names})"


def _lasted(alert: MailAlertData, texts: MailTexts) -> str | None:
    begun, ended = parse_instant(alert.started_at), parse_instant(alert.resolved_at)
    return None if begun is None or ended is None else format_duration((ended - begun).total_seconds(), texts)


def _rows(event: MailAlertEvent, place: AlertLocation, texts: MailTexts) -> Iterator[tuple[str, str]]:
    alert, labels, zone = event.data, texts.labels, place.zone
    found: list[tuple[str, str | None]] = [
        ("severity", None if alert.severity is None else format_severity(alert.severity, texts)),
        ("highest_severity", _other_than(alert.highest_severity, alert.severity, texts)),
        ("site", place.site),
        ("box", _box(alert, texts)),
        ("rule", clean_line(alert.rule_name or "", _NAME_LIMIT)),
        *list_comparison_values(alert, zone, texts),
        ("pending_since", _earlier(alert, zone, texts)),
        ("started_at", format_local_time(alert.started_at, zone, texts)),
        ("resolved_at", format_local_time(alert.resolved_at, zone, texts)),
        ("lasted", _lasted(alert, texts)),
        ("acknowledged_at", format_local_time(alert.acknowledged_at, zone, texts)),
        ("acknowledged_by", _acknowledger(alert)),
        ("assignee", clean_line(alert.assignee or "", _NAME_LIMIT)),
    ]
    return ((labels[name], value) for name, value in found if value)


def _other_than(severity: str | None, usual: str | None, texts: MailTexts) -> str | None:
    return None if severity in (None, usual) else format_severity(severity, texts)


def _earlier(alert: MailAlertData, zone: str | None, texts: MailTexts) -> str | None:
    """Since when the condition held, where that was before it fired."""
    return (
        None
        if alert.pending_since == alert.started_at
        else format_local_time(alert.pending_since, zone, texts)
    )
