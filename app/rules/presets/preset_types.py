"""What a preset is made of. Data only: no database, no HTTP."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, NamedTuple

from app.indicators.method_registry import METHODS

type Language = Literal["en", "fr"]

# A condition goes no deeper than a few levels; metrics stand in its leaves.
_METRIC: Final = "metric"
_INDEX: Final = "index"


class PresetText(NamedTuple):
    """A text for people, in both languages."""

    en: str
    fr: str

    def to(self, language: Language) -> str:
        """The text in one language."""
        return self.fr if language == "fr" else self.en


@dataclass(frozen=True, slots=True)
class PresetCitation:
    """Where the numbers of a preset are from.

    Attributes:
        document: the text that has them.
        article: where in it.
        url: where to read it.
        unverified: the text itself was not read, or not its present wording: check it before relying on it.
    """

    document: str
    article: str | None = None
    url: str | None = None
    unverified: bool = False


class LegalValidity(NamedTuple):
    """From when until when the numbers of a preset apply in law.

    Attributes:
        first: the first day; None: as long as anybody remembers, or no matter of law.
        end: the first day on which they no longer apply; None: no end is known.
    """

    first: date | None = None
    end: date | None = None

    def includes(self, day: date) -> bool:
        """Whether they apply on a day."""
        return (self.first is None or self.first <= day) and (self.end is None or day < self.end)


ALWAYS: Final = LegalValidity()


@dataclass(frozen=True, slots=True)
class PresetRule:
    """One rule of a preset.

    Attributes:
        name: becomes the rule's.
        body: the other fields of a rule as `POST /v1/rules` takes them, without a site.
    """

    name: PresetText
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Preset:
    """Rules for a purpose, ready to be used at a site.

    Attributes:
        id: its name in URLs.
        version: counts up with each change of its rules.
        title: for lists.
        description: what it watches, and what it does not say.
        advice: what to do when it fires; becomes the description of its rules.
        citation: where its numbers are from; None where they are a choice of ours.
        kinds: kinds of site that it is for; empty: any.
        rules: what it makes.
        applies: from when until when its numbers apply in law.
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
        """The metrics that its rules look at, in the order of their first mention."""
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
