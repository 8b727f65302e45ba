"""Finds or creates the person who signs in to the demo: an owner of its organisation, by an invitation.

The password is generated for each data directory and stored in `demo.json`. If the person has chosen another
one, it is left alone while the state is there.
"""

import secrets

from simulators.demo_definitions import OPERATOR_EMAIL, OPERATOR_NAME
from simulators.demo_state import DemoState
from simulators.registration import find_entry
from simulators.rest_client import ApiClient, ApiError

_UNAUTHORISED = 401
# Without characters that look alike. 20 of these 32 are 100 bits.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS = 5
_LENGTH = 4


def generate_password() -> str:
    """Generate a password that a person can type: five groups of four characters."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


async def ensure_operator(api: ApiClient, state: DemoState) -> None:
    """Find or create the person, and a password unless one is stored.

    Args:
        api: A client with a key of the organisation.
        state: The demo's state, which stores the sign-in.
    """
    member = await find_entry(api, "/v1/members", "email", OPERATOR_EMAIL)
    if member is None:
        await _invite(api, state)
    elif not state.operator_password:
        # The state is lost, but nobody can read the password again.
        await _reset_password(api, state, str(member["id"]))
    else:
        state.operator_changed = not await _can_sign_in(api.address, state)


async def _invite(api: ApiClient, state: DemoState) -> None:
    invitation = await api.post("/v1/invitations", {"email": OPERATOR_EMAIL, "role": "owner"})
    password = generate_password()
    body = {"token": invitation["token"], "name": OPERATOR_NAME, "password": password}
    async with ApiClient(api.address, "") as anybody:
        session = await anybody.post("/v1/invitations/accept", body)
    _store(state, password)
    await _sign_out(api.address, str(session["token"]))


async def _reset_password(api: ApiClient, state: DemoState, member_id: str) -> None:
    created = await api.post(f"/v1/members/{member_id}/password-reset")
    password = generate_password()
    async with ApiClient(api.address, "") as anybody:
        await anybody.post("/v1/passwords/reset", {"token": created["token"], "password": password})
    _store(state, password)


def _store(state: DemoState, password: str) -> None:
    state.operator_email, state.operator_password, state.operator_changed = OPERATOR_EMAIL, password, False


async def _can_sign_in(address: str, state: DemoState) -> bool:
    body = {"email": state.operator_email, "password": state.operator_password}
    try:
        async with ApiClient(address, "") as anybody:
            session = await anybody.post("/v1/sessions", body | {"organisation_id": state.organisation_id})
    except ApiError as error:
        return error.status != _UNAUTHORISED or error.code != "wrong_credentials"
    await _sign_out(address, str(session["token"]))
    return True


async def _sign_out(address: str, token: str) -> None:
    async with ApiClient(address, token) as person:
        await person.call("DELETE", "/v1/sessions/current")
