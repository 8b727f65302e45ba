"""Maps NGSI-LD subscriptions to subscriptions to the measurement stream, and back. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from app.catalogue.smart_data_models import DEVICE, MODEL_ATTRIBUTES, list_model_metrics
from app.measurement_stream.formats.ngsi_ld import make_entity_id, make_subscription_id
from app.measurement_stream.subscriptions.models import MeasurementSubscription
from app.measurement_stream.subscriptions.schemas import SubscriptionCreate
from app.ngsi_ld.ngsi_ld_errors import BadRequestDataError, OperationNotSupportedError
from app.ngsi_ld.query_parameters import EntityId, parse_models
from app.ngsi_ld.subscription_schemas import NgsiLdSubscriptionCreate
from app.platform.kernel.instants import format_us, from_datetime

FORMAT: Final = "ngsi-ld"
_BATCH: Final = {"size": 100, "max_age": "PT1S"}
# Where an NGSI-LD subscription has what a measurement subscription has.
_FIELDS: Final[Mapping[int | str, str]] = {
    "headers": "notification.endpoint.receiverInfo",
    "url": "notification.endpoint.uri",
    "boxes": "entities.id",
    "name": "subscriptionName",
}
_STATUS: Final = {"active": "active", "paused": "paused", "disabled": "paused"}


def map_subscription(body: NgsiLdSubscriptionCreate) -> SubscriptionCreate:
    """Convert a new subscription.

    Raises:
        BadRequestDataError: A type, an id or an attribute does not exist.
        OperationNotSupportedError: It cannot be expressed as a filter of the measurement stream.
    """
    models, boxes = _map_entities(body)
    endpoint = body.notification.endpoint
    headers = {each.key: each.value for each in endpoint.receiver_info}
    given = {
        "name": body.name,
        "sink": {"kind": "webhook", "url": endpoint.uri, **({"headers": headers} if headers else {})},
        "format": FORMAT,
        "filter": {"metrics": _map_attributes(body, models), "boxes": boxes, "kinds": ["sample"]},
        "batch": _BATCH,
    }
    try:
        return SubscriptionCreate.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        field = next((_FIELDS[part] for part in fault["loc"] if part in _FIELDS), "notification.endpoint")
        raise BadRequestDataError(f"{fault['msg'].removeprefix('Value error, ')}.", field) from None


def _map_entities(body: NgsiLdSubscriptionCreate) -> tuple[list[str], list[str] | None]:
    """Return the types and the boxes; None: all boxes."""
    wanted: dict[str, set[str | None]] = {}
    for selector in body.entities:
        model, *more = parse_models(selector.type, "entities.type")
        if more:
            raise BadRequestDataError("A selector has one type. Add a selector for each.", "entities.type")
        if model == DEVICE:
            raise OperationNotSupportedError(
                "Notifications are of AirQualityObserved and NoiseLevelObserved.", "entities.type"
            )
        found = None if selector.id is None else EntityId.parse(selector.id)
        if selector.id is not None and (found is None or found.model != model):
            raise BadRequestDataError(
                f"`id` of a selector is urn:ngsi-ld:{model}:BOX with the id of a box.", "entities.id"
            )
        wanted.setdefault(model, set()).add(None if found is None else found.name)
    boxes, *others = wanted.values()
    if any(each != boxes for each in others) or (None in boxes and len(boxes) > 1):
        raise OperationNotSupportedError(
            "All selectors have to be of the same boxes. Create a subscription for each type.", "entities"
        )
    return list(wanted), None if None in boxes else sorted(map(str, boxes))


def _map_attributes(body: NgsiLdSubscriptionCreate, models: list[str]) -> list[str]:
    """Return the metrics."""
    shown, watched = body.notification.attributes, body.watched
    if shown is not None and watched is not None and set(shown) != set(watched):
        raise OperationNotSupportedError(
            "`watchedAttributes` and `notification.attributes` have to be the same. Leave one out.",
            "watchedAttributes",
        )
    names = shown or watched
    metrics = [metric for model in models for metric in list_model_metrics(model)]
    if names is None:
        return metrics
    by_name = {MODEL_ATTRIBUTES[metric].name: metric for metric in metrics}
    if unknown := [name for name in names if name not in by_name]:
        raise BadRequestDataError(
            f"{unknown[0]} is no measured attribute of {' and '.join(models)}. Use {', '.join(by_name)}.",
            "notification.attributes" if shown else "watchedAttributes",
        )
    return [by_name[name] for name in names]


def present_subscription(row: MeasurementSubscription) -> dict[str, Any]:
    """Convert a subscription to NGSI-LD, without its secrets."""
    metrics = row.metrics or list(MODEL_ATTRIBUTES)
    models = list(
        dict.fromkeys(MODEL_ATTRIBUTES[metric].model for metric in metrics if metric in MODEL_ATTRIBUTES)
    )
    names = [MODEL_ATTRIBUTES[metric].name for metric in metrics if metric in MODEL_ATTRIBUTES]
    selectors: list[Mapping[str, str]] = (
        [{"type": model} for model in models]
        if row.boxes is None
        else [{"type": model, "id": make_entity_id(model, box)} for model in models for box in row.boxes]
    )
    outcome = {
        "lastSuccess": row.last_success_at,
        "lastFailure": row.last_failure_at,
    }
    times = {name: format_us(from_datetime(at)) for name, at in outcome.items() if at is not None}
    return {
        "id": make_subscription_id(row.id),
        "type": "Subscription",
        "subscriptionName": row.name,
        "entities": selectors,
        "notification": {
            "attributes": names,
            "format": "normalized",
            "endpoint": {"uri": row.target["url"], "accept": "application/ld+json"},
            "status": "failed" if row.consecutive_failures else "ok",
            **times,
        },
        "status": _STATUS[row.state],
    }
