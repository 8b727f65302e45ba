"""Compiles each rule on indices once for every box in its scope, or once for its whole site.

Sites and rules are arguments; this module reads no database.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.platform.observability.metrics_and_logs import get_logger
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.index_rules.index_rule_repository import WHOLE_SITE, IndexSite, IndexStateKey
from app.rules.index_rules.index_selection import SiteLocality

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RuleAssignment:
    """A rule on a box, or on its whole site.

    Attributes:
        rule: the compiled rule.
        box: the box; None for the whole site.
        boxes: the boxes that the rule reads, by key.
        place: the time zone and latitude of the site.
    """

    rule: CompiledRule
    box: int | None
    boxes: Mapping[int, BoxFacts]
    place: SiteLocality

    @property
    def key(self) -> IndexStateKey:
        """The key of its state."""
        return self.rule.id, WHOLE_SITE if self.box is None else self.box


def compile_assignments(sites: Iterable[IndexSite]) -> dict[IndexStateKey, RuleAssignment]:
    """Compile the assignments of some sites, in the order of sites, boxes and rules."""
    found = [assignment for site in sites for assignment in _of_site(site)]
    # Assignments of a box are adjacent, so that they share its computed indices.
    found.sort(key=lambda assignment: (assignment.rule.site_id, assignment.box or 0, assignment.rule.id))
    return {assignment.key: assignment for assignment in found}


def _of_site(site: IndexSite) -> Iterator[RuleAssignment]:
    for row in site.rules:
        try:
            yield from compile_rule_assignments(row, site.place, site.attributes, site.boxes)
        except (LookupError, TypeError, ValueError) as error:
            # From a newer version of Vigie, or edited by hand: one rule must not stop all others.
            _log.error("rule_not_understood", rule_id=str(row["id"]), error=repr(error))


def compile_rule_assignments(
    row: Mapping[str, Any], place: SiteLocality, attributes: Mapping[str, Any], boxes: Iterable[BoxFacts]
) -> Iterator[RuleAssignment]:
    """Compile a rule for each box in its scope, or once for its whole site.

    Args:
        row: the rule, as `compile_rule` takes it.
        place: the time zone and latitude of the site.
        attributes: the attributes of the site.
        boxes: the boxes of the site.

    Raises:
        LookupError, TypeError, ValueError: the rule is malformed.
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
        members = {facts.key: facts for facts in boxes if general.looks_at(facts)}
        if members:
            yield RuleAssignment(compile_for(attributes, general.attributes), None, members, place)
        return
    for facts in boxes:
        if general.scope is None or general.scope.takes(facts):
            rule = compile_for(facts.attributes, general.attributes)
            yield RuleAssignment(rule, facts.key, {facts.key: facts}, place)
