"""How fast sound is, and how far that is uncertain. Pure."""

import math
from dataclasses import dataclass
from typing import Final

ABSOLUTE_ZERO_C: Final = -273.15
_SPEED_AT_0_C: Final = 331.3


def compute_speed_of_sound(temperature_c: float) -> float:
    """The speed of sound in dry air, m/s: 331.3·√(1 + T/273.15), of an ideal gas.

    Humidity adds at most 0.6 % (40 °C, saturated), 0.2 % at 20 °C: less than 1 °C of temperature does there.

    Raises:
        ValueError: the temperature is not above absolute zero.
    """
    if not temperature_c > ABSOLUTE_ZERO_C:
        raise ValueError("a temperature is above -273.15 °C")
    return _SPEED_AT_0_C * math.sqrt(1.0 + temperature_c / -ABSOLUTE_ZERO_C)


@dataclass(frozen=True, slots=True)
class AirConditions:
    """The air between source and boxes.

    Attributes:
        temperature_c: of the air, °C.
        temperature_sigma_c: standard error of that over the whole area, °C.
        wind_sigma_m_s: standard deviation of each component of a wind that is the same everywhere and not
            known, m/s; 0 takes the air for still.
    """

    temperature_c: float = 15.0
    temperature_sigma_c: float = 2.0
    wind_sigma_m_s: float = 0.0

    @property
    def speed(self) -> float:
        """Of sound, m/s."""
        return compute_speed_of_sound(self.temperature_c)

    @property
    def slowness_sigma(self) -> float:
        """Relative standard error of travel times: s(T) / (2·(T + 273.15)), the formula's derivative."""
        return self.temperature_sigma_c / (2.0 * (self.temperature_c - ABSOLUTE_ZERO_C))
