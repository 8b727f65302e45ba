"""The API's own description: what Swagger UI offers to try, and which answers are announced."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.processes.api_application import create_app
from app.settings import VigieSettings
from tests.integration.access.routes import OPEN, OPTIONAL_KEY
from tests.openapi import openapi_document

DOCUMENT = openapi_document()


def bodies() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Each body that a call takes: the call, its media type, its description, the call's answers."""
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"{method.upper()} {path}", media_type, content, operation["responses"]


@pytest.mark.parametrize(
    ("media_type", "content"),
    [pytest.param(each[1], each[2], id=f"{each[0]} {each[1]}") for each in bodies()],
)
def test_every_body_has_an_example(media_type: str, content: dict[str, Any]) -> None:
    schema = content["schema"]
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    shown = [where[key] for where in (content, schema) for key in ("example", "examples") if where.get(key)]
    assert shown or (media_type == "application/cbor" and schema["format"] == "binary")


@pytest.mark.parametrize("answers", [pytest.param(each[3], id=f"{each[0]} {each[1]}") for each in bodies()])
def test_whoever_sends_a_body_is_told_how_it_may_be_refused(answers: dict[str, Any]) -> None:
    assert {"400", "413", "415", "422"} <= set(answers)


@pytest.mark.parametrize("path", [path for path, each in DOCUMENT["paths"].items() if "post" in each])
def test_a_post_with_an_api_key_takes_an_idempotency_key(path: str) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    named = [each["name"] for each in operation.get("parameters", [])].count("Idempotency-Key")
    # Samples and events are known by box and time; who accepts an invitation may call as nobody.
    by_itself = path.startswith(("/v1/telemetry", "/v1/events", "/v1/adapters/", "/v1/invitations/accept"))
    assert named == (0 if by_itself or {"ApiKey": []} not in operation.get("security", []) else 1)
    assert not named or {"409", "422", "503"} <= set(operation["responses"])


def test_a_change_may_be_answered_without_a_body() -> None:
    told = {
        operation["operationId"]: operation["responses"]["204"]["description"]
        for _, _, operation in operations()
        if "204" in operation["responses"] and "200" in operation["responses"]
    }
    for called, scope in (
        ("update_rule", "rules:read"),
        ("expire_silence", "alerts:read"),
        ("revoke_box_credentials", "sites:read"),
        ("update_organisation", "organisations:read"),
    ):
        assert f"`{scope}`" in told[called]
    # What one makes oneself, and what one reads, is shown.
    assert [called for called in told if called.startswith(("create_", "get_", "list_"))] == []


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_each_call_says_whether_it_takes_a_key() -> None:
    said = {operation["operationId"]: operation.get("security") for _, _, operation in operations()}
    assert [called for called, security in said.items() if security is None] == []
    assert {called for called, security in said.items() if not security} == set(OPEN)
    assert {called for called, security in said.items() if {} in (security or [])} == set(OPTIONAL_KEY)


# What a call's id begins with, by its method: somebody who reads a generated client knows what it does.
VERBS = {
    "get": {"get", "list", "count", "stream", "export", "start"},
    "put": {"put", "set"},
    "patch": {"update"},
    "delete": {"delete", "revoke", "cancel", "remove", "end", "sign"},
}


def test_operation_ids_are_alike() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    odd = [
        f"{method.upper()} {path}: {operation['operationId']}"
        for method, path, operation in operations()
        if method in VERBS and operation["operationId"].partition("_")[0] not in VERBS[method]
    ]
    assert odd == []


def test_schemas_have_names_of_their_own() -> None:
    names = DOCUMENT["components"]["schemas"]
    assert [
        name for name in names if "__" in name or name.startswith(("Page_", "Body_")) or "-" in name
    ] == []


def test_examples_of_answers_fit_their_schemas() -> None:
    shown = 0
    for method, path, operation in operations():
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                if "example" in content:
                    shown += 1
                    schema = {**content["schema"], "components": DOCUMENT["components"]}
                    faults = [
                        error.message
                        for error in Draft202012Validator(schema).iter_errors(content["example"])
                    ]
                    assert faults == [], f"{method} {path} {status}"
    assert shown > 100


def test_every_answer_that_is_a_problem_is_one_of_the_named() -> None:
    for method, path, operation in operations():
        for status, answer in operation["responses"].items():
            if status >= "400" and path.startswith("/v1/"):
                assert answer.get("$ref", "").startswith("#/components/responses/"), (
                    f"{method} {path} {status}"
                )


def test_the_document_is_the_same_in_each_process() -> None:
    assert create_app(VigieSettings(_env_file=None)).openapi() == DOCUMENT
