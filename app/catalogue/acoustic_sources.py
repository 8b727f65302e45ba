"""The catalogue of acoustic sources, as data: models of firearms, and what is taken for a shot.

Owns which sources have a name here, and what is generally known of each: what a box calls `class` and `model`
in the candidates of an event. Pure: reads the two files beside it once, at import. Must not know a database,
nor decide what a box may send: a firmware may be newer than the catalogue.

Whether a projectile is supersonic is of its muzzle velocity with common loads, against about 340 m/s (air at
15 °C): such a shot has a shock wave besides the blast of the muzzle.
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
# Of calibres.
_TIMES: Final = "\N{MULTIPLICATION SIGN}"

# A model is a slug as boxes write it; a class is a word, since it stands in code and in charts.
_Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=_ID_LIMIT)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+(_[a-z]+)*$", max_length=_ID_LIMIT)]
_NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]


class _FrozenRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the files: no unknown field, and nothing changes it."""


class BilingualLabel(_FrozenRecord, frozen=True):
    """A class or a mechanism, for people."""

    label: _NonEmpty
    label_fr: _NonEmpty


class CatalogueVersion(_FrozenRecord, frozen=True):
    """A state of the catalogue: its number, from when it is, and what changed with it."""

    version: int
    date: date
    changes: _NonEmpty


class Firearm(_FrozenRecord, frozen=True, rename={"class_": "class"}):
    """A model of a firearm.

    Attributes:
        id: What boxes call it in `model`.
        name: For people, in any language.
        maker: Who made it; None where several did, and none is known for it.
        class_: A class of the catalogue.
        calibre: As the field writes it.
        mechanism: A mechanism of the catalogue.
        fire_modes: How it can be fired.
        projectile: Whether it is faster than sound when it leaves the muzzle; `either`: the load decides.
        note: What else to know; None where nothing.
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
    """What is taken for a shot. Its id is its class, too: boxes name no model of it.

    Attributes:
        id: What boxes call it in `class`.
        name: For people.
        name_fr: The same in French.
        hint: How a reviewer tells it from a shot, by ear or in the spectrum.
        hint_fr: The same in French.
    """

    id: _Word
    name: _NonEmpty
    name_fr: _NonEmpty
    hint: _NonEmpty
    hint_fr: _NonEmpty


class _CatalogueFile(_FrozenRecord, frozen=True):
    """What acoustic_sources.toml holds."""

    versions: tuple[CatalogueVersion, ...]
    classes: dict[_Word, BilingualLabel]
    mechanisms: dict[_Word, BilingualLabel]
    look_alikes: tuple[LookAlike, ...]


@dataclass(frozen=True, slots=True)
class AcousticSourceCatalogue:
    """All of it.

    Attributes:
        versions: The oldest first; the last one is this one.
        classes: Of firearms and of look-alikes, by id.
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
        """Counts up with each change of the data."""
        return self.versions[-1].version

    @property
    def sources(self) -> tuple[Firearm | LookAlike, ...]:
        """Everything that has an id."""
        return self.firearms + self.look_alikes


def parse_catalogue(document: str, firearms: str) -> AcousticSourceCatalogue:
    """Make the catalogue of the texts of its two files.

    Raises:
        ValueError: They do not fit the shape, or contradict themselves; the message names each fault.
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
    # What a row has too many of is under None, and what it has too few of is None.
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
    """What is wrong with the whole, though each part is well formed."""
    if [each.version for each in catalogue.versions] != [*range(1, len(catalogue.versions) + 1)]:
        yield "versions do not count up from 1"
    ids = [source.id for source in catalogue.sources]
    yield from (f"{twice}: there already" for twice in sorted({each for each in ids if ids.count(each) > 1}))
    # A look-alike is a class of its own, so that a candidate's class is one thing or the other.
    yield from (f"{each.id}: a class already" for each in catalogue.look_alikes if each.id in firearm_classes)
    for each in catalogue.firearms:
        if each.class_ not in firearm_classes:
            yield f"{each.id}: no class {each.class_}"
        if each.mechanism not in catalogue.mechanisms:
            yield f"{each.id}: no mechanism {each.mechanism}"
        if len(set(each.fire_modes)) < len(each.fire_modes):
            yield f"{each.id}: a mode of fire twice"
        if (each.note is None) is not (each.note_fr is None):
            yield f"{each.id}: a note in one language"
    used = {each.class_ for each in catalogue.firearms} | {each.mechanism for each in catalogue.firearms}
    yield from (
        f"{term}: of nothing" for term in [*firearm_classes, *catalogue.mechanisms] if term not in used
    )


def fold_source_text(text: str) -> str:
    """A text as it is searched and sorted: without case and accents, the sign of calibres as an x."""
    parts = unicodedata.normalize("NFKD", text.replace(_TIMES, "x"))
    return "".join(part for part in parts if not unicodedata.combining(part)).casefold()


def _text(name: str) -> str:
    return resources.files(_HERE).joinpath(name).read_text(encoding="utf-8")


CATALOGUE: Final = parse_catalogue(_text("acoustic_sources.toml"), _text("acoustic_sources_firearms.csv"))
