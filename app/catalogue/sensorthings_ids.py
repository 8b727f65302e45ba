"""Makes the ids of SensorThings entities, which the service and measurement subscriptions share. Pure."""

from typing import Final

from app.catalogue.metrics import INDEX

KIND_LENGTH: Final = 3
"""The digits of a Datastream's id for its metric and its kind."""
TIME_LENGTH: Final = 18
"""The digits of an Observation's id for its time."""


def make_box_id(number: str) -> str:
    """Return the id of the entities of a box: its number in the register, as a decimal number.

    All ids are texts of digits. Some clients read ids as integers, others cut integers off at 32 bits.
    """
    return str(int(number, 16))


def make_datastream_id(number: str, metric: str, *, hourly: bool) -> str:
    """Return the id of a Datastream: that of the box, and three digits for the metric and the kind."""
    return f"{make_box_id(number)}{2 * INDEX[metric] + hourly:0{KIND_LENGTH}d}"


def make_observation_id(datastream: str, time_us: int) -> str:
    """Return the id of an Observation: that of the Datastream, and 18 digits for the time (µs)."""
    return f"{datastream}{time_us:0{TIME_LENGTH}d}"
