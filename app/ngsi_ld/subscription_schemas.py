"""Defines the bodies of NGSI-LD subscriptions, as far as they map to subscriptions to measurements."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from app.catalogue.smart_data_models import AIR, MODEL_IRIS, NOISE
from app.platform.http.contract.fields import Name, RequestBody

_LONGEST = 256
_MOST = 100
_Text = Annotated[str, Field(min_length=1, max_length=_LONGEST)]


class EntitySelector(RequestBody):
    """Selects all entities of a type, or one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": AIR}]})

    type: Annotated[
        _Text,
        Field(
            description="`AirQualityObserved` or `NoiseLevelObserved`, or its IRI",
            examples=[AIR],
            # Checked by hand: the fault has the type that the standard names.
            json_schema_extra={
                "enum": [text for model in (AIR, NOISE) for text in (model, MODEL_IRIS[model])]
            },
        ),
    ]
    id: Annotated[
        _Text | None,
        Field(
            description="Only this entity; null: all of the type",
            examples=["urn:ngsi-ld:AirQualityObserved:box-0001"],
        ),
    ] = None


class ReceiverHeader(RequestBody):
    """A header that the receiver gets with each notification."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"key": "X-Tenant", "value": "toulouse"}]})

    key: Annotated[_Text, Field(description="The name of the header", examples=["X-Tenant"])]
    value: Annotated[str, Field(max_length=1000, description="Its value", examples=["toulouse"])]


class NotificationEndpoint(RequestBody):
    """The receiver of notifications."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"uri": "https://example.com/notify"}]})

    uri: Annotated[
        _Text,
        Field(
            description="The URL to post to: https, a public host", examples=["https://example.com/notify"]
        ),
    ]
    accept: Annotated[
        Literal["application/ld+json"],
        Field(description="The media type of notifications; `@context` is in the body"),
    ] = "application/ld+json"
    receiver_info: Annotated[
        list[ReceiverHeader],
        Field(
            alias="receiverInfo", max_length=20, description="Further headers. Responses do not show values"
        ),
    ] = Field(default_factory=list, alias="receiverInfo")


class NotificationParameters(RequestBody):
    """The content and the receiver of notifications."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"attributes": ["pm25"], "endpoint": {"uri": "https://example.com/notify"}}]
        }
    )

    attributes: Annotated[
        list[_Text] | None,
        Field(
            min_length=1,
            max_length=_MOST,
            description="Only these measured attributes; null: all of the types",
            examples=[["pm25", "no2"]],
        ),
    ] = None
    format: Annotated[
        Literal["normalized"], Field(description="The representation of entities in notifications")
    ] = "normalized"
    endpoint: NotificationEndpoint


class NgsiLdSubscriptionCreate(RequestBody):
    """A new subscription. Other fields of NGSI-LD are refused (`unknown_field`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "Subscription",
                    "subscriptionName": "Air to the context broker",
                    "entities": [{"type": AIR}],
                    "notification": {
                        "attributes": ["pm25", "no2"],
                        "endpoint": {"uri": "https://example.com/notify"},
                    },
                }
            ]
        }
    )

    type: Annotated[Literal["Subscription"], Field(description="The type in NGSI-LD")]
    name: Annotated[
        Name, Field(alias="subscriptionName", description="A name for people", examples=["Air to the broker"])
    ] = Field(default="NGSI-LD", alias="subscriptionName")
    entities: Annotated[
        list[EntitySelector],
        Field(min_length=1, max_length=_MOST, description="Selectors of entities"),
    ]
    watched: Annotated[
        list[_Text] | None,
        Field(
            alias="watchedAttributes",
            min_length=1,
            max_length=_MOST,
            description="Samples with any of these attributes lead to a notification. If "
            "`notification.attributes` is there too, both have to be the same",
            examples=[["pm25"]],
        ),
    ] = Field(default=None, alias="watchedAttributes")
    notification: NotificationParameters
    context: Annotated[
        Any,
        Field(alias="@context", description="Has no effect: types and attributes are short names or IRIs"),
    ] = Field(default=None, alias="@context")
