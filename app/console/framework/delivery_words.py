"""Names recipients, events and results of deliveries in words, for all pages that show them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.framework.page_translation import mark_text

KINDS: Final = {
    "webhook": mark_text("Webhook"),
    "email": mark_text("E-mail"),
    "mqtt": mark_text("MQTT"),
    "slack": mark_text("Slack"),
    "teams": mark_text("Microsoft Teams"),
    "discord": mark_text("Discord"),
    "pagerduty": mark_text("PagerDuty"),
    "ntfy": mark_text("ntfy"),
    "alertmanager": mark_text("Alertmanager"),
}
"""English names of kinds of endpoints."""

STATES: Final = {
    "pending": ("attention", mark_text("Pending")),
    "delivered": ("good", mark_text("Delivered")),
    "failed": ("bad", mark_text("Failed")),
}
"""State of a delivery → look of its chip, and English name."""

EVENTS: Final = {
    "alert.firing": mark_text("An alert fires"),
    "alert.escalated": mark_text("An alert becomes more severe"),
    "alert.deescalated": mark_text("An alert becomes less severe"),
    "alert.resolved": mark_text("An alert is resolved"),
    "alert.acknowledged": mark_text("An alert is acknowledged"),
    "alert.reminder": mark_text("An alert still waits for somebody"),
    "incident.detected": mark_text("An incident is detected"),
    "incident.updated": mark_text("More is known about an incident"),
    "incident.confirmed": mark_text("An incident is confirmed"),
    "incident.dismissed": mark_text("An incident is dismissed"),
    "endpoint.failing": mark_text("Another recipient fails"),
    "endpoint.disabled": mark_text("Another recipient was disabled"),
    "subscription.failing": mark_text("A subscription to measurements fails"),
    "subscription.disabled": mark_text("A subscription to measurements was disabled"),
    "quota.warning": mark_text("A quota is nearly used up"),
    "quota.exceeded": mark_text("A quota is used up"),
    "rights.received": mark_text("A rights request arrives"),
    "rights.overdue": mark_text("A rights request is overdue"),
    "platform.messages_dropped": mark_text("The broker dropped messages"),
}
"""English names of types of events."""

REASONS: Final = {
    "delivered": mark_text("It was accepted."),
    "redirect_refused": mark_text("It answered with a redirect, which is not followed. Enter the final URL."),
    "http_error": mark_text("It answered with an error. Look at its answer and its own log."),
    "gone": mark_text("The receiver answered that it is gone (410). Vigie disabled it."),
    "rate_limited": mark_text("It answered that it gets too many requests (429). Vigie slows down."),
    "timeout": mark_text("It did not answer in time. Answer first, and work afterwards."),
    "connect_timeout": mark_text("It did not accept a connection in time. Check its firewall."),
    "connect_failed": mark_text("No connection: it refused, or cannot be reached. Check host and port."),
    "name_unresolved": mark_text("Its host name has no address. Check the URL and the DNS."),
    "address_refused": mark_text("Its address is not public, so Vigie does not send to it."),
    "tls_failed": mark_text("The TLS handshake failed. Check that its certificate is valid and complete."),
    "response_broken": mark_text("It closed the connection, or its answer was no valid HTTP."),
    "mail_refused": mark_text("The mail server refused the mail for good. Check the addresses."),
    "mail_deferred": mark_text("The mail server refused the mail for now. Vigie tries again."),
    "login_refused": mark_text("The mail server or the broker refused the sign-in."),
    "quota_exceeded": mark_text("The quota of mails of this hour is used up."),
    "not_configured": mark_text("This installation has no mail server, or cannot decrypt the secret."),
    "internal_error": mark_text("A fault of Vigie, which is in its log."),
}
"""English explanations of the reasons of attempts, with what to do."""

OUTCOMES: Final = {
    "delivered": mark_text("received"),
    "redirect_refused": mark_text("it redirects to another address"),
    "http_error": mark_text("it answered with an error"),
    "gone": mark_text("it answered that it is gone"),
    "rate_limited": mark_text("it gets too many requests"),
    "timeout": mark_text("no answer in time"),
    "connect_timeout": mark_text("no connection in time"),
    "connect_failed": mark_text("no connection"),
    "name_unresolved": mark_text("the address does not exist"),
    "address_refused": mark_text("the address is not public"),
    "tls_failed": mark_text("no secure connection"),
    "response_broken": mark_text("the answer was incomplete"),
    "mail_refused": mark_text("the mail server refused the mail"),
    "mail_deferred": mark_text("the mail server asks to wait"),
    "login_refused": mark_text("the sign-in was refused"),
    "quota_exceeded": mark_text("the quota of mails is used up"),
    "not_configured": mark_text("not set up at this installation"),
    "internal_error": mark_text("a fault of Vigie"),
}
"""English results of attempts in a few words, by reason. `REASONS` say what to do."""

ALERT_EVENTS: Final = {
    "alert.firing": mark_text("The alert began"),
    "alert.escalated": mark_text("It became more severe"),
    "alert.deescalated": mark_text("It became less severe"),
    "alert.resolved": mark_text("The alert ended"),
    "alert.acknowledged": mark_text("Somebody acknowledged it"),
    "alert.reminder": mark_text("Reminder: it still waits for somebody"),
    "alert.group": mark_text("Several alerts together"),
}
"""English names of events of one alert, for its own page."""

INCIDENT_EVENTS: Final = {
    "incident.detected": mark_text("It was detected"),
    "incident.updated": mark_text("More is known"),
    "incident.confirmed": mark_text("It was confirmed"),
    "incident.dismissed": mark_text("It was dismissed"),
}
"""English names of events of one incident, for its own page."""

STATE_TEXTS: Final = {
    "pending": mark_text("waits"),
    "delivered": mark_text("delivered"),
    "failed": mark_text("failed"),
}
"""English states of deliveries, for the pages of an alert and an incident."""


def name_target(endpoint: Mapping[str, Any]) -> str:
    """Return where an endpoint delivers to, as its page shows it."""
    for name in ("url", "host", "topic"):
        if endpoint.get(name):
            topic = f" · {endpoint['topic']}" if endpoint.get("kind") == "ntfy" and name == "url" else ""
            return f"{endpoint[name]}{topic}"
    return ", ".join(endpoint.get("to") or [])


def name_recipient(endpoint: Mapping[str, Any]) -> str:
    """Return the name of a recipient, the same on all pages: as the register names it, else as described.

    Without either, it is the address. Empty: there is none to show.
    """
    return endpoint.get("recipient") or endpoint.get("description") or _find_target(endpoint)


def describe_recipient(endpoint: Mapping[str, Any]) -> list[str]:
    """Return what stands below the name of a recipient: the description and the address."""
    name = name_recipient(endpoint)
    parts = dict.fromkeys([endpoint.get("description") or "", _find_target(endpoint)])
    return [each for each in parts if each and each != name]


def _find_target(endpoint: Mapping[str, Any]) -> str:
    # A summary of `GET /v1/endpoints` has its target without secrets; that of MQTT is only its kind.
    target = endpoint.get("target") or ""
    return name_target(endpoint) or ("" if target == endpoint.get("kind") else target)
