"""The last touches of the OpenAPI document, on documents small enough to read."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import complete_openapi, document_problems
from app.platform.http.openapi.openapi_finalizer import list_common_problems


class ThingOut(BaseModel):
    """A thing."""

    id: str = Field(examples=["thing-1"])
    name: str
    kind: str = Field(json_schema_extra={"enum": ["*", "a:b", "<="]})


def finished() -> dict[str, Any]:
    app = FastAPI()

    @app.get("/v1/things/{thing_id}", summary="Read a thing", responses=document_problems(404))
    async def get_thing(thing_id: str, only: str | None = None) -> ThingOut:
        return ThingOut(id=thing_id, name=only or "", kind="*")

    @app.get("/v1/things", summary="List things")
    async def list_things() -> Page[ThingOut]:
        raise AssertionError

    @app.delete("/v1/things", summary="Empty", status_code=204)
    async def delete_things() -> None:
        raise AssertionError

    complete_openapi(app)
    return app.openapi()


DOCUMENT = finished()
READ = DOCUMENT["paths"]["/v1/things/{thing_id}"]["get"]


def test_problems_are_described_once() -> None:
    assert READ["responses"]["404"] == {"$ref": "#/components/responses/NotFound"}
    content = DOCUMENT["components"]["responses"]["NotFound"]["content"]
    assert content["application/problem+json"]["example"]["code"] == "not_found"
    retry = DOCUMENT["components"]["responses"]["TooManyRequests"]["headers"]
    assert retry["Retry-After"] == {"$ref": "#/components/headers/RetryAfter"}
    assert "HTTPValidationError" not in DOCUMENT["components"]["schemas"]


def test_what_any_call_may_answer_is_added() -> None:
    assert {"404", "422", "429", "500", "503"} <= set(READ["responses"])
    assert list_common_problems("/healthz", {}) == set()
    assert "401" in list_common_problems("/v1/things", {"security": [{"ApiKey": []}]})
    assert {"400", "413", "415"} <= list_common_problems("/v1/things", {"requestBody": {}})


def test_paths_and_fields_get_words() -> None:
    by_name = {parameter["name"]: parameter for parameter in READ["parameters"]}
    assert by_name["thing_id"]["description"] == "The thing's id"
    assert by_name["thing_id"]["schema"]["format"] == "uuid"
    assert by_name["only"]["schema"] == {"type": "string", "title": "Only"}
    assert DOCUMENT["components"]["schemas"]["ThingOut"]["properties"]["name"]["description"]


def test_pages_are_named_for_what_they_hold() -> None:
    answer = DOCUMENT["paths"]["/v1/things"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ThingPage"}


def test_answers_have_examples() -> None:
    content = READ["responses"]["200"]["content"]["application/json"]
    assert content["example"]["id"] == "thing-1"
    assert READ["responses"]["200"]["description"] == "A thing."
    assert DOCUMENT["paths"]["/v1/things"]["delete"]["responses"]["204"]["description"].startswith("Done")


def test_members_of_enumerations_have_names() -> None:
    kind = DOCUMENT["components"]["schemas"]["ThingOut"]["properties"]["kind"]
    assert kind["x-enum-varnames"] == ["ALL", "A_B", "AT_MOST"]
