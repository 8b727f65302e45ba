"""Describes the purposes of a site by DTPR (Digital Trust for Places and Routines). Pure.

Identifiers and names are those of DTPR: API v1, datachain type `device`, elements of 2025-08-29
(https://dtpr.io, Helpful Places, CC BY 4.0). The category `storage` stays empty: the register does not know
where an operator stores its data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.catalogue.purposes import PurposeName
from app.presentation.translation import BilingualText, translated
from app.public_register.register_model import PublishedPurpose, PublishedSite
from app.public_register.register_value_formatter import RegisterFormatter

VERSION: Final = "2025-08-29T00:00:00Z"
"""The version of the elements."""
SCHEMA: Final = {
    "name": "DTPR",
    "version": "0.1",
    "namespace": "https://dtpr.io/schemas/datachain/v0.1",
}
ATTRIBUTION: Final = "DTPR taxonomy by Helpful Places (https://dtpr.io), CC BY 4.0"

type Category = Literal["accountable", "purpose", "tech", "data", "process", "access", "storage", "retention"]

CATEGORIES: Final[Mapping[Category, tuple[BilingualText, BilingualText]]] = {
    "accountable": (
        translated("Accountable"),
        translated("Who answers for it?"),
    ),
    "purpose": (translated("Purpose", context="dtpr"), translated("Why?")),
    "tech": (translated("Technology"), translated("With what?")),
    "data": (
        translated("Data type"),
        translated("Which data?"),
    ),
    "process": (
        translated("Processing"),
        translated("What is done with it?"),
    ),
    "access": (translated("Access"), translated("Who sees it?")),
    "storage": (
        translated("Storage"),
        translated("Where is it stored?"),
    ),
    "retention": (
        translated("Retention"),
        translated("For how long?"),
    ),
}
"""The categories of the type `device` in their order. The questions are Vigie's, the titles DTPR's."""

ELEMENT_NAMES: Final[Mapping[str, BilingualText]] = {
    "organization": translated("Organization"),
    "ecology": translated("Ecology"),
    "health": translated("Health"),
    "inform": translated("Inform"),
    "safety_security": translated("Safety & Security"),
    "planning_decision_making": translated("Planning & Decision-making"),
    "air_quality": translated("Air Quality"),
    "sound_level_meter": translated("Sound Level Meter"),
    "microphone": translated("Microphone"),
    "thermometer": translated("Thermometer"),
    "video_camera": translated("Video camera"),
    "values_time": translated("Values / Time"),
    "boolean": translated("Boolean"),
    "aggregated": translated("Aggregated"),
    "raw_data": translated("Raw data"),
    "de_identified": translated("De-identified"),
    "available_to_download": translated("Available to download"),
    "available_to_3rd_parties": translated("Available to 3rd parties"),
    "available_to_the_accountable_organization": translated("Available to the accountable organization"),
    "not_available_to_me": translated("Not available to me"),
    "data_retained": translated("Retained {duration}"),
}
"""Names of the elements in use, by their DTPR ids."""

type CategoryElements = Mapping[Category, tuple[str, ...]]

ELEMENTS_BY_PURPOSE: Final[Mapping[PurposeName, CategoryElements]] = {
    "air_quality": {
        "purpose": ("ecology", "health"),
        "tech": ("air_quality",),
        "data": ("values_time",),
        "process": ("raw_data", "aggregated"),
    },
    "noise": {
        "purpose": ("ecology", "health"),
        "tech": ("sound_level_meter",),
        "data": ("values_time",),
        "process": ("aggregated",),
    },
    "indoor_comfort": {
        "purpose": ("health",),
        "tech": ("air_quality", "thermometer"),
        "data": ("values_time",),
        "process": ("raw_data", "aggregated"),
    },
    "odour": {
        "purpose": ("ecology",),
        "tech": ("air_quality",),
        "data": ("values_time",),
        "process": ("raw_data", "aggregated"),
    },
    "equipment": {
        "purpose": ("inform",),
        "data": ("values_time",),
        "process": ("raw_data", "aggregated"),
    },
    "acoustic_safety": {
        "purpose": ("safety_security",),
        "tech": ("microphone",),
        "data": ("values_time",),
        "process": ("de_identified",),
    },
    "video_analytics": {
        "purpose": ("safety_security", "planning_decision_making"),
        "tech": ("video_camera",),
        "data": ("values_time", "boolean"),
        "process": ("de_identified", "aggregated"),
    },
}
"""The elements of each purpose, independent of its operator."""


@dataclass(frozen=True, slots=True)
class DtprElement:
    """An element of a datachain, with the values of its DTPR variables."""

    category: Category
    id: str
    variables: Mapping[str, str]


def select_elements(
    site: PublishedSite, purpose: PublishedPurpose, formatter: RegisterFormatter
) -> list[DtprElement]:
    """Select the elements of a purpose of a site, in the order of the categories."""
    found: dict[Category, list[str]] = {
        name: list(ids) for name, ids in ELEMENTS_BY_PURPOSE[purpose.known.name].items()
    }
    found["accountable"] = ["organization"]
    found["access"] = ["available_to_the_accountable_organization"]
    if purpose.open_data and purpose.in_force:
        found["access"] += ["available_to_download", "available_to_3rd_parties"]
    else:
        found["access"].append("not_available_to_me")
        is_granted = any(set(each.metrics) & set(purpose.known.metrics) for each in site.grants)
        if is_granted or any(each.recipient for each in site.recipients):
            found["access"].append("available_to_3rd_parties")
    days = site.retention.days(purpose.purpose)
    if days is not None and site.retention.removes:
        found["retention"] = ["data_retained"]
    values = {"data_retained": {} if days is None else {"duration": formatter.days(days)}}
    return [
        DtprElement(category, each, values.get(each, {}))
        for category in CATEGORIES
        for each in found.get(category, ())
    ]


def format_element_name(element: DtprElement, formatter: RegisterFormatter) -> str:
    """Format the name of an element with its variables."""
    return formatter.fill(ELEMENT_NAMES[element.id], **element.variables)


def build_datachains(site: PublishedSite, english: RegisterFormatter) -> dict[str, Any]:
    """Build a datachain for each purpose of a site that is declared and in force."""
    return {
        "site_id": str(site.id),
        "attribution": ATTRIBUTION,
        "datachains": [
            {
                "schema": SCHEMA,
                "datachain": _template(),
                "instance": _instance(site, each, english),
            }
            for each in site.active
        ],
    }


def _template() -> dict[str, Any]:
    return {
        "type": "device",
        "version": VERSION,
        "title": _locales(translated("Device datachain")),
        "description": _locales(translated("What a box measures, and what for")),
        "categories": [
            {
                "id": name,
                "order": order,
                "name": _locales(title),
                "prompt": _locales(question),
                "description": _locales(question),
            }
            for order, (name, (title, question)) in enumerate(CATEGORIES.items())
        ],
    }


def _instance(site: PublishedSite, purpose: PublishedPurpose, english: RegisterFormatter) -> dict[str, Any]:
    known = purpose.known
    priorities: dict[Category, int] = {}
    chosen: list[dict[str, Any]] = []
    for each in select_elements(site, purpose, english):
        priority = priorities.get(each.category, 0)
        priorities[each.category] = priority + 1
        chosen.append(
            {
                "element_id": each.id,
                "category_id": each.category,
                "priority": priority,
                "variables": [{"id": name, "value": value} for name, value in each.variables.items()],
            }
        )
    title = BilingualText(f"{site.name}: {known.title}", f"{site.name} : {known.title_fr}")
    return {
        "title": _locales(title),
        "created_at": purpose.declared_at.isoformat().replace("+00:00", "Z"),
        "elements": chosen,
    }


def _locales(text: BilingualText) -> list[dict[str, str]]:
    return [{"locale": "en", "value": text.en}, {"locale": "fr", "value": text.fr}]
