"""What the history says of each change, in words. Pure: a change in, a sentence out."""

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
        "Storage period changed: {kept}.", "Durée de conservation modifiée : {kept}."
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
_OWN: Final = BilingualText("{purpose}: {kept}", "{purpose} : {kept}")
_OTHERWISE: Final = BilingualText("all else: {kept}", "tout le reste : {kept}")
_NOT_SET: Final = BilingualText("not set", "non définie")
_BEGINNING_NOT_SET: Final = BilingualText("not set", "non défini")
"""Of the only field whose name is masculine in French."""
_TRUTH: Final = {True: BilingualText("yes", "oui"), False: BilingualText("no", "non")}


def describe_change(change: RegisterChange, writing: RegisterFormatter) -> str:
    """What a change says."""
    several = len(change.data.get("purposes") or ()) > 1
    known = (_SEVERAL if several and change.kind in _SEVERAL else _KINDS).get(change.kind)
    if known is None:
        return change.kind
    return writing.filled(known, **_values(change, writing))


def _values(change: RegisterChange, writing: RegisterFormatter) -> dict[str, str]:
    data = change.data
    match change.kind:
        case "site_renamed":
            return {"from": str(data["from"])}
        case "boxes_added" | "boxes_removed" | "boxes_moved":
            return {"count": writing.number(data["count"])}
        case "precision_changed" | "licence_changed":
            return {name: _step(data[name], writing) for name in ("from", "to")}
        case "retention_changed":
            return {"kept": _kept(data, writing)}
        case _ if "purposes" in data or "purpose" in data:
            # Of a single change, or of several that are told together (`app.public_register.change_history`).
            names = data["purposes"] if "purposes" in data else [data["purpose"]]
            return {
                "purposes": writing.joined([_purpose(name, writing) for name in names]),
                "basis": _shown("legal_basis", data.get("legal_basis"), writing),
                "changes": writing.listed(
                    [_change(name, told, writing) for name, told in data.get("changes", {}).items()]
                ),
            }
        case _:
            return {}


def _step(value: int | str | None, writing: RegisterFormatter) -> str:
    """A width of cells, or a licence."""
    if value is None:
        return writing.said(_NOT_SET)
    return writing.length(value) if isinstance(value, int) else value


def _kept(data: Mapping[str, Any], writing: RegisterFormatter) -> str:
    """How long data are kept from then on: in general, and for each purpose that has days of its own."""
    removes = data["removes"]
    general = writing.kept(data["days"], removes=removes)
    own = [
        writing.filled(_OWN, purpose=_purpose(name, writing), kept=writing.kept(days, removes=removes))
        for name, days in (data.get("purposes") or {}).items()
    ]
    return writing.listed([*own, writing.filled(_OTHERWISE, kept=general)]) if own else general


def _purpose(name: str, writing: RegisterFormatter) -> str:
    known = next((each for key, each in PURPOSES_BY_NAME.items() if key == name), None)
    return name if known is None else writing.said(BilingualText(known.title, known.title_fr))


def _change(name: str, told: Mapping[str, Any] | None, writing: RegisterFormatter) -> str:
    field = writing.said(_FIELDS[name]) if name in _FIELDS else name
    if told is None:
        return field
    return writing.filled(
        _FROM_TO,
        **{
            "field": field,
            "from": _shown(name, told["from"], writing),
            "to": _shown(name, told["to"], writing),
        },
    )


def _shown(name: str, value: object, writing: RegisterFormatter) -> str:
    if value is None:
        return writing.said(_BEGINNING_NOT_SET if name == "starts_at" else _NOT_SET)
    if isinstance(value, bool):
        return writing.said(_TRUTH[value])
    if name == "legal_basis":
        return writing.said(BASES[str(value)][0]) if value in BASES else str(value)
    return writing.day(datetime.fromisoformat(str(value)))
