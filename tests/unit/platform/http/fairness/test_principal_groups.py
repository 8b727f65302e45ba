"""What the keys of an organisation, and the clients of an integrator, may do together; through the edge."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.http.fairness import principal_groups, rate_limits
from app.platform.http.fairness.principal_groups import PrincipalGroup, VerifiedKeyCache
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.secret_tokens import SESSION_PREFIX, generate_key
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import HTTP_REFUSED
from tests.unit.platform.http.middleware.helpers import behind_the_edge, client_at

_BUSY = {"GET": "/v1/busy", "POST": "/v1/adapters/busy"}
NEVER: dict[str, Any] = {"rate_per_s": 0, "organisation_rate_per_s": 0.001}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are not held up."""
    monkeypatch.setattr(rate_limits, "_REFUSAL_DELAY_S", 0.0)


def keys_of(
    app: FastAPI, organisation: UUID, number: int, *, integrator: UUID | None = None, prefix: str = "vg_"
) -> list[str]:
    keys = [generate_key(prefix) for _ in range(number)]
    app.state.whose |= dict.fromkeys(keys, (organisation, integrator))
    return keys


async def ask(app: FastAPI, key: str, path: str = "/v1/good") -> httpx.Response:
    async with client_at(app, key) as client:
        return await client.get(path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (what is waited for is told by nobody)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("prefix", ["vg_", SESSION_PREFIX])
async def test_many_keys_or_sign_ins_of_an_organisation_have_one_limit(prefix: str) -> None:
    app = behind_the_edge(**NEVER, organisation_rate_burst=5)
    keys = keys_of(app, uuid4(), 4, prefix=prefix)
    refused = HTTP_REFUSED.labels("rate_limited", "organisation")._value.get()
    answers = [await ask(app, key) for key in keys + keys]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert answers[-1].json()["code"] == "rate_limited"
    assert answers[-1].headers["ratelimit-limit"] == "5"
    assert HTTP_REFUSED.labels("rate_limited", "organisation")._value.get() == refused + 3
    # Nothing was looked up for those that were refused.
    assert app.state.lookups.total() == 5
    assert (await ask(app, *keys_of(app, uuid4(), 1))).status_code == 200


async def test_the_first_request_of_a_new_key_counts_as_well() -> None:
    app = behind_the_edge(**NEVER, organisation_rate_burst=3)
    keys = keys_of(app, uuid4(), 5)
    answers = [await ask(app, key) for key in keys]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 1


async def test_clients_of_an_integrator_have_limits_of_their_own_and_one_together() -> None:
    app = behind_the_edge(**NEVER, organisation_rate_burst=2, integrator_factor=2)
    integrator = uuid4()
    (own,) = keys_of(app, integrator, 1)
    clients = [*(keys_of(app, uuid4(), 1, integrator=integrator)[0] for _ in range(3))]
    got = [
        (await ask(app, key)).status_code for key in [clients[0]] * 3 + [clients[1]] * 2 + [clients[2], own]
    ]
    assert got == [200, 200, 429, 200, 200, 429, 429]


async def test_answers_tell_of_the_limit_that_is_nearest() -> None:
    app = behind_the_edge(
        rate_per_s=0.001, rate_burst=4, organisation_rate_per_s=0.001, organisation_rate_burst=5
    )
    first, second = keys_of(app, uuid4(), 2)
    for key in (first, second):
        await ask(app, key)
    assert (await ask(app, first)).headers["ratelimit-remaining"] == "2"
    answer = await ask(app, second)
    assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("5", "1")


async def test_what_a_narrower_limit_refuses_takes_nothing_from_the_wider() -> None:
    app = behind_the_edge(
        rate_per_s=0.001, rate_burst=1, organisation_rate_per_s=0.001, organisation_rate_burst=3
    )
    first, second = keys_of(app, uuid4(), 2)
    assert [(await ask(app, first)).status_code for _ in range(4)] == [200, 429, 429, 429]
    assert (await ask(app, second)).status_code == 200


async def test_a_revoked_key_is_known_no_more_once_it_was_refused() -> None:
    app = behind_the_edge(anonymous_rate_per_s=0.001, anonymous_rate_burst=2)
    (key,) = keys_of(app, uuid4(), 1)
    assert [(await ask(app, key)).status_code for _ in range(4)] == [200] * 4
    app.state.whose[key] = (None, None)
    # The first of these still counts for its organisation, all others for their address alone.
    assert [(await ask(app, key)).status_code for _ in range(4)] == [401, 401, 401, 429]


async def test_a_key_that_was_good_and_is_not_asked_for_stops_counting_for_its_organisation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = behind_the_edge(**NEVER, organisation_rate_burst=3)
    (former,), (own,) = keys_of(app, organisation := uuid4(), 1), keys_of(app, organisation, 1)
    assert (await ask(app, former)).status_code == 200
    app.state.whose[former] = (None, None)
    # More than a minute later.
    monkeypatch.setattr(principal_groups, "_CACHE_TTL_S", -1.0)
    assert [(await ask(app, former, "/v1/any")).status_code for _ in range(5)] == [200] * 5
    assert [(await ask(app, own)).status_code for _ in range(3)] == [200, 200, 429]


def test_each_look_at_a_key_has_it_known_for_another_minute() -> None:
    known, account = VerifiedKeyCache(), PrincipalGroup(uuid4(), uuid4())
    for now in (0.0, 50.0):
        known.add(b"a", account, now)
    assert (known.get(b"a", 100.0), known.get(b"a", 111.0)) == (account, None)


async def test_a_sign_in_counts_for_the_organisation_that_it_is_in_now() -> None:
    app = behind_the_edge(**NEVER, organisation_rate_burst=2)
    (key,) = keys_of(app, uuid4(), 1, prefix=SESSION_PREFIX)
    assert [(await ask(app, key)).status_code for _ in range(2)] == [200, 200]
    app.state.whose[key] = (second := uuid4(), None)
    # Until it is looked up the next time, nobody knows; what it was last had nothing left.
    assert (await ask(app, key)).status_code == 429
    (other,) = keys_of(app, second, 1)
    assert [(await ask(app, other)).status_code for _ in range(3)] == [200, 200, 429]


async def test_known_keys_are_bounded() -> None:
    known = VerifiedKeyCache(most=2)
    account = PrincipalGroup(uuid4(), uuid4())
    for digest in (b"a", b"b", b"a", b"c"):
        known.add(digest, account, 0.0)
    assert [known.get(digest, 0.0) for digest in (b"a", b"b", b"c")] == [account, None, account]
    known.remove(b"a")
    known.remove(b"a")
    assert len(known) == 1


def test_a_client_counts_for_its_integrator() -> None:
    def of(organisation: UUID, integrator: UUID | None) -> PrincipalGroup:
        return PrincipalGroup.of(
            Principal(
                uuid4(),
                organisation,
                False,
                frozenset(),
                TenantScope.of([organisation]),
                integrator_id=integrator,
            )
        )

    integrator, client = uuid4(), uuid4()
    assert of(client, integrator) == (client, integrator)
    assert of(integrator, None) == (integrator, integrator)


async def all_asking(
    app: FastAPI, keys: list[str], each: int, stack: AsyncExitStack, method: str = "GET"
) -> list[asyncio.Task[httpx.Response]]:
    asked = []
    for key in keys:
        client = await stack.enter_async_context(client_at(app, key))
        asked += [asyncio.create_task(client.request(method, _BUSY[method])) for _ in range(each)]
    return asked


async def test_an_organisation_has_so_many_at_once_by_whatever_keys() -> None:
    gate = asyncio.Event()
    app = behind_the_edge(gate, running_per_organisation=2, waiting_per_organisation=20)
    keys, (neighbour,) = keys_of(app, uuid4(), 5), keys_of(app, uuid4(), 1)
    async with AsyncExitStack() as stack:
        # Keys that nobody knows yet, then the same ones, which are known.
        for _ in range(2):
            gate.clear()
            asked = await all_asking(app, keys, 4, stack)
            await until(lambda: app.state.running.total() == 2)
            other = await all_asking(app, [neighbour], 1, stack)
            await until(lambda: app.state.running[f"Bearer {neighbour}"] == 1)
            gate.set()
            assert {answer.status_code for answer in await asyncio.gather(*asked, *other)} == {200}
            assert app.state.most == 3


async def test_more_than_may_wait_of_an_organisation_are_refused_without_a_look() -> None:
    gate = asyncio.Event()
    app = behind_the_edge(gate, running_per_organisation=2, waiting_per_organisation=3)
    keys = keys_of(app, uuid4(), 4)
    for key in keys:
        await ask(app, key)
    async with AsyncExitStack() as stack:
        asked = await all_asking(app, keys, 2, stack)
        await until(lambda: sum(task.done() for task in asked) == 3)
        codes = [task.result().json()["code"] for task in asked if task.done()]
        assert codes == ["too_many_requests_at_once"] * 3
        assert app.state.lookups.total() == 4 + 2
        gate.set()
        assert sum(answer.status_code == 200 for answer in await asyncio.gather(*asked)) == 5


async def test_an_integrators_clients_do_not_multiply_what_runs_at_once() -> None:
    gate = asyncio.Event()
    app = behind_the_edge(gate, running_per_organisation=2, running_per_integrator=3)
    integrator = uuid4()
    clients = [keys_of(app, uuid4(), 1, integrator=integrator)[0] for _ in range(4)]
    async with AsyncExitStack() as stack:
        asked = await all_asking(app, clients, 2, stack)
        await until(lambda: app.state.running.total() == 3)
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert app.state.most == 3


async def test_no_organisation_has_all_connections_and_all_together_not_more() -> None:
    connections = 10
    gate = asyncio.Event()
    app = behind_the_edge(gate, running_per_organisation=100, running_per_integrator=100, running_per_key=100)
    assert DatabaseSettings().pool_size == connections
    keys = [keys_of(app, uuid4(), 1)[0] for _ in range(3)]
    async with AsyncExitStack() as stack:
        asked = await all_asking(app, keys[:1], 30, stack)
        await until(lambda: app.state.running.total() == connections - 1)
        asked += await all_asking(app, keys[1:], 1, stack)
        await until(lambda: app.state.running.total() == connections)
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert app.state.most == connections


async def test_calls_with_samples_wait_for_no_connection() -> None:
    """They are committed in groups: what limits them is the organisation's own number."""
    gate = asyncio.Event()
    app = behind_the_edge(gate, running_per_organisation=12, running_per_integrator=12, running_per_key=100)
    keys = [keys_of(app, uuid4(), 1)[0] for _ in range(3)]
    async with AsyncExitStack() as stack:
        asked = await all_asking(app, keys, 20, stack, "POST")
        await until(lambda: app.state.running.total() == 3 * 12)
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert app.state.most == 3 * 12
