from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from app.platform.http.contract.deprecation import MIN_NOTICE_PERIOD, mark_deprecated
from app.platform.http.middleware.request_context import RequestContextMiddleware

SINCE = datetime(2027, 1, 1, tzinfo=UTC)
SUNSET = datetime(2027, 8, 1, tzinfo=UTC)


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    made.add_middleware(RequestContextMiddleware, https=False)
    old = mark_deprecated(since=SINCE, sunset=SUNSET, link="/docs#/Sites", openapi_extra={"x-more": 1})

    @made.get("/v1/old/{name}", **old)
    async def ask(name: str) -> dict[str, str]:
        if name == "none":
            raise HTTPException(404)
        return {}

    @made.get("/v1/new")
    async def new() -> dict[str, str]:
        return {}

    return made


@pytest.mark.parametrize(("name", "status"), [("a", 200), ("none", 404)])
async def test_every_answer_of_a_deprecated_route_says_so(app: FastAPI, name: str, status: int) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vigie.test") as client:
        answer = await client.get(f"/v1/old/{name}")
        assert answer.status_code == status
        assert answer.headers["deprecation"] == "@1798761600"
        assert answer.headers["sunset"] == "Sun, 01 Aug 2027 00:00:00 GMT"
        assert answer.headers["link"] == '</docs#/Sites>; rel="deprecation"; type="text/html"'
        assert "deprecation" not in (await client.get("/v1/new")).headers


def test_the_openapi_document_says_so(app: FastAPI) -> None:
    operation = app.openapi()["paths"]["/v1/old/{name}"]["get"]
    assert operation["deprecated"] is True
    assert operation["x-deprecation"]["sunset"] == "2027-08-01T00:00:00+00:00"
    assert operation["x-more"] == 1


@pytest.mark.parametrize(
    ("sunset", "link"),
    [(SINCE + MIN_NOTICE_PERIOD - timedelta(days=1), "/docs"), (SUNSET, "/a b"), (SUNSET, "/docs>")],
)
def test_too_short_a_notice_or_a_link_that_is_none_is_refused(sunset: datetime, link: str) -> None:
    with pytest.raises(ValueError, match=r"deprecated|link"):
        mark_deprecated(since=SINCE, sunset=sunset, link=link)
