import asyncio

from app.platform.kernel.secret_tokens import generate_key
from tests.unit.platform.http.middleware.helpers import behind_the_edge, client_at


async def test_what_takes_too_long_is_ended_with_a_code() -> None:
    app = behind_the_edge(asyncio.Event(), deadline_s=1.0)
    async with client_at(app) as client:
        answer = await client.get("/v1/slow")
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert (await client.get("/v1/any")).status_code == 200


async def test_an_answer_that_has_begun_may_go_on() -> None:
    gate = asyncio.Event()
    app = behind_the_edge(gate, deadline_s=1.0)
    async with client_at(app) as client:
        asking = asyncio.create_task(client.get("/v1/stream"))
        await asyncio.sleep(1.1)
        assert not asking.done()
        gate.set()
        assert (await asking).text == ": here\n\n"


async def test_a_key_has_so_many_at_once_and_streams_are_not_counted() -> None:
    gate = asyncio.Event()
    app = behind_the_edge(gate, running_per_key=1, waiting_per_key=1)
    async with client_at(app, generate_key()) as client, client_at(app, generate_key()) as other:
        for each in (client, other):
            await each.get("/v1/good")
        asked = []
        for path in ("/v1/stream", "/v1/stream", "/v1/slow"):
            asked.append(asyncio.create_task(client.get(path)))
            async with asyncio.timeout(60):
                await app.state.begun.get()
        asked.append(asyncio.create_task(client.get("/v1/slow")))
        # It is waiting by the time that the one after it is refused.
        await asyncio.sleep(0.05)
        refused = await client.get("/v1/slow")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests_at_once")
        assert refused.headers["retry-after"] == "1"
        # Samples have a line of their own, and so has everybody else.
        assert (await client.post("/v1/telemetry")).status_code == 200
        assert (await other.get("/v1/any")).status_code == 200
        gate.set()
        assert [each.status_code for each in await asyncio.gather(*asked)] == [200] * 4
        assert (await client.get("/v1/any")).status_code == 200
