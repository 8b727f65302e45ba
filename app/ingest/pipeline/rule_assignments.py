"""Compiles the rules that apply to each box, with the site's time zone and the box's attributes.

Boxes to which the same rules apply share one `BoxRuleSet`, so that a batch of 10,000 boxes often needs only
one. It compiles on first use and does not read the database.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from app.platform.observability.metrics_and_logs import get_logger
from app.rules.definitions.definition_changes import count_index_conditions
from app.rules.definitions.rule_queries import ChangedRule
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.threshold_evaluator import (
    BoxRuleSet,
    CompiledRule,
    compile_box_rules,
    compile_rule,
)

_log = get_logger(__name__)
NO_RULES: Final = compile_box_rules(())


class RuleAssignments:
    """The enabled rules of all sites."""

    def __init__(self) -> None:
        self._by_site: dict[UUID, dict[UUID, ChangedRule]] = {}
        self._site_of: dict[UUID, UUID] = {}
        self._stateful_sites: set[UUID] = set()
        self._compiled: dict[tuple[Any, ...], CompiledRule | None] = {}
        self._shared: dict[tuple[int, ...], BoxRuleSet] = {}

    def copy(self) -> "RuleAssignments":
        """Return a copy that can be changed."""
        made = RuleAssignments()
        made._by_site, made._site_of = dict(self._by_site), dict(self._site_of)
        made._stateful_sites = set(self._stateful_sites)
        made._compiled, made._shared = dict(self._compiled), dict(self._shared)
        return made

    def _forget_compiled(self) -> None:
        self._compiled.clear()
        self._shared.clear()

    def apply(self, rows: Iterable[ChangedRule]) -> None:
        """Apply rules that were created, changed, disabled or deleted."""
        changed: dict[UUID, dict[UUID, ChangedRule]] = {}

        def of(site_id: UUID) -> dict[UUID, ChangedRule]:
            # A copy may share the same dictionary.
            if site_id not in changed:
                changed[site_id] = self._by_site[site_id] = dict(self._by_site.get(site_id, {}))
            return changed[site_id]

        for row in rows:
            site_id = self._site_of.pop(row["id"], None)
            rules = of(row["site_id"] if site_id is None else site_id)
            rules.pop(row["id"], None)
            # Rules on indices are evaluated when their period is over, not on samples.
            if row["enabled"] and not row["deleted"] and not count_index_conditions(row["definition"]):
                of(row["site_id"])[row["id"]] = row
                self._site_of[row["id"]] = row["site_id"]
        stateful = {site for site, rules in changed.items() if any(row["effort"] for row in rules.values())}
        self._stateful_sites = (self._stateful_sites - changed.keys()) | stateful
        if changed:
            self._forget_compiled()

    @property
    def has_stateful_rules(self) -> bool:
        """Whether any rule must see every sample."""
        return bool(self._stateful_sites)

    def find_rules(
        self, site_id: UUID, timezone: str, attributes: Mapping[str, Any], facts: BoxFacts
    ) -> BoxRuleSet:
        """Return the rule set of one box.

        Args:
            site_id: the site of the box.
            timezone: the time zone of the site.
            attributes: the attributes of the site, for site-wide rules.
            facts: the box; its attributes override those of the site.
        """
        rows = self._by_site.get(site_id)
        if not rows:
            return NO_RULES
        chosen = []
        for row in rows.values():
            general = self._compile(row, timezone, {})
            if general is None:
                continue
            if not general.whole_site and general.scope is not None and not general.scope.takes(facts):
                continue
            if general.attributes:
                available = attributes if general.whole_site else facts.attributes
                given = {name: available[name] for name in general.attributes if name in available}
                general = self._compile(row, timezone, given) or general
            chosen.append(general)
        key = tuple(map(id, chosen))
        known = self._shared.get(key)
        if known is None:
            known = self._shared[key] = compile_box_rules(chosen)
        return known

    def _compile(self, row: ChangedRule, timezone: str, attributes: Mapping[str, Any]) -> CompiledRule | None:
        key = (row["id"], timezone, *sorted(attributes.items()))
        if key not in self._compiled:
            self._compiled[key] = _try(row, timezone, attributes)
        return self._compiled[key]


def _try(row: ChangedRule, timezone: str, attributes: Mapping[str, Any]) -> CompiledRule | None:
    try:
        return compile_rule(
            id=row["id"],
            version=row["version"],
            organisation_id=row["organisation_id"],
            site_id=row["site_id"],
            name=row["name"],
            definition=row["definition"],
            dry_run=row["dry_run"],
            timezone=timezone,
            attributes=attributes,
        )
    except (LookupError, TypeError, ValueError) as error:
        # A rule of a newer version, or edited by hand, must not block all samples.
        _log.error("rule_not_understood", rule_id=str(row["id"]), error=repr(error))
        return None
