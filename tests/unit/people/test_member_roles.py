"""Roles are sets of scopes that there are."""

from app.people.member_roles import ROLES, SCOPES_OF
from app.platform.identity.caller_authentication import ALL_SCOPES, SCOPES


def test_each_role_has_scopes_that_there_are() -> None:
    assert tuple(SCOPES_OF) == ROLES
    for role, scopes in SCOPES_OF.items():
        assert set(scopes) <= {ALL_SCOPES, *SCOPES}, role


def test_owners_alone_see_to_members_and_keys() -> None:
    for role in ROLES:
        given = {"members:read", "members:write", "organisations:write", ALL_SCOPES} & set(SCOPES_OF[role])
        assert given == ({ALL_SCOPES} if role == "owner" else set()), role


def test_viewers_change_nothing() -> None:
    assert all(scope.endswith(":read") for scope in SCOPES_OF["viewer"])
    assert set(SCOPES_OF["viewer"]) < set(SCOPES_OF["operator"])
