"""Bodies of events, as webhooks have them."""

import json
from typing import Any

from app.notifications.email.mail_rendering import RenderedMail, SiteName, render_mail

SITE, RULE, ALERT = "s-1", "r-1", "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"
SITES = {SITE: SiteName("Rue Mouffetard", "Europe/Paris")}
AT = "2026-11-24T10:10:02.127000Z"
_DATA: dict[str, Any] = {
    "alert_id": ALERT,
    "rule_id": RULE,
    "rule_name": "Particules fines",
    "rule_version": 1,
    "organisation_id": "o-1",
    "site_id": SITE,
    "box": "box-0001",
    "metric": "pm2_5",
    "value": 31.2,
    "threshold": 25.0,
    "clear": 20.0,
    "severity": "critical",
    "highest_severity": "critical",
    "state": "firing",
    "pending_since": "2026-11-24T10:00:00Z",
    "started_at": "2026-11-24T10:10:00Z",
    "resolved_at": None,
    "resolved_value": None,
    "resolution": None,
    "acknowledged_at": None,
    "description": None,
    "assignee": None,
    "sequence": 1,
    "cause": {"path": "levels/0/condition", "function": None, "window": None, "event": None, "boxes": []},
}
RESOLVED = {
    "state": "resolved",
    "resolved_at": "2026-11-24T11:45:00Z",
    "resolved_value": 18.25,
    "resolution": "cleared",
}


def alert(kind: str = "firing", **data: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever an alert's data holds)
    """An event of an alert."""
    return {"type": f"alert.{kind}", "timestamp": AT, "data": {**_DATA, **data}}


def group(*events: dict[str, Any], firing: int, resolved: int = 0, truncated: int = 0) -> dict[str, Any]:
    """A notification of several; each stands for one event unless it says otherwise."""
    listed = [{"events_count": 1, **event} for event in events]
    data = {"group": {"site_id": SITE, "rule_id": RULE}, "firing": firing, "resolved": resolved}
    return {
        "type": "alert.group",
        "timestamp": AT,
        "data": {**data, "events": listed, "truncated": truncated},
    }


def mail_of(body: object, language: str = "en", sites: dict[str, SiteName] | None = None) -> RenderedMail:
    """The mail of a body."""
    made = render_mail(json.dumps(body).encode(), language, SITES if sites is None else sites)
    return RenderedMail(**json.loads(made))
