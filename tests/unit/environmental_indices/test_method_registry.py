"""The register of methods: complete, unmistakable, true to the catalogue."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices import index_results
from app.environmental_indices.index_results import NO_VALUE_REASONS, IndexMethod
from app.environmental_indices.method_registry import METHODS

ROOT = Path(__file__).parents[3]


def test_every_method_is_registered_once() -> None:
    found = []
    for path in sorted((ROOT / "app" / "environmental_indices").glob("*.py")):
        module = import_module(f"app.environmental_indices.{path.stem}")
        found += [value for value in vars(module).values() if isinstance(value, IndexMethod)]
    assert {method.name for method in found} == set(METHODS)
    assert len({id(method) for method in found}) == len(METHODS)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_a_method_says_what_it_is(method: IndexMethod) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", method.name)
    assert method.version >= 1
    assert all(metric in METRICS_BY_NAME for metric in method.metrics)
    assert all(text.strip() for text in (*method.title, method.citation.document, method.citation.basis))
    assert all(text.strip() for note in method.notes for text in note)
    # A rule of coverage has a number.
    assert re.search(r"\d+ %", method.coverage)
    url = method.citation.url
    assert url is None or url.startswith("https://")


def test_names_and_versions_are_what_others_rely_on() -> None:
    """A name never changes; a version counts up with each change of numbers or formula, here as well."""
    assert {method.name: method.version for method in METHODS.values()} == dict.fromkeys(
        [
            *("eaqi", "atmo", "who-24h", "who-o3-8h", "who-year", "who-o3-peak-season", "who-days-over"),
            *("leq", "lden-day", "lden-year", "noise-emergence"),
            *("indoor-co2", "indoor-formaldehyde-hour", "indoor-formaldehyde-week", "indoor-benzene"),
            *("mite-risk", "mould-index", "odour-episodes", "odour-hours"),
            *("thermal-comfort", "humidex", "light"),
        ],
        1,
    ) | {"who-year": 2}


def test_what_is_not_verified_says_so_wherever_it_is_cited() -> None:
    unverified = {method.name for method in METHODS.values() if method.citation.status == "unverified"}
    assert unverified == {
        "indoor-formaldehyde-hour",
        "indoor-formaldehyde-week",
        "indoor-benzene",
        "mould-index",
    }
    for method in METHODS.values():
        assert method.citation.shown.endswith("[unverified]") is (method.name in unverified)


def test_every_reason_has_its_words() -> None:
    assert set(NO_VALUE_REASONS) == set(index_results.NoValueReason.__value__.__args__)
