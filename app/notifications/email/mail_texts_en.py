"""What mails say in English. Data only."""

from typing import Final

from app.notifications.email.mail_texts import NBSP, MailTexts

ENGLISH: Final = MailTexts(
    language="en",
    digits={},
    apostrophes={},
    months=(
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    first="1",
    moment="{day} {month} {year} at {clock} ({zone})",
    day="d",
    percent=f"{NBSP}%",
    colon=": ",
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
        "alert.escalated": "The alert has become graver: from {previous} to {severity}{reason}.",
        "alert.deescalated": "The alert has become milder: from {previous} to {severity}{reason}.",
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
        "superseded": "its state was lost, and a new alert has taken its place",
    },
    reasons={
        "samples": ", by what is measured",
        "unacknowledged": ", because nobody acknowledged it in time",
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
        "confidence": "Confidence asked for",
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
    advice="What to do",
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
        "This is a test: whoever reads it will get this channel's alerts too.",
    ),
    test_of_server=("Test of the mail server", "This is a test: Vigie's mails arrive."),
    notices={
        "endpoint.failing": (
            "Nothing gets through",
            (
                "Nothing has been delivered there for a long time. Vigie goes on trying, and disables it "
                "if that does not change. Please see to the receiver."
            ),
        ),
        "endpoint.disabled.gone": (
            "Disabled",
            (
                "The receiver said that it is gone for good (410), so nothing is sent there any more. "
                "Enable it again once it is back."
            ),
        ),
        "endpoint.disabled.failing": (
            "Disabled",
            (
                "Nothing could be delivered there for too long, so nothing is sent there any more. Enable"
                " it again once it works: what is waiting is then sent."
            ),
        ),
        "incident.detected": (
            "Possible gunshot",
            "Boxes heard what may be a gunshot or an explosion. Nobody has looked at it yet.",
        ),
        "incident.updated": (
            "Possible gunshot: more is known",
            "Later reports changed what is known of an incident. Nobody has reviewed it yet.",
        ),
        "incident.confirmed": ("Incident confirmed", "A person found that it was one."),
        "incident.dismissed": (
            "Incident dismissed",
            "A person found that it was none, or nothing is left of it.",
        ),
        "quota.warning": (
            "A quota is nearly used up",
            (
                "Four fifths of the day's quota are used. Samples above it are refused and kept in quarantine"
                " until midnight UTC."
            ),
        ),
        "quota.exceeded": (
            "A quota is used up",
            (
                "What exceeds the quota is refused. Samples that were refused are kept in quarantine: they "
                "can be replayed once the quota is raised, or the day after."
            ),
        ),
        "platform.messages_dropped": (
            "The broker dropped messages",
            (
                "A queue of the broker was full. Boxes that wait for Vigie's own acknowledgements send "
                "again; from others these messages are lost."
            ),
        ),
    },
    other=("{type}", "Vigie tells of something that this mail has no words for:"),
    open="Open in Vigie",
    footer="Your address is on an e-mail channel of Vigie. Those who run it can take it off.",
    footer_alert="Alert {id}, message {sequence}.",
    footer_test="An administrator of Vigie had this test sent to your address.",
)
