"""Why an alert ended, and why its page has no chart, by what its rule watches."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.console.alerts.alert_texts import UNDRAWN_TEXTS, describe_resolution, find_alert_kind
from app.console.framework.page_translation import PageTranslator
from app.presentation.local_formatter import LocalFormatter

ENGLISH = PageTranslator(LocalFormatter("en", ZoneInfo("Europe/Paris")))
SHOT: dict[str, Any] = {"event": {"type": "gunshot"}, "window": "PT2M"}


def ended(reason: str | None = "cleared", **cause: object) -> dict[str, Any]:
    return {"resolution": reason, "cause": {"path": "levels/0/condition", **cause}}


@pytest.mark.parametrize(
    ("alert", "condition", "said"),
    [
        (ended(), None, "The measurements are back within the limits."),
        (ended(function="no_data"), None, "The box sends again."),
        (ended(index={"method": "eaqi"}), None, "The index is back within the limits."),
        (ended(**SHOT), {"count": 1}, "No further event for 2 minutes."),
        (ended(**SHOT), {"count": 3}, "Fewer than 3 events in 2 minutes."),
        # Another part of the condition may have ended it.
        (
            ended(**SHOT | {"path": "levels/0/condition/all/1"}),
            {"count": 1},
            "The condition no longer holds.",
        ),
        (ended("rule_disabled", **SHOT), {"count": 1}, "The rule was switched off."),
        (ended(None, **SHOT), {"count": 1}, ""),
    ],
)
def test_the_end_of_an_alert_has_its_true_reason(
    alert: dict[str, Any], condition: dict[str, Any] | None, said: str
) -> None:
    assert describe_resolution(alert, condition, ENGLISH, "en") == said
    assert find_alert_kind(alert) in UNDRAWN_TEXTS
