"""Holds the messages that a page shows after an action, by the name that the redirect carries. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.console.framework.page_translation import mark_text

DONE_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acknowledged": mark_text("Acknowledged."),
        "unacknowledged": mark_text("The acknowledgement was withdrawn."),
        "assigned": mark_text("Assigned."),
        "commented": mark_text("The comment was added."),
        "escalated": mark_text("The severity was raised."),
        "silenced": mark_text("Silenced."),
        "silence_ended": mark_text("The silence has ended."),
        "session_ended": mark_text("The session has ended."),
        "proved": mark_text("Confirmed. You can change your second factors now."),
        "factor_added": mark_text("The second factor was added."),
        "factor_removed": mark_text("The second factor was removed."),
        "factors_removed": mark_text("The second factors were removed. The person signs in by password now."),
        "member_removed": mark_text("The person is no longer a member."),
        "revoked": mark_text("Revoked."),
        "suspended": mark_text("Suspended. Its keys open nothing."),
        "resumed": mark_text("The grant is active again."),
        "declared": mark_text("The purpose was declared."),
        "approved": mark_text("Approved. Its data are accepted now, or from its start on."),
        "purpose_ended": mark_text("The purpose has ended. Its data are refused."),
        "report_requested": mark_text("The mail is on its way."),
        "saved": mark_text("Saved."),
        "created": mark_text("Created."),
        "restored": mark_text("The version was restored."),
        "incident_confirmed": mark_text("The incident is confirmed. Those who subscribe are notified."),
        "incident_dismissed": mark_text("The incident is dismissed. Those who subscribe are notified."),
        "endpoint_enabled": mark_text("The recipient is enabled. What waited is sent now."),
        "endpoint_disabled": mark_text("The recipient is disabled."),
        "delivery_replayed": mark_text("It is sent again."),
        "replay_started": mark_text("They are sent again."),
        "deleted": mark_text("Deleted."),
        "credentials_revoked": mark_text("The credentials were revoked. The box is disconnected."),
        "configured": mark_text("The configuration was sent to the box."),
        "edge_removed": mark_text("The edge was removed."),
        "boxes_changed": mark_text("The boxes were changed."),
    }
)
"""English texts; the catalogue has their French."""
