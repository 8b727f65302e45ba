"""Quotas as bars, organisations as a tree, scopes in groups."""

from typing import Any, get_args

import pytest

from app.console.administration.administration_words import (
    LEGAL_BASES,
    OUTCOMES,
    PURPOSE_STATES,
    QUOTAS,
    RIGHTS,
    RIGHTS_STATES,
    ROLE_TEXTS,
    build_tree,
    group_scopes,
    list_quota_uses,
)
from app.people.member_roles import ROLES
from app.platform.identity.caller_authentication import SCOPES
from app.privacy_requests.schemas import RightsKind, RightsOutcome, RightsState
from app.registry.purpose_states import LegalBasis, PurposeState


def use(used: int, limit: int | None) -> dict[str, Any]:
    return {"used": used, "limit": limit, "refused": 0, "with_clients": False}


@pytest.mark.parametrize(
    ("used", "limit", "percent", "state"),
    [
        (5, None, None, "good"),
        (0, 10, 0, "good"),
        (8, 10, 80, "good"),
        (9, 10, 90, "attention"),
        (999, 1000, 99, "attention"),
        (10, 10, 100, "bad"),
        # After the quota was lowered.
        (12, 10, 100, "bad"),
        (0, 0, 100, "bad"),
    ],
)
def test_a_bar_warns_before_the_quota_is_full(
    used: int, limit: int | None, percent: int | None, state: str
) -> None:
    usage = {name: use(used, limit) for name in QUOTAS}
    uses = list_quota_uses(usage, with_clients=True)
    assert [each.name for each in uses] == list(QUOTAS)
    assert {(each.percent, each.state) for each in uses} == {(percent, state)}
    assert "clients" not in {each.name for each in list_quota_uses(usage, with_clients=False)}


def organisation(name: str, parent: str | None) -> dict[str, Any]:
    return {"id": name, "name": name, "parent_id": parent}


def test_organisations_are_below_their_parents() -> None:
    given = [
        organisation("b", "root"),
        organisation("root", None),
        organisation("Älter", "a"),
        organisation("a", "root"),
        organisation("lone", "not among them"),
    ]
    tree = [(row.organisation["name"], row.depth) for row in build_tree(given)]
    assert tree == [("lone", 0), ("root", 0), ("a", 1), ("Älter", 2), ("b", 1)]


def test_scopes_are_grouped_and_limited_to_those_held() -> None:
    assert sorted(scope for group in group_scopes(["*"]) for scope in group.scopes) == sorted(SCOPES)
    some = group_scopes(["sites:read", "alerts:write"])
    assert [group.scopes for group in some] == [["sites:read"], ["alerts:write"]]
    assert group_scopes([]) == []


def test_every_value_of_the_api_has_a_word() -> None:
    assert set(ROLE_TEXTS) == set(ROLES)
    assert set(LEGAL_BASES) == {"", *get_args(LegalBasis)}
    assert set(PURPOSE_STATES) == set(get_args(PurposeState))
    assert set(RIGHTS) == set(get_args(RightsKind.__value__))
    assert set(RIGHTS_STATES) == set(get_args(RightsState.__value__))
    assert set(OUTCOMES) == set(get_args(RightsOutcome.__value__))
