"""Encodes values as Observations of SensorThings, each of them a message at its own topic.

A topic ends with the path of the Datastream's Observations. A message is what the service returns with
`$select=id,phenomenonTime,resultTime,result`: links would need the address of an API.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from app.catalogue.metrics import INDEX
from app.catalogue.sensorthings_ids import make_datastream_id, make_observation_id
from app.measurement_stream.items import Item
from app.platform.kernel.instants import HOUR_US, format_us

MEDIA_TYPE: Final = "application/json"
TOPIC: Final = "v1.1/Datastreams('{datastream}')/Observations"

_encoder: Final = msgspec.json.Encoder()


class ObservationMessage(NamedTuple):
    """An Observation as a message.

    Attributes:
        number: its place among those of its item: they ascend.
        topic: below the topics of the organisation.
        body: the Observation in JSON.
    """

    number: int
    topic: str
    body: bytes


def list_observations(item: Item) -> Iterator[ObservationMessage]:
    """Yield the Observations of a sample or of a settled hour."""
    is_hour = item.kind == "hour"
    time = format_us(item.time_us)
    end = format_us(item.time_us + HOUR_US) if is_hour else time
    for metric, value in item.values.items():
        stream = make_datastream_id(item.box_number, metric, hourly=is_hour)
        observation = {
            "@iot.id": make_observation_id(stream, item.time_us),
            "phenomenonTime": f"{time}/{end}" if is_hour else time,
            "resultTime": end,
            "result": value,
        }
        yield ObservationMessage(INDEX[metric], TOPIC.format(datastream=stream), _encoder.encode(observation))
