from typing import Any
from zoneinfo import ZoneInfo

from app.console.alerts.silence_subjects import (
    KnownNames,
    describe_subjects,
    find_silence_zone,
    read_box_names,
    select_silences,
)
from app.console.framework.page_translation import PageTranslator
from app.presentation.local_formatter import LocalFormatter

FRENCH = PageTranslator(LocalFormatter("fr", ZoneInfo("Europe/Paris")))
KNOWN = KnownNames(
    sites={"site-1": "Quai"},
    zones={"site-1": "Europe/Paris"},
    rules={"rule-1": ("Poussière", "site-1")},
    boxes=read_box_names({"ids": ["b-1"], "labels": ["Pont Neuf"], "site": [0], "sites": [{"id": "site-1"}]}),
)
ALERT = {
    "rule_id": "rule-1",
    "box": "b-1",
    "site_id": "site-1",
    "metric": "pm2_5",
    "severity": "warning",
    "suppressed": None,
}


def silence(identifier: str = "s", ends_at: str | None = None, **matchers: list[str]) -> dict[str, Any]:
    return {"id": identifier, "ends_at": ends_at, "timezone": None, "matchers": matchers}


def test_a_silence_is_described_by_names() -> None:
    made = silence(rule_ids=["rule-1", "gone"], boxes=["b-1", "b-9"], severities=["critical"], tags=["nord"])
    assert describe_subjects(made, KNOWN, FRENCH) == [
        ("Règle", "Poussière, règle supprimée"),
        ("Boîtier", "Pont Neuf, b-9"),
        ("Gravité", "Critique"),
        ("Étiquette", "nord"),
    ]


def test_its_times_are_those_of_its_site() -> None:
    for made in (silence(site_ids=["site-1"]), silence(boxes=["b-1"]), silence(rule_ids=["rule-1"])):
        assert find_silence_zone(made, KNOWN) == "Europe/Paris"
    assert find_silence_zone(silence(severities=["info"]), KNOWN) is None
    assert find_silence_zone(silence() | {"timezone": "Asia/Tokyo"}, KNOWN) == "Asia/Tokyo"


def test_the_silences_of_an_alert_match_all_that_they_name() -> None:
    rows = [
        silence("box", "2026-11-29T10:00:00Z", rule_ids=["rule-1"], boxes=["b-1"]),
        silence("other", rule_ids=["rule-1"], boxes=["b-2"]),
        silence("tag", "2026-11-29T12:00:00Z", tags=["nord"]),
        silence("site", "2026-11-29T11:00:00Z", site_ids=["site-1"]),
    ]
    assert [each["id"] for each in select_silences(ALERT, rows)] == ["site", "box"]
    muted = ALERT | {"suppressed": {"silences": ["tag"]}}
    assert [each["id"] for each in select_silences(muted, rows)] == ["tag", "site", "box"]
