"""Compares declared rules with those of the API, and changes what differs.

A rule is identified by its site and its name. The API normalises each declared rule (`POST /v1/rules/check`),
so that a rule that was applied equals the one that exists.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from app.client.api_connection import ApiConnection
from app.client.client_errors import ApiError, ChangedMeanwhileError
from app.client.output_formats import clean_text
from app.client.rule_files import DeclaredRule, DeclaredSite, FileFault, raise_faults, write_yaml

RULES_PATH: Final = "/v1/rules"
SITES_PATH: Final = "/v1/sites"
DEFAULTS: Final[Mapping[str, Any]] = {
    "description": None,
    "scope": None,
    "active": None,
    "max_age": "PT1H",
    "escalations": [],
    "remind_every": None,
    "enabled": True,
    "dry_run": False,
}
_INVALID: Final = 422
_NOT_FOUND: Final = 404
_PRECONDITION_FAILED: Final = 412

type ActionKind = Literal["create", "change", "delete"]


@dataclass(frozen=True, slots=True)
class RuleAction:
    """A change that makes a rule what the files say.

    Attributes:
        kind: What is done.
        site_id: The site.
        name: The name of the rule.
        diff: Its lines before and after.
        body: The fields to send; of a new rule all of them.
        rule_id: The rule; empty for a new one.
        etag: The ETag of the state that `diff` begins with.
    """

    kind: ActionKind
    site_id: str
    name: str
    diff: Sequence[str]
    body: Mapping[str, Any]
    rule_id: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The changes at one site."""

    site_id: str
    site_name: str
    actions: Sequence[RuleAction]
    unchanged: int


def define(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the declarable fields of a rule: with `levels`, or with `severity` and `condition`."""
    form = ("severity", "condition") if rule.get("levels") is None else ("levels",)
    return {name: rule[name] for name in ("name", *form, *DEFAULTS)}


def shorten(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition of a rule without defaults, as files declare it."""
    return {
        name: value for name, value in define(rule).items() if name not in DEFAULTS or value != DEFAULTS[name]
    }


def find_site(api: ApiConnection, named: str) -> Mapping[str, Any]:
    """Find a site by its id, or its whole name.

    Raises:
        LookupError: There is none, or there are several of this name; the text says so.
    """
    try:
        path = f"{SITES_PATH}/{UUID(named)}"
    except ValueError:
        found = [each for each in api.rows(SITES_PATH, [("q", named)]) if each["name"] == named]
        if len(found) == 1:
            return dict(found[0])
        if found:
            ids = ", ".join(each["id"] for each in found)
            raise LookupError(f"{len(found)} sites have the name {named!r}. Use an id: {ids}") from None
        raise LookupError(f"There is no site {named!r}.") from None
    try:
        return dict(api.get(path))
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        raise LookupError(f"There is no site {named!r}.") from None


class RulePlanner:
    """Plans the changes for several documents. It changes nothing.

    Args:
        api: The connection.
        prune: Whether rules of these sites that no file declares are deleted.
    """

    def __init__(self, api: ApiConnection, *, prune: bool) -> None:
        self._api = api
        self._prune = prune
        self._faults: list[FileFault] = []

    def plan(self, documents: Iterable[DeclaredSite]) -> list[SitePlan]:
        """Plan all changes.

        Raises:
            InvalidFileError: Rules are invalid; the text lists all faults with file and line.
            ApiError: The API refused something else.
        """
        sites: dict[str, tuple[str, list[DeclaredRule]]] = {}
        for document in documents:
            try:
                site = find_site(self._api, document.site)
            except LookupError as error:
                self._faults.append(FileFault(document.file, document.line, str(error.args[0])))
                continue
            sites.setdefault(site["id"], (site["name"], []))[1].extend(document.rules)
        plans = [self._plan_site(site_id, name, rules) for site_id, (name, rules) in sites.items()]
        raise_faults(self._faults)
        return plans

    def _plan_site(self, site_id: str, site_name: str, declared: Sequence[DeclaredRule]) -> SitePlan:
        existing: dict[str, list[Mapping[str, Any]]] = {}
        for rule in self._api.rows(RULES_PATH, [("site", site_id)]):
            existing.setdefault(rule["name"], []).append(rule)
        actions: list[RuleAction | None] = []
        seen: dict[str, DeclaredRule] = {}
        for rule in declared:
            if rule.name in seen:
                first = seen[rule.name]
                self._faults.append(
                    rule.fault("body.name", f"It is declared in {first.file}:{first.lines[()]} too.")
                )
                continue
            seen[rule.name] = rule
            actions.append(self._plan_rule(site_id, rule, existing.get(rule.name, [])))
        if self._prune:
            surplus = [rule for name in existing.keys() - seen.keys() for rule in existing[name]]
            actions += [self._plan_deletion(site_id, rule) for rule in sorted(surplus, key=lambda r: r["id"])]
        found = [action for action in actions if action is not None]
        return SitePlan(site_id, site_name, found, len(seen) - sum(each.kind != "delete" for each in found))

    def _plan_rule(
        self, site_id: str, rule: DeclaredRule, existing: Sequence[Mapping[str, Any]]
    ) -> RuleAction | None:
        if len(existing) > 1:
            ids = ", ".join(each["id"] for each in existing)
            self._faults.append(
                rule.fault("body.name", f"Several rules of the site have it. Rename all but one: {ids}")
            )
            return None
        body = rule.body | {"site_id": site_id}
        replaced = [("replaces", each["id"]) for each in existing]
        try:
            checked = self._api.change("POST", f"{RULES_PATH}/check", body, parameters=replaced)
        except ApiError as error:
            if error.status != _INVALID:
                raise
            found = error.faults or [("body", str(error))]
            self._faults.extend(rule.fault(field, text) for field, text in found)
            return None
        wanted = define(checked)
        if not existing:
            return RuleAction("create", site_id, rule.name, _compare({}, shorten(checked)), body)
        if define(existing[0]) == wanted:
            return None
        present, etag = self._api.get_with_etag(f"{RULES_PATH}/{existing[0]['id']}")
        before = define(present)
        if before == wanted:
            return None
        # What the file says where it says it: the API normalises it in the same way.
        change = {
            name: rule.body.get(name, value)
            for name, value in wanted.items()
            if name not in before or before[name] != value
        }
        diff = _compare(shorten(present), shorten(checked))
        return RuleAction("change", site_id, rule.name, diff, change, present["id"], etag)

    def _plan_deletion(self, site_id: str, rule: Mapping[str, Any]) -> RuleAction:
        present, etag = self._api.get_with_etag(f"{RULES_PATH}/{rule['id']}")
        diff = _compare(shorten(present), {})
        return RuleAction("delete", site_id, present["name"], diff, {}, present["id"], etag)


def _compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differing lines of two definitions, with two lines around each."""
    old, new = (write_yaml(dict(each)).splitlines() if each else [] for each in (before, after))
    lines = difflib.unified_diff(old, new, n=2, lineterm="")
    # Without the two lines of file names.
    return [clean_text(line) for line in lines][2:]


def describe_plan(plans: Iterable[SitePlan]) -> Iterator[str]:
    """Yield the lines of a plan."""
    marks = {"create": "+", "change": "~", "delete": "-"}
    for plan in plans:
        yield f"{clean_text(plan.site_name)} ({plan.site_id}): {plan.unchanged} unchanged"
        for action in plan.actions:
            yield f"  {marks[action.kind]} {action.kind} {clean_text(action.name)!r}"
            yield from (f"      {line}" for line in action.diff)


def apply_plan(
    api: ApiConnection, plans: Iterable[SitePlan], report: Callable[[str], object]
) -> Counter[ActionKind]:
    """Make the changes; deletions come last.

    Raises:
        ChangedMeanwhileError: Another caller changed some rules since they were planned. They are as that
            caller left them; all other changes were made.
        ApiError: The API refused a change; those before it were made.
    """
    done: Counter[ActionKind] = Counter()
    refused = []
    actions = [action for plan in plans for action in plan.actions]
    for action in sorted(actions, key=lambda each: each.kind == "delete"):
        try:
            _apply(api, action)
        except ApiError as error:
            if error.status not in {_PRECONDITION_FAILED, _NOT_FOUND}:
                raise
            refused.append(action.name)
            continue
        done[action.kind] += 1
        report(f"{action.kind}d {clean_text(action.name)!r}")
    if refused:
        raise ChangedMeanwhileError(
            "Changed by another caller since the plan, and not overwritten: "
            f"{', '.join(map(repr, refused))}. Run the command again to see the new differences."
        )
    return done


def _apply(api: ApiConnection, action: RuleAction) -> None:
    path = f"{RULES_PATH}/{action.rule_id}"
    match action.kind:
        case "create":
            api.change("POST", RULES_PATH, action.body)
        case "change":
            api.change("PATCH", path, action.body, etag=action.etag)
        case "delete":
            api.change("DELETE", path, etag=action.etag)
