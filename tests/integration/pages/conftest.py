"""Anybody, people, and a city: as the rooms have them whose pages these are."""

import pytest

from tests.guides import build_guides_once
from tests.integration.people.conftest import _cheap_hashes, anybody, folk
from tests.integration.public_register.conftest import public

__all__ = ["_cheap_hashes", "anybody", "folk", "public"]


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build_guides_once()
