"""Bodies of deliveries, made once for all endpoints that are sent the same.

Owns what happens where a form cannot be made of an event: that must not hold up the events after it.
"""

from collections.abc import Mapping
from typing import Final

from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.subscriptions import EndpointSubscription
from app.notifications.formats import NATIVE, TEXT_KINDS, RenderContext, render_event
from app.platform.observability.metrics_and_logs import get_logger

# What data that a form does not expect raises.
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_log = get_logger(__name__)


class EventBodyCache:
    """The forms of one event.

    Args:
        event: The event; its language and sites are those of the endpoint and of `sites`.
        sites: What messages in words call sites.
    """

    def __init__(self, event: RenderContext, sites: Mapping[str, SiteName]) -> None:
        self._event = event
        self._sites = sites
        self._made: dict[tuple[str, str, str], bytes] = {}

    def body(self, kind: str, format_: str, language: str) -> bytes:
        """Return what an endpoint of a kind and format is sent.

        Where that cannot be made it is the native body: a mail's attempt fails then, and says so; a webhook
        gets what there is to tell. Nothing is lost.
        """
        key = (kind, format_, language if kind in TEXT_KINDS else "")
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(kind, format_, language)
        return made

    def of(self, subscription: EndpointSubscription) -> bytes:
        """Return what an endpoint is sent."""
        return self.body(subscription.kind, subscription.format, subscription.language)

    def _make(self, kind: str, format_: str, language: str) -> bytes:
        event = self._event
        if kind in TEXT_KINDS:
            event = event._replace(language=language, sites=self._sites)
        elif kind == "webhook" and format_ == NATIVE:
            return event.body
        try:
            return render_event(kind, format_, event)
        except _FAULTS:
            _log.exception("render_failed", event_id=str(event.event_id), kind=kind, format=format_)
            return event.body
