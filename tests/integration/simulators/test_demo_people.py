"""The person of the demo: created once, found again, and left alone with a password of their own."""

from collections.abc import AsyncIterator

import pytest

from simulators import demo_setup
from simulators.demo_definitions import OPERATOR_EMAIL
from simulators.demo_people import ensure_operator
from simulators.demo_state import DemoState
from simulators.rest_client import ApiClient, ApiError
from simulators.target_stack import TargetStack


@pytest.fixture
async def state(target: TargetStack) -> DemoState:
    made = DemoState()
    async with ApiClient(target.api, target.key) as admin:
        await demo_setup.ensure_organisation_and_key(admin, made)
    return made


@pytest.fixture
async def api(target: TargetStack, state: DemoState) -> AsyncIterator[ApiClient]:
    async with ApiClient(target.api, state.key) as client:
        yield client


async def sign_in(api: ApiClient, password: str) -> str:
    async with ApiClient(api.address, "") as anybody:
        body = {"email": OPERATOR_EMAIL, "password": password}
        return str((await anybody.post("/v1/sessions", body))["token"])


async def test_it_is_created_once_and_its_password_survives(api: ApiClient, state: DemoState) -> None:
    await ensure_operator(api, state)
    password = state.operator_password
    async with ApiClient(api.address, await sign_in(api, password)) as person:
        me = await person.get("/v1/me")
        # Those with which the demo tried the sign-in have ended.
        sessions = await person.get("/v1/me/sessions")
    assert me["memberships"][0]["role"] == "owner"
    assert me["organisation"]["id"] == state.organisation_id
    await ensure_operator(api, state)
    assert (state.operator_email, state.operator_password) == (OPERATOR_EMAIL, password)
    assert state.operator_changed is False
    assert len(sessions["data"]) == 1
    members = [each async for each in api.list("/v1/members")]
    assert [each["email"] for each in members] == [OPERATOR_EMAIL]


async def test_a_password_that_the_person_chose_stays(api: ApiClient, state: DemoState) -> None:
    await ensure_operator(api, state)
    own = "cinq canards dans la brume"
    async with ApiClient(api.address, await sign_in(api, state.operator_password)) as person:
        body = {"current_password": state.operator_password, "new_password": own}
        await person.post("/v1/me/password", body)
    await ensure_operator(api, state)
    assert state.operator_changed is True
    assert await sign_in(api, own)


async def test_a_lost_state_gets_a_new_password(api: ApiClient, state: DemoState) -> None:
    await ensure_operator(api, state)
    former = state.operator_password
    lost = DemoState(organisation_id=state.organisation_id, key=state.key)
    await ensure_operator(api, lost)
    assert lost.operator_password not in {"", former}
    assert await sign_in(api, lost.operator_password)
    with pytest.raises(ApiError, match="wrong_credentials"):
        await sign_in(api, former)
