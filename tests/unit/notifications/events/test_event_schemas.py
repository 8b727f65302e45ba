"""The catalogue of events: each type has its shape, its example and its place in the API's description."""

import json

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from app.notifications.delivery.alert_grouping import GROUP_EVENT
from app.notifications.events.event_examples import EXAMPLES
from app.notifications.events.event_schemas import EVENT_SCHEMAS
from app.notifications.events.event_types import EVENTS, TEST_EVENT
from tests.openapi import openapi_document

DOCUMENT = openapi_document()


def test_every_type_that_is_sent_is_in_it() -> None:
    assert set(EVENT_SCHEMAS) == set(EXAMPLES) == {*EVENTS, GROUP_EVENT, TEST_EVENT}


@pytest.mark.parametrize("type_", EVENT_SCHEMAS)
def test_an_example_is_of_its_shape_and_of_no_other(type_: str) -> None:
    text = json.dumps(EXAMPLES[type_])
    EVENT_SCHEMAS[type_].model_validate_json(text, extra="forbid")
    for other, shape in EVENT_SCHEMAS.items():
        if other != type_:
            with pytest.raises(ValidationError):
                shape.model_validate_json(text)


@pytest.mark.parametrize("type_", EVENT_SCHEMAS)
def test_the_schema_that_clients_get_takes_the_example(type_: str) -> None:
    schema = EVENT_SCHEMAS[type_].model_json_schema(mode="serialization")
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(EXAMPLES[type_])
    assert not Draft202012Validator(schema).is_valid({**EXAMPLES[type_], "type": "other"})


@pytest.mark.parametrize("type_", EVENT_SCHEMAS)
def test_the_api_describes_what_it_calls(type_: str) -> None:
    operation = DOCUMENT["webhooks"][type_]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert (
        content["schema"] == {"$ref": f"#/components/schemas/{EVENT_SCHEMAS[type_].__name__}"}
        or content["schema"]["examples"]
    )
    assert {one["name"] for one in operation["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    assert all(one["required"] for one in operation["parameters"])
    assert operation["security"] == []
    assert set(operation["responses"]) == {"204", "410", "default"}


def test_the_description_names_no_shape_that_is_not_there() -> None:
    text = json.dumps(DOCUMENT)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert named <= set(DOCUMENT["components"]["schemas"])
    assert DOCUMENT["openapi"].startswith("3.1")
