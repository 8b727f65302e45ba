"""Defines the JSON of metrics and acoustic sources."""

from typing import Final, Self

from pydantic import BaseModel, Field

from app.catalogue.gunshot_sources import (
    CATALOGUE,
    Firearm,
    FireMode,
    LookAlike,
    ProjectileSpeed,
    SourceKind,
)
from app.platform.http.contract.etags import ResourceModel

_VERSION: Final = "Version of the catalogue; each change of its data increments it"


class AcousticMechanismOut(BaseModel):
    """The operating mechanism of a firearm."""

    id: str = Field(examples=["short_recoil"])
    label: str = Field(description="Display name", examples=["Short recoil, locked breech"])
    label_fr: str = Field(description="The same in French", examples=["Court recul du canon, culasse calée"])


class AcousticSourceOut(ResourceModel):
    """A possible source of an impulsive sound: a firearm model, or a sound that is mistaken for a shot."""

    id: str = Field(
        description="The value that boxes send as `model` (firearms) or as `class` (look-alikes)",
        examples=["glock-17"],
    )
    kind: SourceKind
    name: str = Field(examples=["Glock 17"])
    name_fr: str = Field(description="The same in French", examples=["Glock 17"])
    class_: str = Field(
        serialization_alias="class", description="The value that boxes send as `class`", examples=["pistol"]
    )
    class_label: str = Field(description="Display name of the class", examples=["Pistol"])
    class_label_fr: str = Field(description="The same in French", examples=["Pistolet"])
    maker: str | None = Field(
        description="Manufacturer; null if there are many, and for look-alikes", examples=["Glock"]
    )
    calibre: str | None = Field(description="Null for look-alikes", examples=[CATALOGUE.firearms[0].calibre])
    mechanism: AcousticMechanismOut | None = Field(description="Null for look-alikes")
    fire_modes: list[FireMode] = Field(
        description="How it can be fired; empty for look-alikes", examples=[["semi"]]
    )
    projectile: ProjectileSpeed | None = Field(
        description="Whether the projectile is supersonic at the muzzle, which adds a shock wave to the "
        "blast; null for look-alikes"
    )
    note: str | None = Field(description="A remark, or null", examples=[None])
    note_fr: str | None = Field(description="The same in French", examples=[None])
    hint: str | None = Field(
        description="How a reviewer distinguishes a look-alike from a shot; null for firearms",
        examples=[None],
    )
    hint_fr: str | None = Field(description="The same in French", examples=[None])
    catalogue_version: int = Field(description=_VERSION, examples=[1])

    @classmethod
    def of(cls, source: Firearm | LookAlike) -> Self:
        """Convert a firearm or a look-alike."""
        return cls.of_firearm(source) if isinstance(source, Firearm) else cls.of_look_alike(source)

    @classmethod
    def of_firearm(cls, firearm: Firearm) -> Self:
        """Convert a firearm model."""
        term = CATALOGUE.classes[firearm.class_]
        mechanism = CATALOGUE.mechanisms[firearm.mechanism]
        return cls(
            id=firearm.id,
            kind="firearm",
            name=firearm.name,
            name_fr=firearm.name,
            class_=firearm.class_,
            class_label=term.label,
            class_label_fr=term.label_fr,
            maker=firearm.maker,
            calibre=firearm.calibre,
            mechanism=AcousticMechanismOut(
                id=firearm.mechanism, label=mechanism.label, label_fr=mechanism.label_fr
            ),
            fire_modes=list(firearm.fire_modes),
            projectile=firearm.projectile,
            note=firearm.note,
            note_fr=firearm.note_fr,
            hint=None,
            hint_fr=None,
            catalogue_version=CATALOGUE.version,
        )

    @classmethod
    def of_look_alike(cls, source: LookAlike) -> Self:
        """Convert a look-alike."""
        return cls(
            id=source.id,
            kind="look_alike",
            name=source.name,
            name_fr=source.name_fr,
            class_=source.id,
            class_label=source.name,
            class_label_fr=source.name_fr,
            maker=None,
            calibre=None,
            mechanism=None,
            fire_modes=[],
            projectile=None,
            note=None,
            note_fr=None,
            hint=source.hint,
            hint_fr=source.hint_fr,
            catalogue_version=CATALOGUE.version,
        )


class AcousticSourcePage(ResourceModel):
    """A page of the catalogue. Its ETag changes with each version."""

    catalogue_version: int = Field(description=_VERSION, examples=[1])
    data: list[AcousticSourceOut]
    next: str | None


class UnitOut(BaseModel):
    """A unit that a sample may use for its values."""

    unit: str = Field(examples=["ppb"])
    factor: float = Field(
        description="Multiply a value by this to get the metric's own unit. For gases at 20 °C and "
        "1013.25 hPa",
        examples=[1.912482913556567],
    )


class MetricOut(BaseModel):
    """A metric of the catalogue."""

    name: str = Field(examples=["pm2_5"])
    unit: str = Field(examples=["µg/m³"])
    description: str
    description_fr: str
    minimum: float = Field(description="The lowest accepted value, inclusive")
    maximum: float = Field(description="The highest accepted value, inclusive")
    kind: str = Field(description="`level`: sound levels in dB, averaged by energy; `gauge`: all others")
    units: list[UnitOut] = Field(
        description="Units that a sample may use for it in `units`; the metric's own first"
    )
