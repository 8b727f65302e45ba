"""Describes each change of the register in a sentence. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from app.catalogue.purposes import PURPOSES_BY_NAME
from app.indicators.index_results import BilingualText
from app.public_register.legal_texts import BASES
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import RegisterChange

_KINDS: Final[Mapping[str, BilingualText]] = {
    "site_added": BilingualText("Site added to the register.", "Site ajouté au registre."),
    "site_renamed": BilingualText(
        "Site renamed; it was called “{from}”.", "Site renommé ; il s'appelait « {from} »."
    ),
    "site_moved": BilingualText("Site moved to another cell.", "Site déplacé vers une autre maille."),
    "site_removed": BilingualText("Site removed from the register.", "Site retiré du registre."),
    "boxes_added": BilingualText("Boxes added: {count}.", "Boîtiers ajoutés : {count}."),
    "boxes_removed": BilingualText("Boxes removed: {count}.", "Boîtiers retirés : {count}."),
    "boxes_moved": BilingualText(
        "Boxes moved to another cell: {count}.", "Boîtiers déplacés vers une autre maille : {count}."
    ),
    "address_changed": BilingualText("Address of the site changed.", "Adresse du site modifiée."),
    "licence_changed": BilingualText(
        "Licence of open data changed: {from} → {to}.",
        "Licence des données ouvertes modifiée : {from} → {to}.",
    ),
    "defaults_withdrawn": BilingualText(
        "Publication by default ended: {purposes}. The operator had not decided on it; figures are "
        "published again once the operator decides so.",
        "Fin de la publication par défaut : {purposes}. Elle ne résultait d'aucune décision de l'exploitant "
        "; les données seront de nouveau publiées lorsqu'il le décidera.",
    ),
    "purpose_declared": BilingualText(
        "Purpose declared: {purposes}. Legal basis: {basis}.",
        "Finalité déclarée : {purposes}. Base légale : {basis}.",
    ),
    "purpose_changed": BilingualText(
        "Purpose changed: {purposes} ({changes}).", "Finalité modifiée : {purposes} ({changes})."
    ),
    "purpose_approved": BilingualText(
        "Purpose approved by a second person: {purposes}.",
        "Finalité approuvée par une seconde personne : {purposes}.",
    ),
    "purpose_approval_withdrawn": BilingualText(
        "Approval of a purpose ended: {purposes}. No data are accepted for it until it is approved again.",
        "Fin de l'approbation d'une finalité : {purposes}. Aucune donnée n'est acceptée avant une nouvelle "
        "approbation.",
    ),
    "purpose_ended": BilingualText("Purpose ended: {purposes}.", "Finalité terminée : {purposes}."),
    "retention_changed": BilingualText(
        "Storage period changed: {retention}.", "Durée de conservation modifiée : {retention}."
    ),
    "precision_changed": BilingualText(
        "Precision of the locations changed from {from} to {to}.",
        "Précision des emplacements passée de {from} à {to}.",
    ),
}
_SEVERAL: Final[Mapping[str, BilingualText]] = {
    "purpose_declared": BilingualText(
        "Purposes declared: {purposes}. Legal basis: {basis}.",
        "Finalités déclarées : {purposes}. Base légale : {basis}.",
    ),
    "purpose_changed": BilingualText(
        "Purposes changed: {purposes} ({changes}).", "Finalités modifiées : {purposes} ({changes})."
    ),
    "purpose_approved": BilingualText(
        "Purposes approved by a second person: {purposes}.",
        "Finalités approuvées par une seconde personne : {purposes}.",
    ),
    "purpose_approval_withdrawn": BilingualText(
        "Approval of purposes ended: {purposes}. No data are accepted for them until they are approved "
        "again.",
        "Fin de l'approbation de finalités : {purposes}. Aucune donnée n'est acceptée avant une nouvelle "
        "approbation.",
    ),
    "purpose_ended": BilingualText("Purposes ended: {purposes}.", "Finalités terminées : {purposes}."),
}
_FIELDS: Final[Mapping[str, BilingualText]] = {
    "legal_basis": BilingualText("legal basis", "base légale"),
    "legal_reference": BilingualText("reference text", "texte de référence"),
    "controller": BilingualText("controller", "responsable du traitement"),
    "contact": BilingualText("contact", "contact"),
    "impact_assessment": BilingualText("impact assessment", "analyse d'impact"),
    "notice": BilingualText("notice to the public", "information du public"),
    "description": BilingualText("description (English)", "description (anglais)"),
    "description_fr": BilingualText("description (French)", "description (français)"),
    "open_data": BilingualText("publication of figures", "publication des données"),
    "starts_at": BilingualText("beginning", "début"),
    "ends_at": BilingualText("end", "fin"),
}
_FROM_TO: Final = BilingualText("{field}: {from} → {to}", "{field} : {from} → {to}")
_OWN: Final = BilingualText("{purpose}: {retention}", "{purpose} : {retention}")
_OTHERWISE: Final = BilingualText("all else: {retention}", "tout le reste : {retention}")
_NOT_SET: Final = BilingualText("not set", "non définie")
_BEGINNING_NOT_SET: Final = BilingualText("not set", "non défini")
"""Of `starts_at`, the only field with a masculine name in French ("début")."""
_TRUTH: Final = {True: BilingualText("yes", "oui"), False: BilingualText("no", "non")}


def describe_change(change: RegisterChange, formatter: RegisterFormatter) -> str:
    """Describe a change in a sentence; a kind without a text is returned as its name."""
    several = len(change.data.get("purposes") or ()) > 1
    known = (_SEVERAL if several and change.kind in _SEVERAL else _KINDS).get(change.kind)
    if known is None:
        return change.kind
    return formatter.fill(known, **_values(change, formatter))


def _values(change: RegisterChange, formatter: RegisterFormatter) -> dict[str, str]:
    data = change.data
    match change.kind:
        case "site_renamed":
            return {"from": str(data["from"])}
        case "boxes_added" | "boxes_removed" | "boxes_moved":
            return {"count": formatter.number(data["count"])}
        case "precision_changed" | "licence_changed":
            return {name: _step(data[name], formatter) for name in ("from", "to")}
        case "retention_changed":
            return {"retention": _retention(data, formatter)}
        case _ if "purposes" in data or "purpose" in data:
            # `purposes` where `app.public_register.change_history` has merged several changes.
            names = data["purposes"] if "purposes" in data else [data["purpose"]]
            return {
                "purposes": formatter.joined([format_purpose_name(name, formatter) for name in names]),
                "basis": _format_value("legal_basis", data.get("legal_basis"), formatter),
                "changes": formatter.listed(
                    [_change(name, values, formatter) for name, values in data.get("changes", {}).items()]
                ),
            }
        case _:
            return {}


def _step(value: int | str | None, formatter: RegisterFormatter) -> str:
    """Format a value before or after a change: a width of cells, or a licence."""
    if value is None:
        return formatter.translate(_NOT_SET)
    return formatter.length(value) if isinstance(value, int) else value


def _retention(data: Mapping[str, Any], formatter: RegisterFormatter) -> str:
    """Format the new retention: that of each purpose with its own number of days, then the general one."""
    removes = data["removes"]
    general = formatter.retention(data["days"], removes=removes)
    own = [
        formatter.fill(
            _OWN,
            purpose=format_purpose_name(name, formatter),
            retention=formatter.retention(days, removes=removes),
        )
        for name, days in (data.get("purposes") or {}).items()
    ]
    return formatter.listed([*own, formatter.fill(_OTHERWISE, retention=general)]) if own else general


def format_purpose_name(name: str, formatter: RegisterFormatter) -> str:
    """Format the title of a purpose by its name; an unknown name is returned as it is."""
    known = next((each for key, each in PURPOSES_BY_NAME.items() if key == name), None)
    return name if known is None else formatter.translate(BilingualText(known.title, known.title_fr))


def _change(name: str, values: Mapping[str, Any] | None, formatter: RegisterFormatter) -> str:
    """Format the change of a field; without values (texts are not in the history) it is the field alone."""
    field = formatter.translate(_FIELDS[name]) if name in _FIELDS else name
    if values is None:
        return field
    return formatter.fill(
        _FROM_TO,
        **{
            "field": field,
            "from": _format_value(name, values["from"], formatter),
            "to": _format_value(name, values["to"], formatter),
        },
    )


def _format_value(name: str, value: object, formatter: RegisterFormatter) -> str:
    if value is None:
        return formatter.translate(_BEGINNING_NOT_SET if name == "starts_at" else _NOT_SET)
    if isinstance(value, bool):
        return formatter.translate(_TRUTH[value])
    if name == "legal_basis":
        return formatter.translate(BASES[str(value)][0]) if value in BASES else str(value)
    return formatter.day(datetime.fromisoformat(str(value)))
