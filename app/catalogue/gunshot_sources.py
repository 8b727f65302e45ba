"""Loads the catalogue of acoustic sources: firearm models, and sounds that are mistaken for shots.

The ids are those that a box sends as `class` and `model` in the candidates of an event. Boxes may send other
values: a firmware may be newer than the catalogue. Pure: it only reads the two data files beside it, at
import.

`projectile` compares the muzzle velocity of common loads with about 340 m/s (air at 15 °C). A supersonic shot
has a shock wave besides the muzzle blast.
"""

import csv
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Annotated, Any, Final, Literal

import msgspec

type SourceKind = Literal["firearm", "look_alike"]
type FireMode = Literal["single", "semi", "burst", "full"]
type ProjectileSpeed = Literal["supersonic", "subsonic", "either"]

_HERE: Final = "app.catalogue"
_ID_LIMIT: Final = 64
# The multiplication sign of a calibre such as 9x19.
_TIMES: Final = "\N{MULTIPLICATION SIGN}"

# A model is a slug, as boxes write it. A class is a word, because it is used in code and in charts.
_Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=_ID_LIMIT)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+(_[a-z]+)*$", max_length=_ID_LIMIT)]
_NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class _FrozenRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the records in the data files: immutable, and without unknown fields."""


class BilingualLabel(_FrozenRecord, frozen=True):
    """A label in English and French, of a class or a mechanism."""

    label: _NonEmpty
    label_fr: _NonEmpty


class CatalogueVersion(_FrozenRecord, frozen=True):
    """A version of the catalogue: its number, its date and its changes."""

    version: int
    date: date
    changes: _NonEmpty


class Firearm(_FrozenRecord, frozen=True, rename={"class_": "class"}):
    """A firearm model.

    Attributes:
        id: The value that boxes send as `model`.
        name: The display name, the same in all languages.
        maker: The manufacturer; None if there were several or it is not known.
        class_: A class of the catalogue.
        calibre: As it is usually written.
        mechanism: A mechanism of the catalogue.
        fire_modes: How it can be fired.
        projectile: Whether the projectile is supersonic at the muzzle; `either` if it depends on the load.
        note: A remark in English, or None.
        note_fr: The same in French.
    """

    id: _Slug
    name: _NonEmpty
    maker: _NonEmpty | None
    class_: _Word
    calibre: _NonEmpty
    mechanism: _Word
    fire_modes: Annotated[tuple[FireMode, ...], msgspec.Meta(min_length=1)]
    projectile: ProjectileSpeed
    note: _NonEmpty | None
    note_fr: _NonEmpty | None


class LookAlike(_FrozenRecord, frozen=True):
    """A sound that is mistaken for a shot. Its id is also its class: boxes send no model for it.

    Attributes:
        id: The value that boxes send as `class`.
        name: The display name.
        name_fr: The same in French.
        hint: How a reviewer distinguishes it from a shot, by ear or in the spectrum.
        hint_fr: The same in French.
    """

    id: _Word
    name: _NonEmpty
    name_fr: _NonEmpty
    hint: _NonEmpty
    hint_fr: _NonEmpty


class _CatalogueFile(_FrozenRecord, frozen=True):
    """The content of acoustic_sources.toml."""

    versions: tuple[CatalogueVersion, ...]
    classes: dict[_Word, BilingualLabel]
    mechanisms: dict[_Word, BilingualLabel]
    look_alikes: tuple[LookAlike, ...]


@dataclass(frozen=True, slots=True)
class AcousticSourceCatalogue:
    """The complete catalogue.

    Attributes:
        versions: The oldest first; the last one is the current version.
        classes: Classes of firearms and look-alikes, by id.
        mechanisms: By id.
        firearms: In the order of the file: by class.
        look_alikes: In the order of the file.
    """

    versions: tuple[CatalogueVersion, ...]
    classes: Mapping[str, BilingualLabel]
    mechanisms: Mapping[str, BilingualLabel]
    firearms: tuple[Firearm, ...]
    look_alikes: tuple[LookAlike, ...]

    @property
    def version(self) -> int:
        """The current version; each change of the data increments it."""
        return self.versions[-1].version

    @property
    def sources(self) -> tuple[Firearm | LookAlike, ...]:
        """All firearms and look-alikes."""
        return self.firearms + self.look_alikes


def parse_catalogue(document: str, firearms: str) -> AcousticSourceCatalogue:
    """Build the catalogue from the texts of its two files.

    Args:
        document: The content of acoustic_sources.toml.
        firearms: The content of acoustic_sources_firearms.csv.

    Raises:
        ValueError: The files do not fit the schema, or contradict themselves. The message names each fault.
    """
    file = msgspec.toml.decode(document, type=_CatalogueFile)
    look_alike_classes = {each.id: BilingualLabel(each.name, each.name_fr) for each in file.look_alikes}
    catalogue = AcousticSourceCatalogue(
        versions=file.versions,
        classes=file.classes | look_alike_classes,
        mechanisms=file.mechanisms,
        firearms=tuple(_firearm(row) for row in csv.DictReader(firearms.splitlines(), strict=True)),
        look_alikes=file.look_alikes,
    )
    faults = [*_faults(catalogue, file.classes)]
    if faults:
        raise ValueError("; ".join(faults))
    return catalogue


def _firearm(row: Mapping[str, Any]) -> Firearm:
    # csv.DictReader stores surplus cells under the key None, and None for missing cells.
    if None in row or None in row.values():
        raise ValueError(f"{row.get('id')}: not as many cells as the header has")
    cells = {name: cell or None for name, cell in row.items()}
    modes = row.get("fire_modes", "").split()
    try:
        return msgspec.convert({**cells, "fire_modes": modes}, Firearm)
    except msgspec.ValidationError as error:
        raise ValueError(f"{row.get('id')}: {error}") from error


def _faults(
    catalogue: AcousticSourceCatalogue, firearm_classes: Mapping[str, BilingualLabel]
) -> Iterator[str]:
    """Yield the inconsistencies between records that are each well formed."""
    if [each.version for each in catalogue.versions] != [*range(1, len(catalogue.versions) + 1)]:
        yield "versions do not count up from 1"
    ids = [source.id for source in catalogue.sources]
    yield from (f"{twice}: duplicate id" for twice in sorted({each for each in ids if ids.count(each) > 1}))
    # A class is either a class of firearms or a look-alike, never both.
    yield from (
        f"{each.id}: already a class of firearms"
        for each in catalogue.look_alikes
        if each.id in firearm_classes
    )
    for each in catalogue.firearms:
        if each.class_ not in firearm_classes:
            yield f"{each.id}: no class {each.class_}"
        if each.mechanism not in catalogue.mechanisms:
            yield f"{each.id}: no mechanism {each.mechanism}"
        if len(set(each.fire_modes)) < len(each.fire_modes):
            yield f"{each.id}: duplicate fire mode"
        if (each.note is None) is not (each.note_fr is None):
            yield f"{each.id}: note in one language only"
    used = {each.class_ for each in catalogue.firearms} | {each.mechanism for each in catalogue.firearms}
    yield from (f"{term}: unused" for term in [*firearm_classes, *catalogue.mechanisms] if term not in used)


def fold_source_text(text: str) -> str:
    """Normalise a text for search and sorting: no case, no accents, `x` for the multiplication sign."""
    parts = unicodedata.normalize("NFKD", text.replace(_TIMES, "x"))
    return "".join(part for part in parts if not unicodedata.combining(part)).casefold()


def _text(name: str) -> str:
    return resources.files(_HERE).joinpath(name).read_text(encoding="utf-8")


CATALOGUE: Final = parse_catalogue(_text("acoustic_sources.toml"), _text("acoustic_sources_firearms.csv"))
