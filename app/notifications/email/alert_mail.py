"""A mail of one alert, and an alert as a line of a list. Pure.

Owns which of an alert's data is told, and in which words; but for what was measured, which is in `figures`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from app.notifications.email.alert_values import RESOLVED, comparison, figure_of
from app.notifications.email.event_bodies import Alert, AlertEvent
from app.notifications.email.mail_content import SUBJECT_LIMIT, Item, Page, Tone
from app.notifications.email.mail_formats import (
    clean,
    clean_lines,
    counted,
    cut,
    duration,
    instant,
    moment,
)
from app.notifications.email.mail_texts import Texts

_ACKNOWLEDGED: Final = "alert.acknowledged"
_ENDED: Final = "alert.resolved"
_NAME_LIMIT: Final = 120
_SUBJECT_NAME_LIMIT: Final = 50
_ADVICE_LIMIT: Final = 2000
_BOXES_LISTED: Final = 10
_SENTENCE_LIMIT: Final = 1000
_LINK: Final = re.compile(r"https?://[!-~]{1,1000}")
_TONES: Final[Mapping[str, Tone]] = {"critical": "critical", "warning": "warning", "info": "info"}


class SiteName(NamedTuple):
    """What a mail says of a site.

    Attributes:
        name: What it is called.
        timezone: IANA's name of its time zone.
    """

    name: str
    timezone: str


class Place(NamedTuple):
    """Where an alert is: the site's name, cleaned, and its time zone; None where neither is known."""

    site: str | None
    zone: str | None


def place_of(alert: Alert, sites: Mapping[str, SiteName]) -> Place:
    """Find an alert's site among those that the mail may speak of."""
    found = sites.get(alert.site_id or "")
    if found is None:
        return Place(clean(alert.site_name or "", _NAME_LIMIT) or None, None)
    return Place(clean(found.name, _NAME_LIMIT), found.timezone)


def alert_page(event: AlertEvent, sites: Mapping[str, SiteName], texts: Texts) -> Page:
    """Make the mail of an event of an alert."""
    alert = event.data
    place = place_of(alert, sites)
    tone, word = badge(event, texts)
    rule = clean(alert.rule_name or "", _NAME_LIMIT) or texts.labels["rule"]
    footer = [texts.footer]
    if alert.alert_id is not None:
        known = clean(alert.alert_id, _NAME_LIMIT)
        footer.insert(0, texts.footer_alert.format(id=known, sequence=alert.sequence or 1))
    return Page(
        subject=_subject(event, place, texts),
        tone=tone,
        word=word,
        title=_placed(rule, place.site, texts),
        lead=_lead(event, texts),
        rows=tuple(_rows(event, place, texts)),
        advice=advice_of(alert),
        footer=tuple(footer),
        link=link_of(alert.link),
        thread=None if alert.alert_id is None else f"alert-{alert.alert_id}",
    )


def item_of(event: AlertEvent, sites: Mapping[str, SiteName], texts: Texts, *, placed: bool) -> Item:
    """Make the line of an alert in a list; `placed`: with its rule and its site."""
    alert = event.data
    place = place_of(alert, sites)
    tone, word = badge(event, texts, in_list=True)
    title = _box(alert, texts)
    if placed:
        rule = clean(alert.rule_name or "", _NAME_LIMIT)
        title = f"{title} \u2014 {_placed(rule, place.site, texts)}" if rule else title
    happened = "" if event.type == _ENDED else _happened(event, texts)
    details = [happened] if happened else []
    if figure := figure_of(alert, texts):
        details.append(figure)
    lasted = _lasted(alert, texts)
    since = moment(alert.started_at, place.zone, texts)
    if alert.state == RESOLVED and lasted is not None:
        details.append(texts.lasted.format(lasted))
    elif since is not None:
        details.append(texts.since.format(since))
    if event.events_count > 1:
        details.append(texts.events.format(event.events_count))
    return Item(tone, word, title, ", ".join(details), link_of(alert.link))


def badge(event: AlertEvent, texts: Texts, *, in_list: bool = False) -> tuple[Tone, str]:
    """Say in a word what matters most: that it is over, that somebody sees to it, or how grave it is."""
    alert = event.data
    if alert.state == RESOLVED or event.type == _ENDED:
        return "resolved", texts.tags["resolved"]
    tone = _TONES.get(alert.severity or "", "plain")
    if event.type == _ACKNOWLEDGED and not in_list:
        return tone, texts.tags["acknowledged"]
    return tone, severity_word(alert.severity, texts)


def severity_word(severity: str | None, texts: Texts) -> str:
    """Return a severity in words."""
    if severity is None:
        return texts.tags["other"]
    return texts.severities.get(severity) or clean(severity, _NAME_LIMIT) or texts.tags["other"]


def advice_of(alert: Alert) -> tuple[str, ...]:
    """Return the lines of what is to be done, as the rule says it."""
    return tuple(clean_lines(alert.description or "", _ADVICE_LIMIT))


def _placed(rule: str, site: str | None, texts: Texts) -> str:
    return rule if site is None else texts.place.format(rule=rule, site=site)


def _subject(event: AlertEvent, place: Place, texts: Texts) -> str:
    alert = event.data
    _, word = badge(event, texts)
    rule = clean(alert.rule_name or "", _SUBJECT_NAME_LIMIT) or texts.labels["rule"]
    site = None if place.site is None else cut(place.site, _SUBJECT_NAME_LIMIT)
    happened = "" if event.type in (_ENDED, _ACKNOWLEDGED) else _happened(event, texts)
    subject = f"[{word}] " + (f"{happened}{texts.colon}" if happened else "") + _placed(rule, site, texts)
    figure = figure_of(alert, texts)
    return cut(f"{subject}{texts.colon}{figure}" if figure else subject, SUBJECT_LIMIT)


def _happened(event: AlertEvent, texts: Texts) -> str:
    return texts.happened.get(event.type, "").format(who=_who(event.data))


def _who(alert: Alert) -> str:
    return _acknowledger(alert) or "?"


def _acknowledger(alert: Alert) -> str:
    """The name of who acknowledged it; empty where it has none. Events had the name alone before."""
    by = alert.acknowledged_by
    return clean((by if isinstance(by, str) or by is None else by.name) or "", _NAME_LIMIT)


def sentence_of(alert: Alert, texts: Texts) -> str:
    """Return what happened in one sentence, as the event says it; empty where it does not."""
    said = alert.sentence_fr if texts.language == "fr" else alert.sentence
    return clean(said or "", _SENTENCE_LIMIT)


def link_of(link: str | None) -> str | None:
    """Return a link as a mail may have it: to a page of the web, without spaces."""
    return link if link is not None and _LINK.fullmatch(link) else None


def _lead(event: AlertEvent, texts: Texts) -> str:
    alert = event.data
    lead = texts.leads.get(event.type)
    if lead is None:
        return clean(event.type, _NAME_LIMIT)
    why = alert.resolution or ""
    said = sentence_of(alert, texts)
    happened = lead.format(
        previous=severity_word(alert.previous_severity, texts),
        severity=severity_word(alert.severity, texts),
        reason=texts.reasons.get(alert.reason or "", ""),
        why=texts.resolutions.get(why) or clean(why, _NAME_LIMIT) or "?",
        who=_who(alert),
    )
    return f"{happened} {said}." if said else happened


def _box(alert: Alert, texts: Texts) -> str:
    """The box; or that it is the site as a whole, and the boxes behind that."""
    if alert.box is not None:
        box, name = clean(alert.box, _NAME_LIMIT), clean(alert.box_name or "", _NAME_LIMIT)
        return f"{name} ({box})" if name and name != box else box
    behind = [clean(box, _NAME_LIMIT) for box in alert.cause.boxes] if alert.cause else []
    if not behind:
        return texts.whole_site
    names = ", ".join(behind[:_BOXES_LISTED])
    if len(behind) > _BOXES_LISTED:
        names += f" {counted(len(behind) - _BOXES_LISTED, texts.and_more, texts)}"
    return f"{texts.whole_site} ({names})"


def _lasted(alert: Alert, texts: Texts) -> str | None:
    begun, ended = instant(alert.started_at), instant(alert.resolved_at)
    return None if begun is None or ended is None else duration((ended - begun).total_seconds(), texts)


def _rows(event: AlertEvent, place: Place, texts: Texts) -> Iterator[tuple[str, str]]:
    alert, labels, zone = event.data, texts.labels, place.zone
    found: list[tuple[str, str | None]] = [
        ("severity", None if alert.severity is None else severity_word(alert.severity, texts)),
        ("highest_severity", _other_than(alert.highest_severity, alert.severity, texts)),
        ("site", place.site),
        ("box", _box(alert, texts)),
        ("rule", clean(alert.rule_name or "", _NAME_LIMIT)),
        *comparison(alert, zone, texts),
        ("pending_since", _earlier(alert, zone, texts)),
        ("started_at", moment(alert.started_at, zone, texts)),
        ("resolved_at", moment(alert.resolved_at, zone, texts)),
        ("lasted", _lasted(alert, texts)),
        ("acknowledged_at", moment(alert.acknowledged_at, zone, texts)),
        ("acknowledged_by", _acknowledger(alert)),
        ("assignee", clean(alert.assignee or "", _NAME_LIMIT)),
    ]
    return ((labels[name], value) for name, value in found if value)


def _other_than(severity: str | None, usual: str | None, texts: Texts) -> str | None:
    return None if severity in (None, usual) else severity_word(severity, texts)


def _earlier(alert: Alert, zone: str | None, texts: Texts) -> str | None:
    """Since when the condition held, where that was before it fired."""
    return None if alert.pending_since == alert.started_at else moment(alert.pending_since, zone, texts)
