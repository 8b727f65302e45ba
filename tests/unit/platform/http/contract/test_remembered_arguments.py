"""Arguments are resolved once for a caller and an address, and each caller has its own."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import Cookie, Depends, FastAPI, Header, Query, Request, Response
from fastapi.routing import APIRouter

from app.platform.http.contract import remembered_arguments
from app.platform.http.contract.remembered_arguments import ArgumentCache, Endpoint, remember_arguments
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, current_principal
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.tenant_scope import TenantScope

RESOLVED: list[tuple[UUID, int]] = []


def principal() -> Principal:
    organisation = uuid4()
    scope = TenantScope((organisation,), None)
    return Principal(uuid4(), organisation, platform=False, scopes=frozenset(), tenant_scope=scope)


async def _filter(
    caller: Annotated[Principal, Depends(current_principal)], number: Annotated[int, Query()] = 0
) -> int:
    RESOLVED.append((caller.key_id, number))
    return number


async def show(
    caller: Annotated[Principal, Depends(current_principal)], number: Annotated[int, Depends(_filter)]
) -> Response:
    return Response(f"{caller.key_id} {number}")


@pytest.fixture
def _callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers by the header `who`."""
    callers = {name: principal() for name in ("a", "b")}

    async def authenticate(request: Request) -> Principal:
        return callers[request.headers["who"]]

    monkeypatch.setattr(remembered_arguments, "authenticate_request", authenticate)
    monkeypatch.setattr(f"{__name__}._authenticate", authenticate)
    RESOLVED.clear()


async def _authenticate(_: Request) -> Principal:
    raise NotImplementedError


def make_client(cache: ArgumentCache) -> httpx.AsyncClient:
    router = APIRouter(route_class=StrictRoute)
    router.get("/")(remember_arguments(show))
    app = FastAPI()
    provide_resources(app, cache)
    app.include_router(router)
    app.dependency_overrides[current_principal] = _authenticate
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vigie")


@pytest.fixture
async def client(_callers: None) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client(ArgumentCache()) as client:
        yield client


async def test_a_call_to_the_same_address_resolves_nothing_again(client: httpx.AsyncClient) -> None:
    first = [(await client.get("/?number=1", headers={"who": "a"})).text for _ in range(3)]
    assert len(set(first)) == 1
    assert [number for _, number in RESOLVED] == [1]
    assert (await client.get("/?number=2", headers={"who": "a"})).text.endswith(" 2")
    assert [number for _, number in RESOLVED] == [1, 2]


async def test_each_caller_gets_its_own(client: httpx.AsyncClient) -> None:
    answers = [(await client.get("/", headers={"who": who})).text for who in "abab"]
    assert answers[0] == answers[2] != answers[1] == answers[3]
    assert len({caller for caller, _ in RESOLVED}) == len(RESOLVED) == 2


async def test_what_was_refused_is_not_remembered(client: httpx.AsyncClient) -> None:
    statuses = [(await client.get("/?number=x", headers={"who": "a"})).status_code for _ in range(2)]
    assert statuses == [422, 422]
    assert RESOLVED == []


@pytest.mark.usefixtures("_callers")
async def test_few_calls_are_remembered() -> None:
    cache = ArgumentCache(most=2)
    async with make_client(cache) as client:
        for number in (1, 2, 3, 1, 3):
            await client.get(f"/?number={number}", headers={"who": "a"})
        assert [number for _, number in RESOLVED] == [1, 2, 3, 1]
        await client.get(f"/?number={'0' * 2000}3", headers={"who": "a"})
        await client.get("/?number=3", headers={"who": "a"})
        assert [number for _, number in RESOLVED] == [1, 2, 3, 1, 3]
    assert len(cache) == 2


async def _session() -> AsyncIterator[int]:
    yield 1


class Yielding:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


async def of_session(one: Annotated[int, Depends(_session)]) -> Response:
    return Response(f"{one}")


async def of_object(one: Annotated[int, Depends(Yielding())]) -> Response:
    return Response(f"{one}")


async def of_header(agent: Annotated[str, Header()]) -> Response:
    return Response(agent)


async def of_cookie(crumb: Annotated[str, Cookie()]) -> Response:
    return Response(crumb)


async def of_request(request: Request) -> Response:
    return Response(request.url.path)


async def of_response(response: Response) -> Response:
    return response


@pytest.mark.parametrize("endpoint", [of_session, of_object, of_header, of_cookie, of_request, of_response])
def test_what_belongs_to_one_request_is_not_remembered(endpoint: Endpoint) -> None:
    with pytest.raises(TypeError):
        APIRouter(route_class=StrictRoute).get("/")(remember_arguments(endpoint))


async def test_a_caller_with_other_rights_gets_none_of_before(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = principal()
    after = replace(before, scopes=frozenset({"sites:read"}))
    for caller in (before, replace(before), after):

        async def authenticate(_: Request, caller: Principal = caller) -> Principal:
            return caller

        monkeypatch.setattr(remembered_arguments, "authenticate_request", authenticate)
        await client.get("/", headers={"who": "a"})
    assert len(RESOLVED) == 2
