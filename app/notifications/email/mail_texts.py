"""Defines the texts of mails, with placeholders, in English and (from the message catalogue) in French.

Callers fill in the placeholders, always with cleaned texts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from app.presentation.languages import Language
from app.presentation.translation import translate_fields
from app.presentation.typography import COLONS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MailTexts:
    """The texts of one language.

    Attributes:
        language: The value of `Content-Language`.
        place: A rule and its site in a subject.
        tags, happened, leads: By type of event: the badge, the text in lists, and the first sentence.
        resolutions, reasons: Why an alert ended, and why its severity changed.
        functions, kinds, recognised: Names of functions, endpoint kinds, and events that boxes recognise.
        quotas: The names of quotas.
        evidences: How well the position of an incident is known.
        and_more, firing, resolved, unlisted: Singular and plural.
    """

    language: Language
    severities: Mapping[str, str]
    place: str
    tags: Mapping[str, str]
    happened: Mapping[str, str]
    leads: Mapping[str, str]
    resolutions: Mapping[str, str]
    reasons: Mapping[str, str]
    functions: Mapping[str, str]
    over: str
    limit: str
    upper_bound: str
    silence: str
    silence_of: str
    kinds: Mapping[str, str]
    recognised: Mapping[str, str]
    quotas: Mapping[str, str]
    evidences: Mapping[str, str]
    labels: Mapping[str, str]
    whole_site: str
    and_more: tuple[str, str]
    firing: tuple[str, str]
    resolved: tuple[str, str]
    counted: str
    rules: str
    sites: str
    since: str
    lasted: str
    events: str
    unlisted: tuple[str, str]
    test: tuple[str, str]
    test_of_server: tuple[str, str]
    notices: Mapping[str, tuple[str, str]]
    other: tuple[str, str]
    footer: str
    footer_alert: str
    footer_test: str

    @property
    def colon(self) -> str:
        """The colon between a label and its value."""
        return COLONS[self.language]


TEXTS: Final = MailTexts(
    language="en",
    severities={"info": "Info", "warning": "Warning", "critical": "Critical"},
    place="{rule} at {site}",
    tags={"resolved": "Resolved", "acknowledged": "Acknowledged", "other": "Vigie"},
    happened={
        "alert.escalated": "Escalated",
        "alert.deescalated": "De-escalated",
        "alert.reminder": "Reminder",
        "alert.acknowledged": "acknowledged by {who}",
        "alert.resolved": "resolved",
    },
    leads={
        "alert.firing": "An alert has begun to fire.",
        "alert.escalated": "The alert escalated from {previous} to {severity}{reason}.",
        "alert.deescalated": "The alert de-escalated from {previous} to {severity}{reason}.",
        "alert.resolved": "The alert is over: {why}.",
        "alert.acknowledged": "{who} has acknowledged the alert.",
        "alert.reminder": "The alert is still firing, and nobody has acknowledged it.",
    },
    resolutions={
        "cleared": "the condition no longer holds",
        "out_of_hours": "the rule's active hours have ended",
        "rule_changed": "its rule was changed",
        "rule_disabled": "its rule was disabled",
        "rule_deleted": "its rule was deleted",
        "rule_gone": "its rule is no longer for this box",
        "box_deleted": "the box was deleted",
        "box_moved": "the box was moved to another site",
        "superseded": "its state was lost, and a new alert has replaced it",
    },
    reasons={
        "samples": ", according to the measurements",
        "unacknowledged": ", because nobody acknowledged it in time",
        "person": ", because a person raised its severity",
    },
    functions={
        "mean": "mean",
        "sum": "sum",
        "energy_mean": "energy mean",
        "min": "lowest value",
        "max": "highest value",
        "percentile": "percentile",
        "rate": "change per hour",
        "spread": "spread",
        "count": "number of values",
    },
    over="{function} over {window}",
    limit="limit {}",
    upper_bound="upper bound {}",
    silence="no data for {}",
    silence_of="no {metric} for {duration}",
    kinds={
        "webhook": "Webhook",
        "email": "E-mail channel",
        "mqtt": "MQTT channel",
        "slack": "Slack channel",
        "teams": "Microsoft Teams channel",
        "discord": "Discord channel",
        "pagerduty": "PagerDuty channel",
        "ntfy": "ntfy channel",
        "alertmanager": "Alertmanager channel",
    },
    recognised={"gunshot": "gunshot", "tamper": "tampering"},
    quotas={
        "sites": "sites",
        "boxes": "boxes",
        "api_keys": "API keys",
        "webhooks": "webhooks and channels",
        "clients": "clients",
        "samples_per_day": "samples a day",
    },
    evidences={
        "unlocated": "not located: one box alone heard it",
        "branch": "on a curve: two boxes heard it",
        "position": "a position, of three boxes or more",
    },
    labels={
        "occurred_at": "Heard at",
        "evidence": "Evidence",
        "position": "Latitude, longitude",
        "class": "Most likely",
        "probability": "A gunshot or an explosion",
        "rounds": "Rounds",
        "boxes": "Heard by",
        "outcome": "Found",
        "severity": "Severity",
        "highest_severity": "Highest severity",
        "site": "Site",
        "box": "Box",
        "rule": "Rule",
        "value": "Measured",
        "period_end": "End of the period",
        "limit": "Limit",
        "upper_bound": "Upper bound",
        "clear": "Over at",
        "silent": "Silent for",
        "allowed": "Allowed",
        "event": "Recognised",
        "event_at": "Recognised at",
        "confidence": "Required confidence",
        "pending_since": "Condition met since",
        "started_at": "Firing since",
        "resolved_at": "Resolved at",
        "resolved_value": "Last value",
        "lasted": "Lasted",
        "acknowledged_at": "Acknowledged at",
        "acknowledged_by": "Acknowledged by",
        "assignee": "Assigned to",
        "target": "Goes to",
        "kind": "Kind",
        "description": "Description",
        "failing_since": "Failing since",
        "last_reason": "Last failure",
        "last_status": "Last status",
        "pending": "Waiting",
        "subscription": "Subscription",
        "sink": "Sink",
        "dropped": "Dropped",
        "total": "Since the broker's start",
        "quota": "Quota",
        "limit_of_quota": "Limit",
        "used": "Used",
        "refused": "Refused today",
        "resets_at": "Reset at",
        "broker_started_at": "Broker started at",
        "type": "Type",
        "timestamp": "At",
    },
    whole_site="the site as a whole",
    and_more=("and {} more", "and {} more"),
    firing=("{} firing", "{} firing"),
    resolved=("{} resolved", "{} resolved"),
    counted="{counts}.",
    rules="{} rules",
    sites="{} sites",
    since="since {}",
    lasted="after {}",
    events="{} events",
    unlisted=("{} more alert is not listed here.", "{} more alerts are not listed here."),
    test=(
        "Test of this channel",
        "This is a test: this channel's alerts will arrive here too.",
    ),
    test_of_server=("Test of the mail server", "This is a test: Vigie's mails arrive."),
    notices={
        "endpoint.failing": (
            "Deliveries are failing",
            (
                "Nothing has been delivered to this endpoint for a long time. Vigie keeps trying, and will "
                "disable the endpoint if nothing changes. Please check the receiver."
            ),
        ),
        "endpoint.disabled.gone": (
            "Disabled",
            (
                "The receiver answered that it is permanently gone (410), so Vigie no longer sends "
                "anything to "
                "it. Enable the endpoint again once the receiver is back."
            ),
        ),
        "endpoint.disabled.failing": (
            "Disabled",
            (
                "Nothing could be delivered to this endpoint for too long, so Vigie no longer sends "
                "anything to "
                "it. Enable it again once it works: pending deliveries are then sent."
            ),
        ),
        "subscription.failing": (
            "Measurements are not delivered",
            (
                "Nothing has reached the sink of this subscription for a long time. Vigie keeps trying, and "
                "will disable the subscription if nothing changes. Please check the receiver."
            ),
        ),
        "subscription.disabled.gone": (
            "Subscription to measurements disabled",
            (
                "The receiver answered that it is permanently gone (410), so Vigie no longer sends "
                "measurements to it. Resume the subscription once the receiver is back: it continues where "
                "it stopped."
            ),
        ),
        "subscription.disabled.failing": (
            "Subscription to measurements disabled",
            (
                "Nothing could be delivered to the sink for too long, so Vigie no longer sends measurements "
                "to it. Resume the subscription once the receiver works: it continues where it stopped."
            ),
        ),
        "subscription.disabled.access_lost": (
            "Subscription to measurements disabled",
            (
                "The API key or the person with whose access the subscription reads may no longer read "
                "measurements, so Vigie no longer sends any. Resume the subscription with another key: it "
                "continues where it stopped."
            ),
        ),
        "incident.detected": (
            "Possible gunshot",
            "Boxes heard what may be a gunshot or an explosion. It has not been reviewed yet.",
        ),
        "incident.updated": (
            "Possible gunshot: more is known",
            "Later reports changed what is known about an incident. It has not been reviewed yet.",
        ),
        "incident.confirmed": ("Incident confirmed", "A person reviewed the incident and confirmed it."),
        "incident.dismissed": (
            "Incident dismissed",
            "A person reviewed the incident and dismissed it, or none of its data is left.",
        ),
        "quota.warning": (
            "A quota is nearly used up",
            (
                "Four fifths of the day's quota are used. Until midnight UTC, samples above the quota are "
                "refused and held in quarantine."
            ),
        ),
        "quota.exceeded": (
            "A quota is used up",
            (
                "Anything above the quota is refused. Refused samples are held in quarantine: they can be "
                "replayed once the quota is raised, or the next day."
            ),
        ),
        "platform.messages_dropped": (
            "The broker dropped messages",
            (
                "A queue of the broker was full. Boxes that wait for Vigie's own acknowledgements will send "
                "their messages again; those of other boxes are lost."
            ),
        ),
    },
    other=("{type}", "Vigie reports an event for which this mail has no text:"),
    footer="Your address is on an e-mail channel of Vigie. Its administrators can remove it.",
    footer_alert="Alert {id}, message {sequence}.",
    footer_test="An administrator of Vigie sent this test to your address.",
)
"""The texts as typed, which the message catalogue has as `msgid`."""

ENGLISH: Final = translate_fields(TEXTS, "en", context="mail")
FRENCH: Final = translate_fields(TEXTS, "fr", context="mail")


def get_mail_texts(language: str) -> MailTexts:
    """Return the texts of a language; English for an unknown one."""
    return FRENCH if language == FRENCH.language else ENGLISH
