"""What every answer carries, and what is refused for its head alone."""

import httpx
import pytest

from app.platform.http.middleware.request_head_checks import ADDRESS_MAX, HEADERS_MAX
from app.platform.kernel.tenant_scope import NO_CALLER, current_caller
from tests.unit.platform.http.middleware.helpers import behind_the_edge, client_at

PAGE = "https://app.example.com"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11", True),
        ("trace.A_1", True),
        ("short", False),
        ("x" * 65, False),
        ("with a space", False),
        ('"quoted"', False),
        ("", False),
    ],
)
async def test_a_request_keeps_its_id_where_that_has_the_form_of_one(given: str, *, kept: bool) -> None:
    async with client_at(behind_the_edge()) as client:
        answer = await client.get("/v1/nowhere", headers={"X-Request-Id": given})
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert (answer.headers["x-request-id"] == given) is kept
    assert len(answer.headers["x-request-id"]) >= 8


async def test_every_answer_is_guarded() -> None:
    async with client_at(behind_the_edge(public_url="https://vigie.example.com")) as client:
        for path in ("/v1/any", "/v1/nowhere", "/v1/fails", "/healthz"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert headers["strict-transport-security"] == "max-age=31536000"
            assert "permissions-policy" in headers
    async with client_at(behind_the_edge()) as client:
        assert "strict-transport-security" not in (await client.get("/v1/any")).headers


async def test_what_nobody_foresaw_is_a_problem_with_an_id() -> None:
    async with client_at(behind_the_edge()) as client:
        answer = await client.get("/v1/fails")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "foresaw" not in answer.text


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/any?" + "x" * ADDRESS_MAX, {}, 414, "uri_too_long"),
        ("/v1/any", {"X-Long": "x" * HEADERS_MAX}, 431, "headers_too_large"),
        ("/v1/any", {"Host": "[::1"}, 400, "invalid_host"),
        ("/v1/any", {"Host": "a b"}, 400, "invalid_host"),
        ("/v1/any", {"Host": "user@example.com"}, 400, "invalid_host"),
        ("/v1/any", {"Host": "example.com/path"}, 400, "invalid_host"),
    ],
    ids=lambda value: None if isinstance(value, str | dict) and len(str(value)) > 40 else str(value),
)
async def test_a_head_that_is_none_is_refused(
    path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with client_at(behind_the_edge()) as client:
        answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost:8000", "[::1]:8000", "vigie_1.example.com", "192.0.2.1", "a.b."])
async def test_hosts_are_not_taken_for_none(host: str) -> None:
    async with client_at(behind_the_edge()) as client:
        assert (await client.get("/v1/any", headers={"Host": host})).status_code == 200


async def test_head_is_get_without_its_body() -> None:
    async with client_at(behind_the_edge()) as client:
        got, head = await client.get("/v1/any"), await client.head("/v1/any")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
        assert (await client.head("/v1/stream")).status_code == 200
        assert (await client.head("/v1/telemetry")).status_code == 405
        assert (await client.head("/v1/nowhere")).content == b""


async def preflight(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PATCH"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return await client.options("/v1/any", headers=asked)


async def test_pages_elsewhere_are_off_unless_named() -> None:
    async with client_at(behind_the_edge()) as client:
        assert (
            "access-control-allow-origin"
            not in (await client.get("/v1/any", headers={"Origin": PAGE})).headers
        )
        assert (await preflight(client)).status_code == 405


async def test_a_named_page_may_call_and_see_what_it_needs() -> None:
    app = behind_the_edge(cors_origins=[PAGE], anonymous_rate_per_s=0.001, anonymous_rate_burst=1)
    async with client_at(app) as client:
        answer = await preflight(client, Access_Control_Request_Headers="authorization, if-match")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in answer.headers
        await client.get("/v1/any")
        # It sees a refusal too.
        refused = await client.get("/v1/any", headers={"Origin": PAGE})
        assert refused.status_code == 429
        assert refused.headers["access-control-allow-origin"] == PAGE
        shown = refused.headers["access-control-expose-headers"].lower().split(", ")
        assert {"x-request-id", "ratelimit-reset", "retry-after", "etag", "sunset"} <= set(shown)
        other = await preflight(client, Origin="https://evil.example.com")
        assert (other.status_code, other.json()["code"]) == (403, "cors_refused")
        assert "access-control-allow-origin" not in other.headers


async def test_any_page_reads_open_data_and_its_refusals() -> None:
    app = behind_the_edge(
        open_paths=["/v1/any"], cors_origins=[PAGE], anonymous_rate_per_s=0.001, anonymous_rate_burst=1
    )
    other = {"Origin": "https://map.example.com"}
    async with client_at(app) as client:
        open_data = await preflight(client, **other)
        assert (open_data.status_code, open_data.content) == (204, b"")
        assert open_data.headers["access-control-allow-origin"] == "*"
        assert open_data.headers["access-control-allow-methods"] == "GET, HEAD"
        assert "authorization" not in open_data.headers["access-control-allow-headers"].lower()
        # Pages of configured origins may send a key, and change data.
        named = await preflight(client, Access_Control_Request_Headers="authorization")
        assert named.headers["access-control-allow-origin"] == PAGE
        assert "PATCH" in named.headers["access-control-allow-methods"]
        for status in (200, 429):
            answer = await client.get("/v1/any", headers=other)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "*"
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"Link", "NGSILD-Results-Count", "Retry-After"} <= set(exposed)
        for path, headers in (
            ("/v1/any", {"Authorization": "Bearer x"}),
            ("/v1/anything", {}),
            ("/healthz", {}),
        ):
            answer = await client.get(path, headers={**other, **headers})
            assert "access-control-allow-origin" not in answer.headers, path


async def test_no_request_begins_as_whom_the_one_before_it_was() -> None:
    async with client_at(behind_the_edge()) as client:
        # In one task, as uvicorn has requests that wait on one connection.
        assert [(await client.get("/v1/works-for")).json() for _ in range(2)] == [False, False]
    assert current_caller() == NO_CALLER
