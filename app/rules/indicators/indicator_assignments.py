"""Which rules on indices are judged where, compiled: on each box of their scope, or on their site as a whole.

Compiles when asked; must not read the database.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.platform.observability.metrics_and_logs import get_logger
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.engine.snapshot import BoxFacts
from app.rules.indicators.indicator_query import SiteLocality
from app.rules.indicators.indicator_states import WHOLE_SITE, IndexSite, IndexStateKey

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RuleAssignment:
    """A rule on a box, or on its site as a whole.

    Attributes:
        rule: compiled for it.
        box: the box; None for the site as a whole.
        boxes: all that the rule looks at there, by key.
        place: where the site is.
    """

    rule: CompiledRule
    box: int | None
    boxes: Mapping[int, BoxFacts]
    place: SiteLocality

    @property
    def key(self) -> IndexStateKey:
        """Of its state."""
        return self.rule.id, WHOLE_SITE if self.box is None else self.box


def compile_assignments(sites: Iterable[IndexSite]) -> dict[IndexStateKey, RuleAssignment]:
    """Make the assignments of some sites, in the order of boxes, then of rules."""
    found = [assignment for site in sites for assignment in _of_site(site)]
    # What assignments a box stands together: what is computed of it serves all.
    found.sort(key=lambda assignment: (assignment.rule.site_id, assignment.box or 0, assignment.rule.id))
    return {assignment.key: assignment for assignment in found}


def _of_site(site: IndexSite) -> Iterator[RuleAssignment]:
    for row in site.rules:
        try:
            yield from compile_rule_assignments(row, site.place, site.attributes, site.boxes)
        except (LookupError, TypeError, ValueError) as error:
            # Of a newer version, or written by hand: one rule must not stop all others.
            _log.error("rule_not_understood", rule_id=str(row["id"]), error=repr(error))


def compile_rule_assignments(
    row: Mapping[str, Any], place: SiteLocality, attributes: Mapping[str, Any], boxes: Iterable[BoxFacts]
) -> Iterator[RuleAssignment]:
    """Compile a rule for its boxes: those of its scope, or all together where it is on the site as a whole.

    Raises:
        LookupError, TypeError, ValueError: it cannot be understood.
    """
    compiled: dict[tuple[tuple[str, Any], ...], CompiledRule] = {}

    def compile_for(attributes: Mapping[str, Any], names: Iterable[str]) -> CompiledRule:
        given = {name: attributes[name] for name in names if name in attributes}
        key = tuple(sorted(given.items()))
        if key not in compiled:
            compiled[key] = compile_rule(**row, timezone=place.timezone, attributes=given)
        return compiled[key]

    general = compile_for({}, ())
    if general.whole_site:
        looked = {facts.key: facts for facts in boxes if general.looks_at(facts)}
        if looked:
            yield RuleAssignment(compile_for(attributes, general.attributes), None, looked, place)
        return
    for facts in boxes:
        if general.scope is None or general.scope.takes(facts):
            rule = compile_for(facts.attributes, general.attributes)
            yield RuleAssignment(rule, facts.key, {facts.key: facts}, place)
