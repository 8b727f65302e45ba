from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI

from app.platform.kernel.application_resources import (
    get_resource,
    make_resource_dependency,
    provide_resources,
)


class Limit(int):
    pass


def test_the_latest_object_of_a_type_is_found() -> None:
    app = FastAPI()
    provide_resources(app, Limit(1), "text")
    provide_resources(app, Limit(2))
    assert (get_resource(app, Limit), get_resource(app, str)) == (2, "text")
    with pytest.raises(LookupError, match="provides no Limit"):
        get_resource(FastAPI(), Limit)


async def test_a_route_depends_on_a_type() -> None:
    app = FastAPI()

    @app.get("/limit")
    async def limit(found: Annotated[Limit, Depends(make_resource_dependency(Limit))]) -> int:
        return found

    provide_resources(app, Limit(3))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/limit")).json() == 3
