"""Defines the data types of rule presets: texts, citation, legal validity and rules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

from app.environmental_indices.method_registry import METHODS
from app.presentation.languages import Language

_METRIC: Final = "metric"
_INDEX: Final = "index"


class PresetText(NamedTuple):
    """A text in English and French."""

    en: str
    fr: str

    def to(self, language: Language) -> str:
        """Return the text in one language."""
        return self.fr if language == "fr" else self.en


@dataclass(frozen=True, slots=True)
class PresetCitation:
    """The source of the thresholds of a preset.

    Attributes:
        document: the title of the source.
        article: the place in the source.
        url: the address of the source.
        unverified: whether we did not read the source, or not its present wording: check before you rely on
            it.
    """

    document: str
    article: str | None = None
    url: str | None = None
    unverified: bool = False


class LegalValidity(NamedTuple):
    """The time range in which the thresholds of a preset are law.

    Attributes:
        first: the first day; None if it is not known, or the thresholds are not law.
        end: the first day on which they no longer apply; None if no end is known.
    """

    first: date | None = None
    end: date | None = None

    def includes(self, day: date) -> bool:
        """Return whether they apply on a day."""
        return (self.first is None or self.first <= day) and (self.end is None or day < self.end)


ALWAYS: Final = LegalValidity()


@dataclass(frozen=True, slots=True)
class PresetRule:
    """One rule of a preset.

    Attributes:
        name: the name of the rule.
        body: the other fields of a body of `POST /v1/rules`, without a site.
    """

    name: PresetText
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Preset:
    """Predefined rules for a purpose.

    Attributes:
        id: its id in URLs.
        version: increases with each change of its rules.
        title: its title in lists.
        description: what its rules detect, and what they cannot show.
        advice: what to do when it fires; it becomes the description of its rules.
        citation: the source of its thresholds; None if we chose them.
        kinds: the kinds of site that it suits; empty: any.
        rules: its rules.
        applies: when its thresholds are law.
    """

    id: str
    version: int
    title: PresetText
    description: PresetText
    advice: PresetText
    citation: PresetCitation | None
    kinds: tuple[str, ...]
    rules: tuple[PresetRule, ...]
    applies: LegalValidity = ALWAYS

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that its rules use, in the order of their first mention."""
        return tuple(dict.fromkeys(found for rule in self.rules for found in _metrics(rule.body)))


def _metrics(part: Any) -> Iterator[str]:  # noqa: ANN401 (whatever JSON holds)
    if isinstance(part, Mapping):
        if isinstance(part.get(_METRIC), str):
            yield part[_METRIC]
        elif isinstance(part.get(_INDEX), str):
            yield from METHODS[part[_INDEX]].metrics
        for inner in part.values():
            yield from _metrics(inner)
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _metrics(inner)
