"""Generates the tables of docs/acoustic-sources.md from the catalogue."""

from collections.abc import Callable, Mapping
from typing import Final

from app.catalogue.gunshot_sources import CATALOGUE
from tools.markdown_tables import render_rows


def render_versions() -> str:
    body = [(str(each.version), each.date.isoformat(), each.changes) for each in CATALOGUE.versions]
    return render_rows("version", "since", "what changed", body=body)


def render_classes() -> str:
    body = []
    for name, term in CATALOGUE.classes.items():
        models = sum(each.class_ == name for each in CATALOGUE.firearms)
        body.append((f"`{name}`", term.label, term.label_fr, str(models) if models else "look-alike"))
    return render_rows("`class`", "in English", "in French", "models", body=body)


def render_mechanisms() -> str:
    body = [(f"`{name}`", term.label, term.label_fr) for name, term in CATALOGUE.mechanisms.items()]
    return render_rows("mechanism", "in English", "in French", body=body)


def render_firearms() -> str:
    body = [
        (
            f"`{each.id}`",
            each.name,
            each.maker or "several",
            f"`{each.class_}`",
            each.calibre,
            f"`{each.mechanism}`",
            ", ".join(each.fire_modes),
            each.projectile,
            "" if each.note is None else f"{each.note} / {each.note_fr}",
        )
        for each in CATALOGUE.firearms
    ]
    header = ("`model`", "name", "maker", "`class`", "calibre", "mechanism", "fire modes", "projectile")
    return render_rows(*header, "note", body=body)


def render_look_alikes() -> str:
    body = [
        (f"`{each.id}`", f"{each.name} / {each.name_fr}", each.hint, each.hint_fr)
        for each in CATALOGUE.look_alikes
    ]
    return render_rows("`class`", "name", "how it differs from a shot", "en français", body=body)


ACOUSTIC_SOURCE_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "acoustic-versions": render_versions,
    "acoustic-classes": render_classes,
    "acoustic-mechanisms": render_mechanisms,
    "acoustic-firearms": render_firearms,
    "acoustic-look-alikes": render_look_alikes,
}
