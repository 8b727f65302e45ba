"""Builds the content of a mail about several alerts (`alert.group`): counts and a list. Pure."""

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
from app.notifications.email.mail_event_schemas import MailAlertData, MailAlertEvent, MailGroupData
from app.notifications.email.mail_texts import MailTexts
from app.presentation.mail_layout import SUBJECT_LIMIT, MailContent, MailTone
from app.presentation.number_formats import format_count
from app.presentation.typography import clean_line, truncate_text

MOST_LISTED: Final = 50
"""The most alerts that a mail lists; further ones are only counted."""

_HIGHEST_FIRST: Final[tuple[MailTone, ...]] = ("critical", "warning", "info", "plain", "resolved")
_NAME_LIMIT: Final = 50
_THREAD_CHARACTERS: Final = 32


def build_group_mail(group: MailGroupData, sites: Mapping[str, SiteName], texts: MailTexts) -> MailContent:
    """Build the mail of a group. A group of a single alert reads like that alert's own mail."""
    if len(group.events) == 1 and not group.truncated:
        return build_alert_mail(group.events[0], sites, texts)._replace(thread=_thread(group))
    events = sorted(group.events, key=lambda event: _sort_rank(event, texts))
    rules = _distinct(
        clean_line(name, _NAME_LIMIT) for name in _distinct(event.data.rule_name or "" for event in events)
    )
    site_names = _distinct(find_alert_location(event.data, sites).site or "" for event in events)
    shared = len(rules) <= 1 and len(site_names) <= 1
    description = _describe_group(rules, site_names, texts)
    counts = ", ".join(
        format_count(count, words, texts.language)
        for words, count in ((texts.firing, group.firing), (texts.resolved, group.resolved))
        if count
    )
    tone, word = _choose_group_badge(events, texts)
    unlisted = group.truncated + max(0, len(events) - MOST_LISTED)
    return MailContent(
        subject=truncate_text(f"[{word}] {counts}{texts.colon}{description}", SUBJECT_LIMIT),
        tone=tone,
        word=word,
        title=description,
        lead=texts.counted.format(counts=counts),
        advice=_advice([event.data for event in events]),
        items=tuple(
            build_alert_item(event, sites, texts, placed=not shared) for event in events[:MOST_LISTED]
        ),
        more=format_count(unlisted, texts.unlisted, texts.language) if unlisted else None,
        footer=(texts.footer,),
        thread=_thread(group),
    )


def _sort_rank(event: MailAlertEvent, texts: MailTexts) -> int:
    return _HIGHEST_FIRST.index(choose_badge(event, texts, in_list=True)[0])


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, names)))


def _describe_group(rules: list[str], site_names: list[str], texts: MailTexts) -> str:
    rule = rules[0] if len(rules) == 1 else texts.rules.format(len(rules))
    if not site_names:
        return rule
    site = (
        truncate_text(site_names[0], _NAME_LIMIT)
        if len(site_names) == 1
        else texts.sites.format(len(site_names))
    )
    return texts.place.format(rule=rule, site=site)


def _choose_group_badge(events: list[MailAlertEvent], texts: MailTexts) -> tuple[MailTone, str]:
    """Choose the badge of the mail: the highest severity that fires, or resolved."""
    firing = [event for event in events if event.data.state != RESOLVED]
    if not firing:
        return "resolved", texts.tags["resolved"]
    first = firing[0]
    return choose_badge(first, texts, in_list=True)[0], format_severity(first.data.severity, texts)


def _advice(alerts: list[MailAlertData]) -> tuple[str, ...]:
    """Return the advice if all alerts have the same."""
    descriptions = {alert.description for alert in alerts}
    return split_advice_lines(alerts[0]) if len(descriptions) == 1 else ()


def _thread(group: MailGroupData) -> str | None:
    """Return the thread of a group's mails, from its labels in a fixed order."""
    if not group.group:
        return None
    labels = msgspec.json.encode(group.group, order="sorted")
    return f"group-{hashlib.sha256(labels).hexdigest()[:_THREAD_CHARACTERS]}"
