"""What whoever asks for a figure may choose, and which methods heed it. Pure data.

Owns the words of the choices. What they mean is the business of each method.
"""

from collections.abc import Mapping
from typing import Final, Literal

type NoiseCountry = Literal["EU", "FR", "DE"]
type RoomUse = Literal["writing", "cad", "drawing", "meeting", "reception", "filing", "archive", "corridor"]
type MouldMaterial = Literal["very_sensitive", "sensitive", "medium_resistant", "resistant"]
type OdourArea = Literal["residential", "commercial", "village"]

SUPPORTED_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "lden-day": frozenset({"country"}),
    "lden-year": frozenset({"country"}),
    "thermal-comfort": frozenset({"season"}),
    "light": frozenset({"use"}),
    "mould-index": frozenset({"material"}),
    "odour-episodes": frozenset({"odour"}),
    "odour-hours": frozenset({"odour", "area"}),
}
"""The choices that a method heeds; those that are not here heed none."""
