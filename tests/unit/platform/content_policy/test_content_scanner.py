"""The guard: what it finds, what it lets pass, and what it costs at most."""

import base64
import gzip
import hashlib
import json
import random
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import cbor2
import pytest

from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.gunshot_sources import CATALOGUE as SOURCES
from app.catalogue.metrics import CATALOGUE
from app.catalogue.purposes import PURPOSES
from app.platform.content_policy.content_scanner import (
    ContentKind,
    ScanBudget,
    examine_document,
    examine_name,
    examine_source,
    examine_text,
    examine_topic,
)
from app.platform.content_policy.encoded_media_detection import NUMBERS_LIMIT, RUN_LIMIT
from app.platform.content_policy.forbidden_field_names import classify_field_name
from app.platform.content_policy.refused_payload_assessment import assess_payload
from tests.openapi import openapi_document

_CHANCE = random.Random(8)  # noqa: S311 (the same in each run)
_BYTES = _CHANCE.randbytes(1_500)
_BASE64 = base64.b64encode(_BYTES).decode()
_UUID = "550e8400-e29b-41d4-a716-446655440000"
_PROSE = (
    "Le capteur est posé à trois mètres au-dessus de la chaussée, face à la place Wilson ; la mairie répond "
    "des données (voir l'arrêté n° 2026-118 du 3 mars). Ne pas déplacer : l'étalonnage d'avril en dépend.\n"
)

ENCODED = {
    "base64": _BASE64,
    "base64url": base64.urlsafe_b64encode(_BYTES).decode(),
    "base64 of 100 bytes": base64.b64encode(_BYTES[:100]).decode(),
    "base32": base64.b32encode(_BYTES).decode(),
    "base32 in small letters": base64.b32encode(_BYTES).decode().lower(),
    "hexadecimal": _BYTES.hex(),
    "hexadecimal in capitals": _BYTES.hex().upper(),
    "hexadecimal pairs": _BYTES[:100].hex(":"),
    "hexadecimal pairs with spaces": _BYTES[:100].hex(" "),
    "ascii85": base64.a85encode(_BYTES).decode(),
    "base85": base64.b85encode(_BYTES).decode(),
    "lines of 76": "\n".join(_BASE64[at : at + 76] for at in range(0, len(_BASE64), 76)),
    "groups of 4": " ".join(_BASE64[at : at + 4] for at in range(0, len(_BASE64), 4)),
    "after prose": f"Photo prise hier : {_BASE64}",
    "a data URI": "data:image/png;base64,iVBORw",
    "a data URI without base64": "DATA:audio/wav,%52%49",
    "silence in a WAV": base64.b64encode(b"RIFF\x24\x08\0\0WAVEfmt " + bytes(300)).decode(),
    "a short JPEG": base64.b64encode(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01").decode(),
    "a short PNG in hexadecimal": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".hex(),
    "in an address": "https://example.org/?image=" + base64.urlsafe_b64encode(_BYTES).decode(),
    "uuencoded in many addresses": " ".join(
        f"https://example.org/{_BASE64[at : at + 100].replace('/', '_')}" for at in range(0, 1_000, 100)
    ),
}
LEGITIMATE = {
    "many UUIDs": " ".join(str(uuid.UUID(int=_CHANCE.getrandbits(128))) for _ in range(50)),
    "SHA-256": hashlib.sha256(b"a").hexdigest(),
    "SHA-512": hashlib.sha512(b"a").hexdigest(),
    "SHA-256 in base64": base64.b64encode(hashlib.sha256(b"a").digest()).decode(),
    "a token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "a key": "vg_3f8Kq0ZxT1mVbW7yRr2LsP9dNcHhJjEe5uAaGgQqXw4",
    "a public key of 256 bits": "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
    "an address with much in it": f"https://a.webhook.office.com/webhookb2/{_UUID}@{_UUID}/IncomingWebhook/"
    f"0123456789abcdef0123456789abcdef/{_UUID}/V2abcDEF0123456789abcDEF0123456789abcDEF01",
    "a long address": "https://data.example.org/api/v1/sites/" + "/".join(["boxes", _UUID, "readings"] * 8),
    "French prose": _PROSE * 9,
    "English prose": "The box hangs three metres above the road, and faces the square. " * 30,
    "German prose": "Das Gerät hängt drei Meter über der Fahrbahn, gegenüber dem Rathausplatz Nr. 12a. " * 24,
    "a firmware": "2.3.1-rc.4+build.20261124.g3f8a9c1",
    "a list of versions": ", ".join(f"v{major}.{minor}.3" for major in range(8) for minor in range(8)),
    "a list of boxes": " ".join(f"box-{number:04d}" for number in range(150)),
    "a line": "-" * 200,
    "one letter": "x" * 200,
    "coordinates": "1.4442, 43.6047; 1.4501, 43.6102",
    "a path": "/opt/vigie/share/firmware/releases/2026-11/box-four-layers/stable/latest/manifest.json",
}
NAMES: dict[ContentKind, tuple[str, ...]] = {
    "sound": (
        "audio",
        "recording",
        "wav",
        "pcm16",
        "audioClip",
        "voice_data",
        "transcript",
        "speech",
        "words",
        "enregistrement",
        "aufnahme",
        "grabación",
        "Stimme",
        "waveform",
    ),
    "image": (
        "image",
        "IMAGE_0",
        "photo",
        "snapshot",
        "frame",
        "frames",
        "videoUrl",
        "clip",
        "stream",
        "rtsp",
        "h264",
        "jpegBase64",
        "bild",
        "vidéo",
        "key_frame",
    ),
    "biometric": (
        "face",
        "face_id",
        "faceId",
        "faceid",
        "embedding",
        "template",
        "biometrics",
        "fingerprint",
        "iris",
        "voiceprint",
        "speaker",
        "visage",
        "gesichter",
        "rostro",
        "empreinte_digitale",
    ),
    "person": (
        "plate",
        "licence_plate",
        "licensePlate",
        "licenseplate",
        "lpr",
        "anpr",
        "immatriculation",
        "Kennzeichen_kfz_kennzeichen",
        "matrícula",
        "person_id",
        "personName",
        "passport",
        "imei",
        "imsi",
        "msisdn",
        "mac",
        "mac_address",
        "ssid",
        "phone",
        "prénom",
        "first-name",
        "date_de_naissance",
        "suspect",
    ),
    "prediction": (
        "risk_score",
        "riskScore",
        "riskscore",
        "threat.prediction",
        "crime_probability",
        "score_de_risque",
        "predictive_policing",
    ),
    "camera": (
        "camera",
        "camera_id",
        "cameraId",
        "cameraid",
        "CAMÉRA",
        "ptz_preset",
        "preset",
        "onvif",
        "cctv",
        "vms",
        "videosurveillance",
        "kamera",
        "cámara",
        "pan_tilt",
    ),
}
HARMLESS = (
    *(
        "interface",
        "surface",
        "platform",
        "template_version",
        "frame_rate",
        "frame_count",
        "fcnt",
        "stream_count",
    ),
    *(
        "clipping",
        "photodiode",
        "spectrum",
        "microphone_gain",
        "people_count",
        "crowd",
        "level_db",
        "mould_risk",
    ),
    *(
        "mould_risk_score",
        "machine",
        "macro",
        "telemetry",
        "recorded_at",
        "firmware",
        "interval_s",
        "vocabulary",
    ),
    *(
        "username",
        "hostname",
        "hotspot",
        "calibration",
        "plateau",
        "video_analytics",
        "screen_brightness",
        "wave",
        "base_plate",
        "firmware_image",
        "recording_interval_s",
        "snapshotInterval",
        "photo_sensor",
        "face_nord",
        "led_pixels",
        "seismic_risk_rating",
    ),
    *(
        "sampling_rate",
        "imagination",
        "iri",
        "camping",
        "phase",
        "speed",
        "bus",
        "model",
        "class",
        "confidence",
    ),
)


@pytest.mark.parametrize("text", ENCODED.values(), ids=ENCODED.keys())
def test_encoded_bytes_are_found(text: str) -> None:
    for finding in (
        examine_text(text),
        examine_document({"a": [{"b": text}]}),
        assess_payload(json.dumps({"values": {"pm1": text}}).encode()).finding,
        assess_payload(b'{"time": NaN, "firmware": ' + json.dumps(text).encode()).finding,
    ):
        assert finding is not None
        assert finding.kind == "encoded_media"
        assert finding.code == "forbidden_content"


@pytest.mark.parametrize("text", LEGITIMATE.values(), ids=LEGITIMATE.keys())
def test_legitimate_texts_pass(text: str) -> None:
    assert examine_text(text) is None
    assert examine_document({"description": text, "attributes": {"a": text}}) is None
    assert assess_payload(json.dumps({"firmware": text}).encode()) == assess_payload(b"{}")


def test_pieces_of_one_run_are_put_together() -> None:
    pieces = [_BASE64[at : at + 10] for at in range(0, 640, 10)]
    candidates = [
        {"class": each, "model": other} for each, other in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    for document in (pieces, {"candidates": candidates}, dict(enumerate(pieces)), {"a": {"b": pieces}}):
        finding = examine_document(document)
        assert finding is not None
        assert finding.kind == "encoded_media"
    assert assess_payload(json.dumps({"candidates": candidates}).encode()[:-2]).finding is not None


def test_arrays_of_numbers_are_no_telemetry() -> None:
    for numbers in (
        [0.5] * (NUMBERS_LIMIT + 1),
        [[1, 2]] * 70,
        {"samples": [1.5e-3] * 65},
        {f"v{index}": index / 3 for index in range(65)},
        {str(index): index for index in range(65)},
        [str(number) for number in range(100, 180)],
        ", ".join(str(number) for number in range(80)),
    ):
        finding = examine_document({"a": numbers})
        assert finding is not None
        assert finding.kind == "number_array"
        assert assess_payload(json.dumps({"a": numbers}).encode()).finding is not None
        source = json.dumps({"a": numbers}).encode()
        assert (
            len(numbers) < 70 or isinstance(numbers, dict) or assess_payload(source[:-2]).finding is not None
        ), "cut short"
    assert examine_document([0.5] * NUMBERS_LIMIT) is None


def test_numbers_are_counted_once_however_deep_they_are() -> None:
    deep: object = [[index, index / 3] for index in range(30)]
    for _ in range(6):
        deep = [deep]
    documents = [{name: deep} for name in ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")]
    assert examine_document(documents) is None, "480 numbers"
    assert examine_document([*documents, {"ii": deep}]) is not None


def test_several_documents_share_a_budget() -> None:
    budget = ScanBudget(20)
    assert examine_document({"aa": [1, 2, "xyz"]}, budget=budget) is None
    assert budget.left == 20 - (5 + len("aa") + len("xyz"))
    found = [examine_document({"aa": list(range(9))}, budget=budget) for _ in range(2)]
    assert [None if each is None else each.kind for each in found] == ["not_examined"] * 2
    assert examine_document({"aa": list(range(9))}) is None


def test_batches_of_samples_are_no_arrays_of_numbers() -> None:
    samples = [
        {"seq": index, "time": 1_795_514_400_000 + index, "values": {"pm1": 1}} for index in range(1_001)
    ]
    assert assess_payload(json.dumps({"samples": samples}).encode()) == assess_payload(b"{}")
    pack = [{"n": "pm2_5", "u": "ug/m3", "t": -index, "v": 1.5} for index in range(400)]
    assert assess_payload(json.dumps(pack).encode()) == assess_payload(b"{}")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_names_that_say_what_must_not_come(kind: ContentKind, name: str) -> None:
    finding = examine_name(name)
    assert finding is not None
    assert finding.kind == kind
    assert finding.code == ("camera_coupling" if kind == "camera" else "forbidden_content")
    assert finding.detail.isascii()
    for payload in (
        json.dumps({"time": 1, "values": {name: 1}}),
        json.dumps({"type": name}),
        f'{{"time": NaN, "{name}": 1}}',
        f'{{"{name}": ',
        json.dumps([{"n": f"urn:dev:ow:box-0001:{name}", "v": 1}]),
    ):
        assert assess_payload(payload.encode()).finding is not None
    assert examine_topic(f"vigie/v1/box-0001/{name}") is not None


@pytest.mark.parametrize("name", HARMLESS)
def test_other_names_pass(name: str) -> None:
    assert classify_field_name(name) is None


def test_ours_have_no_such_name() -> None:
    """No metric, type of event, purpose, source of sound nor field of the API: the catalogues refuse too."""
    names = [
        *(metric.name for metric in CATALOGUE),
        *(each.name for each in EVENT_TYPES),
        *(purpose.name for purpose in PURPOSES),
        *(word for source in SOURCES.sources for word in (source.id, getattr(source, "class_", source.id))),
    ]
    assert {name for name in names if examine_name(name) is not None} == set()


# Of answers alone: who is a member, and which preset a rule was made from. No client sends them.
_OF_ANSWERS = {"user_id", "preset"}


def test_fields_and_examples_of_the_api_pass() -> None:
    document = openapi_document()
    assert {name for name in _fields(document) if classify_field_name(name) is not None} == _OF_ANSWERS
    for example in _examples(document):
        assert examine_document(example, persons=False, own_names=_OF_ANSWERS) is None


def _fields(node: Any) -> Iterator[str]:  # noqa: ANN401 (a document)
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _fields(each)
    if isinstance(node, dict) and isinstance(node.get("properties"), dict):
        yield from node["properties"]


def _examples(node: Any) -> Iterator[Any]:  # noqa: ANN401 (a document)
    for key, each in node.items() if isinstance(node, Mapping) else enumerate(node):
        if key == "example":
            yield each
        elif key == "examples" and isinstance(each, list):
            yield from each
        elif isinstance(each, dict | list):
            yield from _examples(each)


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x24\0\0\0WEBPVP8 ",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0",
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x20ftypisom",
        b"\x1aE\xdf\xa3\x9f",
        b"FORM\0\0\0\x24AIFF",
        b"OggS\0\x02",
        b"fLaC\0\0\0\x22",
        b"ID3\x04\0",
        b"\xff\xfb\x90\x64",
        b"\xff\xf1\x50\x80",
        b"#!AMR\n",
        b"%PDF-1.7",
        b"PK\x03\x04\x14\0",
    ],
)
def test_media_are_known_by_their_first_bytes(head: bytes) -> None:
    media = head + _BYTES
    for payload in (media, gzip.compress(media), gzip.compress(gzip.compress(media))):
        judgement = assess_payload(payload)
        assert judgement.finding is not None
        assert judgement.finding.code == "forbidden_content"
        assert not judgement.readable
    assert examine_document({"values": {"pm1": media[:40]}}) is not None
    assert examine_text(base64.b64encode(media[:60]).decode()) is not None


def test_bytes_in_documents() -> None:
    assert examine_document({"pm1": bytes(10)}) is None
    assert examine_document({"pm1": bytes(65)}) is not None
    typed = cbor2.CBORTag(85, bytes(400))  # RFC 8746: an array of float32
    assert examine_document({"samples": [{"values": typed}]}) is not None


def test_what_is_no_text_is_not_readable() -> None:
    for payload in (
        _BYTES,
        b"\xff\xff",
        cbor2.dumps({"pm1": 1.5}),
        b"a\0b",
        gzip.compress(b"{}"),
        "ü".encode("latin-1"),
    ):
        assert assess_payload(payload) == assess_payload(b"\xff")
        assert not assess_payload(payload).readable
    assert assess_payload(cbor2.dumps({"values": {"face_id": 1}})[:-1]).finding is not None
    assert assess_payload('{"camera": 1}'.encode("utf-16")).finding is not None
    assert assess_payload(b"9" * 5_000) == assess_payload(b"\xff"), "nobody knows what so many digits say"


def test_escapes_hide_nothing() -> None:
    assert assess_payload(rb'{"c\u0061mera": NaN}').finding is not None
    assert (
        assess_payload(b'{"a": NaN, "b": "' + _BASE64.replace("/", r"\/").encode() + b'"}').finding
        is not None
    )
    assert examine_source('{"face_id": 1, "face_id": 2}') is not None
    assert examine_source("face_id=1&image=2") is not None


def test_disguises_that_cost_nothing_hide_nothing() -> None:
    pieces = [_BASE64[at : at + 15] for at in range(0, 1_200, 15)]
    raw = base64.b64decode(_BASE64[:1_200])
    for text in (
        *(mark.join(pieces) for mark in (".", ",", ";", "|", "\u200b", "\u00ad", ".\u2060 ")),
        "".join(chr(ord(each) + 0xFEE0) for each in _BASE64[:1_200]),
        *(mark.join(f"{byte:02x}" for byte in raw) for mark in "./|_"),
        *("".join(f"{mark}{byte:02X}" for byte in raw) for mark in ("%", "=", r"\x", "&#x")),
    ):
        assert examine_text(text) is not None, text[:40]
        assert assess_payload(json.dumps({"a": text}).encode()).finding is not None, text[:40]
    for name in ("c\u0430mera", "\u0430udi\u043e", "aud\u0131o", "%61udio", r"\u0061udio", "au\u200bdio"):
        assert examine_name(name) is not None, ascii(name)
    inner = json.dumps({"n": json.dumps([{"face_id": 12}])})
    assert assess_payload(json.dumps({"payload": inner}).encode()).finding is not None
    for _ in range(8):
        inner = json.dumps({"payload": inner})
    assert not assess_payload(inner.encode()).readable, "a document in documents in documents"
    short = {name: [index / 3 for index in range(60)] for name in ("aa", "bb", "cc", "dd", "ee", "ff", "gg")}
    assert examine_document(short) is None
    assert examine_document({"a": short, "b": short}) is not None


def test_people_call_things_as_they_like() -> None:
    for text in ("Rue de la Camera", "Face nord", "Résidence Iris", "Crime Museum", "Recording studio"):
        for field in ("name", "label", "type", "kind", "street"):
            assert examine_document({"attributes": {field: text}}, persons=False) is None
        assert examine_document({"type": "camera"}, persons=False) is not None
        assert examine_document({"label": "camera"}) is not None
    boxes = [hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(300)]
    assert examine_document({"boxes": boxes}, persons=False) is None
    assert examine_document({"boxes": boxes}) is not None
    assert examine_document({"boxes": [*boxes, "g" * 16]}, persons=False) is not None
    arabic = "https://ar.example/" + "%D8%B4%D8%A7%D8%B1%D8%B9" * 20
    assert examine_text(arabic, persons=False) is None


def test_personal_values_at_the_doors_alone() -> None:
    for text in ("aa:bb:cc:dd:ee:ff", "jeanne@example.org", "+33 6 12 34 56 78", "AB-123-CD"):
        finding = examine_text(text)
        assert finding is not None
        assert finding.kind == "person"
        assert examine_text(text, persons=False) is None


def test_paths_name_no_part_of_what_was_found() -> None:
    finding = examine_document({"attributes": {"note": {"x": [1, _BASE64]}}})
    assert finding is not None
    assert finding.path == "attributes.note.x.1"
    finding = examine_document({"attributes": {"camera_of_jeanne": 1}})
    assert finding is not None
    assert finding.path == "attributes"


def _boxes(position: object, count: int = 1_000) -> dict[str, Any]:
    return {"boxes": [{"id": f"box-{number}", "location": position} for number in range(count)]}


def test_positions_are_not_counted_where_a_position_belongs() -> None:
    point = {"type": "Point", "coordinates": [1.4442, 43.6047]}
    positions = re.compile(r"boxes\.[0-9]+\.location")
    assert examine_document(_boxes(point), positions=positions) is None
    assert examine_document(_boxes(point)) is not None
    for other in (
        {"type": "Point", "coordinates": [200, 43]},
        {"type": "Point", "coordinates": [43, 91]},
        {"type": "Point", "coordinates": [1, 2, 3]},
        {"type": "LineString", "coordinates": [1, 2]},
        {**point, "more": [1]},
        [1, 2],
    ):
        found = examine_document(_boxes(other), positions=positions)
        assert found is not None, other
        assert found.kind == "number_array"
    # What is beside a position counts as before, as does a field of that name elsewhere.
    assert examine_document(_boxes(point) | {"values": [0.5] * 65}, positions=positions) is not None
    inner = {"boxes": [{"attributes": {"location": point}} for _ in range(1_000)]}
    assert examine_document(inner, positions=positions) is not None
    words = {"type": "Point", "coordinates": ["1.4", "43.6"]}
    assert examine_document(_boxes(words), positions=positions) is not None


def test_exempt_names_and_our_own() -> None:
    document = {"headers": {"x": _BASE64}, "user_id": 1}
    assert examine_document(document, exempt={"headers"}, own_names={"user_id"}) is None
    for inner in ({"config": {"headers": _BASE64}}, [{"headers": _BASE64}]):
        assert examine_document(inner, exempt={"headers"}) is not None, "a field of theirs, not of a body"
    assert examine_document(document, own_names={"user_id"}) is not None
    assert examine_document({"user_id": _BASE64}, own_names={"user_id"}) is not None


_MIB = 2**20
HOSTILE = {
    "keys": json.dumps({f"k{number}": number for number in range(80_000)}),
    "brackets": "[" * _MIB,
    "quotes": '"' * _MIB,
    "backslashes": '"' + "\\" * _MIB,
    "numbers": ("1e5," * 63 + "x ") * 4_096,
    "pairs": ("fe:" * 63 + "x ") * 5_400,
    "words": "abcdefghijklmno " * 65_536,
    "long words": "abcdefghijklmnop " * 61_000,
    "addresses": "https://" * 131_072,
    "data": "data:" * 200_000,
    "digits": "9" * _MIB,
    "spaces": " " * _MIB,
    "texts": json.dumps([f"abcdefghijklmnopqrstuv{number}" for number in range(40_000)]),
    "signs": ("!a" * 64 + " ") * 8_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_mebibyte_costs_little(text: str) -> None:
    """10 to 40 ms on a busy machine of two cores; the bound is for a busier one, and far from quadratic."""
    payload = text.encode()[:_MIB]

    def count_seconds() -> float:
        began = time.process_time()
        assess_payload(payload)
        return time.process_time() - began

    # A pause of a virtual machine may be counted as time of the processor: not three times.
    assert any(count_seconds() < 0.25 for _ in range(3))


def test_a_guard_that_fails_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.platform.content_policy.refused_payload_assessment.examine_source", broken)
    judgement = assess_payload(b"{}")
    assert judgement.finding is not None
    assert judgement.finding.kind == "not_examined"
    assert not judgement.readable


def test_runs_at_the_bound() -> None:
    text = _BYTES.hex()
    assert examine_text(text[:RUN_LIMIT]) is None
    assert examine_text(text[: RUN_LIMIT + 1]) is not None
