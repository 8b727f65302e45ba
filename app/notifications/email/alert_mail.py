"""Builds the mail about one alert, and an alert's entry in the mail about a group. Pure.

`alert_values` formats the measured values.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from app.notifications.email.alert_values import RESOLVED, format_alert_value, list_comparison_values
from app.notifications.email.mail_event_schemas import MailAlertData, MailAlertEvent
from app.notifications.email.mail_texts import MailTexts
from app.presentation.date_formats import format_duration, format_local_time, parse_instant
from app.presentation.mail_layout import SUBJECT_LIMIT, MailContent, MailListItem, MailTone
from app.presentation.number_formats import format_count
from app.presentation.typography import clean_line, clean_lines, truncate_text

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
    """A site's name and time zone.

    Attributes:
        name: The site's name.
        timezone: The IANA name of its time zone.
    """

    name: str
    timezone: str


class AlertLocation(NamedTuple):
    """An alert's site: its cleaned name and its time zone; None if unknown."""

    site: str | None
    zone: str | None


def find_alert_location(alert: MailAlertData, sites: Mapping[str, SiteName]) -> AlertLocation:
    """Find an alert's site among the given ones."""
    found = sites.get(alert.site_id or "")
    if found is None:
        return AlertLocation(clean_line(alert.site_name or "", _NAME_LIMIT) or None, None)
    return AlertLocation(clean_line(found.name, _NAME_LIMIT), found.timezone)


def build_alert_mail(event: MailAlertEvent, sites: Mapping[str, SiteName], texts: MailTexts) -> MailContent:
    """Build the mail of an event of an alert."""
    alert = event.data
    location = find_alert_location(alert, sites)
    tone, word = choose_badge(event, texts)
    rule = clean_line(alert.rule_name or "", _NAME_LIMIT) or texts.labels["rule"]
    footer = [texts.footer]
    if alert.alert_id is not None:
        known = clean_line(alert.alert_id, _NAME_LIMIT)
        footer.insert(0, texts.footer_alert.format(id=known, sequence=alert.sequence or 1))
    return MailContent(
        subject=_subject(event, location, texts),
        tone=tone,
        word=word,
        title=_join_rule_and_site(rule, location.site, texts),
        lead=_lead(event, texts),
        rows=tuple(_rows(event, location, texts)),
        advice=split_advice_lines(alert),
        footer=tuple(footer),
        link=sanitize_link(alert.link),
        thread=None if alert.alert_id is None else f"alert-{alert.alert_id}",
    )


def build_alert_item(
    event: MailAlertEvent, sites: Mapping[str, SiteName], texts: MailTexts, *, placed: bool
) -> MailListItem:
    """Build an alert's item in a list.

    Args:
        event: The alert's event.
        sites: The names of sites, by id.
        texts: The texts of the language.
        placed: Whether the item names the rule and the site.
    """
    alert = event.data
    location = find_alert_location(alert, sites)
    tone, word = choose_badge(event, texts, in_list=True)
    title = _box(alert, texts)
    if placed:
        rule = clean_line(alert.rule_name or "", _NAME_LIMIT)
        title = f"{title} \u2014 {_join_rule_and_site(rule, location.site, texts)}" if rule else title
    change = "" if event.type == _ENDED else _describe_change(event, texts)
    details = [change] if change else []
    if figure := format_alert_value(alert, texts):
        details.append(figure)
    lasted = _lasted(alert, texts)
    since = format_local_time(alert.started_at, location.zone, texts.language)
    if alert.state == RESOLVED and lasted is not None:
        details.append(texts.lasted.format(lasted))
    elif since is not None:
        details.append(texts.since.format(since))
    if event.events_count > 1:
        details.append(texts.events.format(event.events_count))
    return MailListItem(tone, word, title, ", ".join(details), sanitize_link(alert.link))


def choose_badge(event: MailAlertEvent, texts: MailTexts, *, in_list: bool = False) -> tuple[MailTone, str]:
    """Choose the colour and the word of an alert's badge: resolved, acknowledged, or its severity."""
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
    """Return the lines of the rule's advice."""
    return tuple(clean_lines(alert.description or "", _ADVICE_LIMIT))


def _join_rule_and_site(rule: str, site: str | None, texts: MailTexts) -> str:
    return rule if site is None else texts.place.format(rule=rule, site=site)


def _subject(event: MailAlertEvent, location: AlertLocation, texts: MailTexts) -> str:
    alert = event.data
    _, word = choose_badge(event, texts)
    rule = clean_line(alert.rule_name or "", _SUBJECT_NAME_LIMIT) or texts.labels["rule"]
    site = None if location.site is None else truncate_text(location.site, _SUBJECT_NAME_LIMIT)
    change = "" if event.type in (_ENDED, _ACKNOWLEDGED) else _describe_change(event, texts)
    subject = (
        f"[{word}] " + (f"{change}{texts.colon}" if change else "") + _join_rule_and_site(rule, site, texts)
    )
    figure = format_alert_value(alert, texts)
    return truncate_text(f"{subject}{texts.colon}{figure}" if figure else subject, SUBJECT_LIMIT)


def _describe_change(event: MailAlertEvent, texts: MailTexts) -> str:
    return texts.happened.get(event.type, "").format(who=_who(event.data))


def _who(alert: MailAlertData) -> str:
    return _acknowledger(alert) or "?"


def _acknowledger(alert: MailAlertData) -> str:
    """Return the acknowledger's name; empty if unknown. Older events have a string."""
    by = alert.acknowledged_by
    return clean_line((by if isinstance(by, str) or by is None else by.name) or "", _NAME_LIMIT)


def get_alert_sentence(alert: MailAlertData, texts: MailTexts) -> str:
    """Return the event's sentence; empty if it has none."""
    sentence = alert.sentence_fr if texts.language == "fr" else alert.sentence
    return clean_line(sentence or "", _SENTENCE_LIMIT)


def sanitize_link(link: str | None) -> str | None:
    """Return an http or https link without spaces; None for any other."""
    return link if link is not None and _LINK.fullmatch(link) else None


def _lead(event: MailAlertEvent, texts: MailTexts) -> str:
    alert = event.data
    lead = texts.leads.get(event.type)
    if lead is None:
        return clean_line(event.type, _NAME_LIMIT)
    why = alert.resolution or ""
    sentence = get_alert_sentence(alert, texts)
    change = lead.format(
        previous=format_severity(alert.previous_severity, texts),
        severity=format_severity(alert.severity, texts),
        reason=texts.reasons.get(alert.reason or "", ""),
        why=texts.resolutions.get(why) or clean_line(why, _NAME_LIMIT) or "?",
        who=_who(alert),
    )
    return f"{change} {sentence}." if sentence else change


def _box(alert: MailAlertData, texts: MailTexts) -> str:
    """Name the box, or the whole site with the boxes that caused the alert."""
    if alert.box is not None:
        box, name = clean_line(alert.box, _NAME_LIMIT), clean_line(alert.box_name or "", _NAME_LIMIT)
        return f"{name} ({box})" if name and name != box else box
    behind = [clean_line(box, _NAME_LIMIT) for box in alert.cause.boxes] if alert.cause else []
    if not behind:
        return texts.whole_site
    names = ", ".join(behind[:_BOXES_LISTED])
    if len(behind) > _BOXES_LISTED:
        names += f" {format_count(len(behind) - _BOXES_LISTED, texts.and_more, texts.language)}"
    return f"{texts.whole_site} ({names})"


def _lasted(alert: MailAlertData, texts: MailTexts) -> str | None:
    begun, ended = parse_instant(alert.started_at), parse_instant(alert.resolved_at)
    return (
        None
        if begun is None or ended is None
        else format_duration((ended - begun).total_seconds(), texts.language)
    )


def _rows(event: MailAlertEvent, location: AlertLocation, texts: MailTexts) -> Iterator[tuple[str, str]]:
    alert, labels, zone = event.data, texts.labels, location.zone
    found: list[tuple[str, str | None]] = [
        ("severity", None if alert.severity is None else format_severity(alert.severity, texts)),
        ("highest_severity", _differing_severity(alert.highest_severity, alert.severity, texts)),
        ("site", location.site),
        ("box", _box(alert, texts)),
        ("rule", clean_line(alert.rule_name or "", _NAME_LIMIT)),
        *list_comparison_values(alert, zone, texts),
        ("pending_since", _pending_since(alert, zone, texts)),
        ("started_at", format_local_time(alert.started_at, zone, texts.language)),
        ("resolved_at", format_local_time(alert.resolved_at, zone, texts.language)),
        ("lasted", _lasted(alert, texts)),
        ("acknowledged_at", format_local_time(alert.acknowledged_at, zone, texts.language)),
        ("acknowledged_by", _acknowledger(alert)),
        ("assignee", clean_line(alert.assignee or "", _NAME_LIMIT)),
    ]
    return ((labels[name], value) for name, value in found if value)


def _differing_severity(severity: str | None, usual: str | None, texts: MailTexts) -> str | None:
    return None if severity in (None, usual) else format_severity(severity, texts)


def _pending_since(alert: MailAlertData, zone: str | None, texts: MailTexts) -> str | None:
    """Format the time from which the condition held, if it was before the alert fired."""
    return (
        None
        if alert.pending_since == alert.started_at
        else format_local_time(alert.pending_since, zone, texts.language)
    )
