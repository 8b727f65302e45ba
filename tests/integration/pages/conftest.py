"""Anybody, people, and a city: as the rooms have them whose pages these are."""

from tests.integration.people.conftest import _cheap_hashes, anybody, folk
from tests.integration.public_register.conftest import public

__all__ = ["_cheap_hashes", "anybody", "folk", "public"]
