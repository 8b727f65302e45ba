"""Describes stored rules in words, with the titles of indices and their classes. Pure."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from app.environmental_indices.index_definitions import BANDS_BY_METHOD, INDEX_DEFINITIONS
from app.notifications.sentences import rule_sentence
from app.presentation.languages import Language


def describe_rule(definition: Mapping[str, Any], language: Language, *, dry_run: bool = False) -> str:
    """Describe when a rule fires, in a few sentences.

    Args:
        definition: The stored definition.
        language: The language.
        dry_run: Whether the rule is a dry run.
    """
    return rule_sentence(definition, language, dry_run=dry_run, titles=_index_titles(language))


@cache
def _index_titles(language: Language) -> Mapping[str, str]:
    """Return the titles of indices by name (`eaqi`), and the labels of their classes (`eaqi/poor`)."""
    french = language == "fr"
    titles = {
        name: figure.method.title.fr if french else figure.method.title.en
        for name, figure in INDEX_DEFINITIONS.items()
    }
    for name, bands in BANDS_BY_METHOD.items():
        titles |= {f"{name}/{band.key}": band.label.fr if french else band.label.en for band in bands}
    return MappingProxyType(titles)
