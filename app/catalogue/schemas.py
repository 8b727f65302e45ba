"""Defines the JSON of metrics and acoustic sources."""

from typing import Final, Self

from pydantic import BaseModel, Field

from app.catalogue.acoustic_sources import (
    CATALOGUE,
    Firearm,
    FireMode,
    LookAlike,
    ProjectileSpeed,
    SourceKind,
)
from app.platform.http.contract.etags import ResourceModel

_VERSION: Final = "The catalogue's: counts up with each change of its data"


class AcousticMechanismOut(BaseModel):
    """How the action of a firearm works."""

    id: str = Field(examples=["short_recoil"])
    label: str = Field(description="For people", examples=["Short recoil, locked breech"])
    label_fr: str = Field(description="The same in French", examples=["Court recul du canon, culasse calée"])


class AcousticSourceOut(ResourceModel):
    """What an impulsive sound may have come from: a model of a firearm, or what is taken for one."""

    id: str = Field(
        description="A firearm's is what boxes call `model`, a look-alike's what they call `class`",
        examples=["glock-17"],
    )
    kind: SourceKind
    name: str = Field(examples=["Glock 17"])
    name_fr: str = Field(description="The same in French", examples=["Glock 17"])
    class_: str = Field(
        serialization_alias="class", description="What boxes call `class`", examples=["pistol"]
    )
    class_label: str = Field(description="The class for people", examples=["Pistol"])
    class_label_fr: str = Field(description="The same in French", examples=["Pistolet"])
    maker: str | None = Field(
        description="Who makes or made it; null where many did, and of look-alikes", examples=["Glock"]
    )
    calibre: str | None = Field(description="Null of look-alikes", examples=[CATALOGUE.firearms[0].calibre])
    mechanism: AcousticMechanismOut | None = Field(description="Null of look-alikes")
    fire_modes: list[FireMode] = Field(
        description="How it can be fired; none of look-alikes", examples=[["semi"]]
    )
    projectile: ProjectileSpeed | None = Field(
        description="Whether it leaves the muzzle faster than sound, with a shock wave besides the blast; "
        "null of look-alikes"
    )
    note: str | None = Field(description="What else to know; null: nothing", examples=[None])
    note_fr: str | None = Field(description="The same in French", examples=[None])
    hint: str | None = Field(
        description="How a reviewer tells a look-alike from a shot; null of firearms", examples=[None]
    )
    hint_fr: str | None = Field(description="The same in French", examples=[None])
    catalogue_version: int = Field(description=_VERSION, examples=[1])

    @classmethod
    def of(cls, source: Firearm | LookAlike) -> Self:
        """The shape of either kind."""
        return cls.of_firearm(source) if isinstance(source, Firearm) else cls.of_look_alike(source)

    @classmethod
    def of_firearm(cls, firearm: Firearm) -> Self:
        """The shape of a model of a firearm."""
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
        """The shape of what is taken for a shot."""
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
    """One page of the catalogue. It has an ETag, which another version changes."""

    catalogue_version: int = Field(description=_VERSION, examples=[1])
    data: list[AcousticSourceOut]
    next: str | None


class UnitOut(BaseModel):
    """A unit that a sample may name for its values."""

    unit: str = Field(examples=["ppb"])
    factor: float = Field(
        description="Times this, a value is in the metric's own unit; gases are at 20 °C and 1013.25 hPa",
        examples=[1.912482913556567],
    )


class MetricOut(BaseModel):
    """One metric of the catalogue."""

    name: str = Field(examples=["pm2_5"])
    unit: str = Field(examples=["µg/m³"])
    description: str
    description_fr: str
    minimum: float = Field(description="The lowest value that is taken, included")
    maximum: float = Field(description="The highest value that is taken, included")
    kind: str = Field(description="`level`: decibels, averaged by energy; `gauge`: all else")
    units: list[UnitOut] = Field(description="What `units` of a sample may say of it; its own comes first")
