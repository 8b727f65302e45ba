"""Finds who is notified of the alerts of a rule. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

_RANKS: Final = {"info": 0, "warning": 1, "critical": 2}
_EVENTS: Final = frozenset({"*", "alert.firing", "alert.escalated"})


def choose_recipients(
    endpoints: Iterable[Mapping[str, Any]], rule: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Choose the endpoints that get alerts of a rule: by site, severity and events.

    Args:
        endpoints: Summaries of `GET /v1/endpoints`.
        rule: The rule, as the API returns it.
    """
    steps = [each["severity"] for each in rule["escalations"]]
    highest = max(_RANKS[each] for each in (rule["severity"], *steps))
    return [
        each
        for each in endpoints
        if each["enabled"]
        and each["organisation_id"] == rule["organisation_id"]
        and _EVENTS.intersection(each["events"])
        and (each["site_ids"] is None or rule["site_id"] in each["site_ids"])
        and _RANKS[each["min_severity"] or "info"] <= highest
    ]
