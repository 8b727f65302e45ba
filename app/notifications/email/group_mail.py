"""A mail of several alerts (`alert.group`): how many there are of what, and a list of them. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from app.notifications.email.alert_mail import (
    SiteName,
    build_alert_item,
    build_alert_mail,
    choose_badge,
    find_alert_location,
    format_severity,
    split_advice_lines,
)
from app.notifications.email.alert_values import RESOLVED
from app.notifications.email.event_bodies import MailAlertData, MailAlertEvent, MailGroupData
from app.notifications.email.mail_formats import clean_line, format_count, truncate_text
from app.notifications.email.mail_layout import SUBJECT_LIMIT, MailContent, MailTone
from app.notifications.email.mail_texts import MailTexts

MOST_LISTED: Final = 50
"""Of a mail: more alerts than this are counted, but not listed."""

_GRAVEST_FIRST: Final[tuple[MailTone, ...]] = ("critical", "warning", "info", "plain", "resolved")
_NAME_LIMIT: Final = 50
_THREAD_CHARACTERS: Final = 32


def build_group_mail(group: MailGroupData, sites: Mapping[str, SiteName], texts: MailTexts) -> MailContent:
    """Make the mail of a group. One that is of a single alert reads like that alert's own."""
    if len(group.events) == 1 and not group.truncated:
        return build_alert_mail(group.events[0], sites, texts)._replace(thread=_thread(group))
    events = sorted(group.events, key=lambda event: _place_in_list(event, texts))
    rules = _distinct(
        clean_line(name, _NAME_LIMIT) for name in _distinct(event.data.rule_name or "" for event in events)
    )
    places = _distinct(find_alert_location(event.data, sites).site or "" for event in events)
    shared = len(rules) <= 1 and len(places) <= 1
    about = _about(rules, places, texts)
    counts = ", ".join(
        format_count(count, words, texts)
        for words, count in ((texts.firing, group.firing), (texts.resolved, group.resolved))
        if count
    )
    tone, word = _gravest(events, texts)
    unlisted = group.truncated + max(0, len(events) - MOST_LISTED)
    return MailContent(
        subject=truncate_text(f"[{word}] {counts}{texts.colon}{about}", SUBJECT_LIMIT),
        tone=tone,
        word=word,
        title=about,
        lead=texts.counted.format(counts=counts),
        advice=_advice([event.data for event in events]),
        items=tuple(
            build_alert_item(event, sites, texts, placed=not shared) for event in events[:MOST_LISTED]
        ),
        more=format_count(unlisted, texts.unlisted, texts) if unlisted else None,
        footer=(texts.footer,),
        thread=_thread(group),
    )


def _place_in_list(event: MailAlertEvent, texts: MailTexts) -> int:
    return _GRAVEST_FIRST.index(choose_badge(event, texts, in_list=True)[0])


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, names)))


def _about(rules: list[str], places: list[str], texts: MailTexts) -> str:
    rule = rules[0] if len(rules) == 1 else texts.rules.format(len(rules))
    if not places:
        return rule
    site = truncate_text(places[0], _NAME_LIMIT) if len(places) == 1 else texts.sites.format(len(places))
    return texts.place.format(rule=rule, site=site)


def _gravest(events: list[MailAlertEvent], texts: MailTexts) -> tuple[MailTone, str]:
    """What stands before the subject: the gravest severity that fires, or that all are over."""
    firing = [event for event in events if event.data.state != RESOLVED]
    if not firing:
        return "resolved", texts.tags["resolved"]
    first = firing[0]
    return choose_badge(first, texts, in_list=True)[0], format_severity(first.data.severity, texts)


def _advice(alerts: list[MailAlertData]) -> tuple[str, ...]:
    """What is to be done, where all alerts say the same."""
    descriptions = {alert.description for alert in alerts}
    return split_advice_lines(alerts[0]) if len(descriptions) == 1 else ()


def _thread(group: MailGroupData) -> str | None:
    """Name the group: its notifications have the same labels, in whatever order."""
    if not group.group:
        return None
    labels = msgspec.json.encode(group.group, order="sorted")
    return f"group-{hashlib.sha256(labels).hexdigest()[:_THREAD_CHARACTERS]}"
