"""Faults of the API stand at the fields of the form."""

import pytest

from app.console.framework.api_calls import FieldFault
from app.console.rules.rule_faults import place_faults


@pytest.mark.parametrize(
    ("path", "kind", "field"),
    [
        ("name", "value", "name"),
        ("site_id", "value", "site"),
        ("severity", "value", "severity_1"),
        ("condition", "value", "kind"),
        ("condition.threshold", "value", "threshold_1"),
        ("condition.threshold.attribute", "value", "attribute_1"),
        ("condition.for", "value", "for_1"),
        ("condition.keep_firing_for", "value", "calm"),
        ("condition.operator", "range", "side"),
        ("condition.operator", "value", "operator"),
        ("condition.metric", "value", "metric"),
        ("condition.metric", "silence", "silence_metric"),
        ("condition.metric", "band", "index_metric"),
        ("levels.1.condition.clear", "value", "clear_3"),
        ("levels.1.severity", "value", "severity_3"),
        ("levels.1", "value", "severity_3"),
        ("scope.tags.0", "value", "tags"),
        ("scope", "value", "where"),
        ("active.1.from", "value", "hours"),
        ("escalations.0.after", "value", "escalate"),
        ("remind_every", "value", "remind"),
        ("max_age", "value", "max_age"),
    ],
)
def test_each_fault_has_its_field(path: str, kind: str, field: str) -> None:
    placed, others = place_faults([FieldFault(path, "c", "Wrong")], kind=kind, numbers=[1, 3])
    assert (placed, others) == ({field: "Wrong"}, [])


def test_other_faults_name_their_path() -> None:
    faults = [FieldFault("colour", "c", "Unknown"), FieldFault("", "c", "All wrong")]
    assert place_faults(faults, kind="value", numbers=[1]) == ({}, ["colour: Unknown", "All wrong"])
