"""Generates the tables of licences: the policy, and the components with theirs."""

from collections.abc import Callable, Mapping
from typing import Final

from tools.markdown_tables import render_rows
from tools.supply_chain.components import ComponentInfo, collect_components
from tools.supply_chain.licences import LicencePolicy

_KINDS: Final = {"pypi": "Python package", "npm": "script", "deb": "Debian package", "data": "data"}


def render_policy() -> str:
    groups = LicencePolicy.read().groups
    rows = [(each.name, each.reason, ", ".join(sorted(each.licences))) for each in groups]
    return render_rows("group", "why it is allowed", "licences", body=rows)


def render_components() -> str:
    policy = LicencePolicy.read()

    def row(each: ComponentInfo) -> tuple[str, ...]:
        group = policy.check(each.name, each.kind, each.licence)
        return f"`{each.name}`", each.version or "Debian's", _KINDS[each.kind], each.licence, group, each.use

    rows = [row(each) for each in collect_components(policy)]
    return render_rows("component", "version", "kind", "licence (SPDX)", "group", "use", body=rows)


LICENCE_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "licence-policy": render_policy,
    "licences": render_components,
}
