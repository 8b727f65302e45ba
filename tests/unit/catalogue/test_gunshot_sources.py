"""The catalogue of acoustic sources: what it has to have, and that no change of it goes unnumbered."""

import hashlib
import random
import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import pytest

import app.catalogue
from app.catalogue.gunshot_sources import (
    CATALOGUE,
    AcousticSourceCatalogue,
    fold_source_text,
    parse_catalogue,
)
from app.ingest.codec.event_and_status_decoder import DeviceEvent, EventCandidate, decode_event
from app.platform.kernel.instants import parse_rfc3339
from simulators.sound_events import GUN_CLASSES, make_sound_event

FOLDER = Path(app.catalogue.__file__).parent
DOCUMENT = (FOLDER / "acoustic_sources.toml").read_text(encoding="utf-8")
FIREARMS = (FOLDER / "acoustic_sources_firearms.csv").read_text(encoding="utf-8")

# Of each version's data, the first twelve digits of its SHA-256. After a change of the data add a version to
# acoustic_sources.toml, and here the digest that this test then shows; never change one that was released.
DIGESTS: Final = {
    1: "4dc1dcc8a4ef",
}


def digest(catalogue: AcousticSourceCatalogue) -> str:
    data = (catalogue.classes, catalogue.mechanisms, catalogue.firearms, catalogue.look_alikes)
    return hashlib.sha256(msgspec.json.encode(data, order="deterministic")).hexdigest()[:12]


def test_a_change_of_the_data_counts_up_the_version() -> None:
    assert [each.version for each in CATALOGUE.versions] == [*DIGESTS]
    assert digest(CATALOGUE) == DIGESTS[CATALOGUE.version], "the data changed: add a version"


@pytest.mark.parametrize(
    ("of", "before", "after"),
    [
        ("document", 'label = "Pistol"', 'label = "Handgun"'),
        ("document", "Rolls for seconds", "Rolls for minutes"),
        ("firearms", "glock-17,Glock 17,Glock", "glock-17,Glock 17 Gen4,Glock"),
        ("firearms", "short_recoil,semi full,supersonic", "short_recoil,full semi,supersonic"),
    ],
)
def test_the_digest_is_of_all_data(of: str, before: str, after: str) -> None:
    texts = {"document": DOCUMENT, "firearms": FIREARMS}
    assert before in texts[of]
    texts[of] = texts[of].replace(before, after, 1)
    assert digest(parse_catalogue(texts["document"], texts["firearms"])) != digest(CATALOGUE)


def test_versions_follow_each_other_in_time() -> None:
    assert all(former.date <= later.date for former, later in pairwise(CATALOGUE.versions))


def test_it_has_as_many_as_it_must() -> None:
    assert len({each.id for each in CATALOGUE.firearms}) >= 68
    assert len({each.name for each in CATALOGUE.firearms}) == len(CATALOGUE.firearms)
    assert len(CATALOGUE.look_alikes) >= 10
    of = {each.class_ for each in CATALOGUE.firearms}
    assert of >= {"pistol", "revolver", "submachine_gun", "rifle", "carbine", "precision_rifle"}
    assert of >= {"shotgun", "machine_gun"}
    assert {each.id for each in CATALOGUE.look_alikes} >= {
        "firework",
        "vehicle_backfire",
        "nail_gun",
        "door_slam",
    }


def test_the_contracts_example_is_in_it() -> None:
    (found,) = [each for each in CATALOGUE.firearms if each.id == "glock-17"]
    assert (found.class_, found.calibre, found.mechanism) == (
        "pistol",
        "9×19 mm Parabellum",  # noqa: RUF001 (as the field writes it)
        "short_recoil",
    )
    assert (found.fire_modes, found.projectile) == (("semi",), "supersonic")


def test_what_simulated_boxes_send_is_in_it() -> None:
    chance = random.Random(7)  # noqa: S311 (no secret)
    sent = [each for seq in range(400) for each in make_sound_event(chance, seq, seq)["candidates"]]
    models = {each.id: each.class_ for each in CATALOGUE.firearms}
    assert {each["class"] for each in sent} <= set(CATALOGUE.classes)
    named = {(each["model"], each["class"]) for each in sent if "model" in each}
    assert named <= set(models.items())
    assert {class_ for _, class_ in named} == GUN_CLASSES


def test_a_box_may_send_what_is_not_in_it() -> None:
    payload = b"""{"time": "2026-11-24T22:14:03Z", "type": "gunshot",
        "candidates": [{"class": "railgun", "model": "mk-1", "confidence": 0.5}]}"""
    event = decode_event(payload, parse_rfc3339("2026-11-24T22:14:05Z"))
    assert isinstance(event, DeviceEvent)
    assert [*event.candidates] == [EventCandidate("railgun", 0.5, "mk-1")]
    assert "railgun" not in CATALOGUE.classes


def test_one_calibre_is_written_in_one_way() -> None:
    written: dict[str, set[str]] = {}
    for each in CATALOGUE.firearms:
        written.setdefault(re.sub(r"[^a-z0-9]", "", fold_source_text(each.calibre)), set()).add(each.calibre)
    assert [names for names in written.values() if len(names) > 1] == []


# What a cartridge does in common loads is the same for all that fire it, but for what says so itself.
def test_models_of_one_calibre_agree_whether_they_are_supersonic() -> None:
    found: dict[str, set[str]] = {}
    for each in CATALOGUE.firearms:
        found.setdefault(each.calibre, set()).add(each.projectile)
    differing = {calibre for calibre, speeds in found.items() if len(speeds) > 1}
    # Of the Makarov's cartridge a longer barrel takes some loads beyond the speed of sound.
    assert differing == {"9×18 mm Makarov"}  # noqa: RUF001 (as the field writes it)


def test_actions_and_modes_of_fire_fit() -> None:
    by_hand = {"pump_action", "bolt_action", "lever_action", "break_action", "double_action", "single_action"}
    for each in CATALOGUE.firearms:
        assert ("single" in each.fire_modes) is (each.mechanism in by_hand or each.id == "franchi-spas-12"), (
            each.id
        )
        assert (each.class_ == "revolver") is (each.mechanism in {"double_action", "single_action"}), each.id
        assert each.mechanism not in by_hand or each.fire_modes == ("single",), each.id
        # What fires more than one shot at a pull is in the order of the enumeration.
        order = [("single", "semi", "burst", "full").index(mode) for mode in each.fire_modes]
        assert order == sorted(order), each.id


def test_every_text_is_in_normal_form_and_whole() -> None:
    for text in (DOCUMENT, FIREARMS):
        assert unicodedata.is_normalized("NFC", text)
    for each in CATALOGUE.look_alikes:
        for text in (each.hint, each.hint_fr):
            assert text.endswith(".")
            assert "  " not in text
            assert "\n" not in text
        assert each.hint != each.hint_fr


GLOCK = "glock-17,Glock 17,Glock,pistol,9×19 mm Parabellum,short_recoil,semi,supersonic,,"  # noqa: RUF001


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (f"{GLOCK}\n{GLOCK}", "glock-17: duplicate id"),
        (GLOCK.replace("pistol", "handgun"), "glock-17: no class handgun"),
        (GLOCK.replace("pistol", "firework"), "glock-17: no class firework"),
        (GLOCK.replace("short_recoil", "magic"), "glock-17: no mechanism magic"),
        (GLOCK.replace(",semi,", ",semi semi,"), "glock-17: duplicate fire mode"),
        (GLOCK.replace(",semi,", ",,"), "glock-17: .*length"),
        (GLOCK.replace(",semi,", ",auto,"), "glock-17: .*enum"),
        (GLOCK.replace("supersonic", "fast"), "glock-17: .*enum"),
        (GLOCK.replace("Glock 17", ""), "glock-17: .*null"),
        (GLOCK.replace("glock-17", "Glock_17"), "Glock_17: .*regex"),
        (GLOCK.replace("supersonic,,", "supersonic,Note,"), "glock-17: note in one language only"),
        (GLOCK.removesuffix(","), "glock-17: not as many cells"),
        (f"{GLOCK},more", "glock-17: not as many cells"),
    ],
)
def test_a_row_that_does_not_fit_is_named(changed: str, fault: str) -> None:
    assert f"{GLOCK}\n" in FIREARMS
    with pytest.raises(ValueError, match=fault):
        parse_catalogue(DOCUMENT, FIREARMS.replace(f"{GLOCK}\n", f"{changed}\n"))


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("version = 1\n", "version = 2\n", "versions do not count up from 1"),
        ("[classes.pistol]", "[classes.pistols]", "browning-hi-power: no class pistol"),
        (
            "[classes.pistol]",
            '[classes.laser]\nlabel = "a"\nlabel_fr = "b"\n[classes.pistol]',
            "laser: unused",
        ),
        ('id = "thunder"', 'id = "firework"', "firework: duplicate id"),
        ('id = "thunder"', 'id = "pistol"', "pistol: already a class of firearms"),
        ('hint_fr = """Roule', 'hints_fr = """Roule', "hints_fr|hint_fr"),
        ('name = "Thunder"', 'name = ""', "length"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(before: str, after: str, fault: str) -> None:
    assert before in DOCUMENT
    with pytest.raises(ValueError, match=fault):
        parse_catalogue(DOCUMENT.replace(before, after, 1), FIREARMS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Škorpion vz. 61", "skorpion vz. 61"),
        ("9×19 mm Parabellum", "9x19 mm parabellum"),  # noqa: RUF001 (as the field writes it)
        ("PGM Hécate II", "pgm hecate ii"),
        ("STRASSE ß", "strasse ss"),
    ],
)
def test_texts_are_searched_as_people_type_them(text: str, expected: str) -> None:
    assert fold_source_text(text) == expected
