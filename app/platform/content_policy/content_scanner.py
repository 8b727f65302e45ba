"""Scans texts, documents and bytes for forbidden content: audio, images, biometrics (docs/privacy.md).

It stores and logs nothing; its findings name a kind of content, never a part of it. `forbidden_field_names`
defines the names, `encoded_runs` the encoded texts, and `refused_payloads` assesses refused payloads. Pure:
no clock, no input, no output.

It scans what is refused, and the few texts that are accepted: plain telemetry does not come here. If it
raises an exception, the caller must refuse and store nothing.
"""

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.platform.content_policy import encoded_media_detection as runs
from app.platform.content_policy import number_arrays as numbers
from app.platform.content_policy.forbidden_field_names import classify_field_name
from app.platform.content_policy.number_arrays import NumberArray as _Array

type ContentKind = Literal[
    "encoded_media",
    "media",
    "number_array",
    "sound",
    "image",
    "biometric",
    "person",
    "prediction",
    "camera",
    "not_examined",
]
"""Kinds of findings: encoded bytes in a text; sound, image or video as bytes; numbers that could be samples
of them; a name that stands for sound, image, biometrics, persons, predictions on them or cameras;
`not_examined`: the scan failed, or would examine more than it may.
"""

_MOST_NAMES: Final = 4_000
_LONGEST_BYTES: Final = 64
_PATH_LIMIT: Final = 64
_BIG_NUMBERS: Final = (2, 3)

CONTENT_CODES: Final = ("forbidden_content", "camera_coupling")
"""The rejection codes of findings."""

_WHAT: Final[Mapping[ContentKind, str]] = {
    "encoded_media": "encoded bytes in a text",
    "media": "sound, image, video or a file",
    "number_array": f"more than {runs.NUMBERS_LIMIT} numbers in one array",
    "sound": "a name that stands for sound or speech",
    "image": "a name that stands for image or video",
    "biometric": "a name that stands for biometrics",
    "person": "a name that stands for persons' identifiers",
    "prediction": "a name that stands for predictions about persons or places",
    "camera": "a name that stands for cameras",
    "not_examined": "what could not be examined",
}


@dataclass(frozen=True, slots=True)
class ContentFinding:
    """Forbidden content that was found.

    Attributes:
        kind: its kind.
        path: its path in a document, made of harmless names; empty for the whole.
    """

    kind: ContentKind
    path: str = ""

    @property
    def code(self) -> str:
        """The rejection code."""
        return "camera_coupling" if self.kind == "camera" else "forbidden_content"

    @property
    def detail(self) -> str:
        """The detail for the sender, without any of its content."""
        if self.kind == "camera":
            return "It couples to a camera, which Vigie never does: it was not stored (docs/privacy.md)"
        return (
            f"It carries {_WHAT[self.kind]}, which Vigie must never store: it was discarded (docs/privacy.md)"
        )


NOT_EXAMINED_FINDING: Final = ContentFinding("not_examined")
"""The finding of a scan that failed."""


@dataclass(slots=True)
class ScanBudget:
    """Limits how much the scans of several documents examine together.

    Attributes:
        left: values, and characters of texts and new names, that may still be examined.
    """

    left: int = sys.maxsize

    def spend(self, cost: int) -> bool:
        """Spend a part of it; False once there is too little left."""
        self.left = max(self.left - cost, -1)
        return self.left >= 0


# Texts and names, closed or not; possessive, as in strict JSON.
_TEXTS: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"?(\s*+:)?', re.DOTALL)
_LITERALS: Final = re.compile(r"\b(?:true|false|null)\b|[\s\d.,\[\]{}]{2,}+")
_BARE_NAMES: Final = re.compile(r"(?<![\w.-])'?([^\W\d][\w.-]{1,63}+)'?\s?[:=]")
# Fields whose text names the kind of a thing: the text is examined like a name.
_NAMING: Final = frozenset(
    {
        *("type", "class", "kind", "label", "event", "event_type", "value_type", "metric", "field", "key"),
        *("n", "bn", "format", "codec", "mime", "mime_type", "content_type", "media_type"),
    }
)
# Fields with identifiers: numbered names, and addresses of LoRaWAN devices, look like encoded bytes.
_IDENTIFYING: Final = frozenset({"id", "box", "box_id", "devEui", "gatewayId", "seq", "time"})
_LONGEST_ID: Final = 64
_PERSONAL: Final = re.compile(
    r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"  # a device's address
    r"|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
    r"|\+[0-9][0-9 ().-]{7,18}[0-9]"
    r"|[A-Z]{2}[- ][0-9]{3}[- ][A-Z]{2}"  # a French plate
)
# A document inside a text, as gateways forward: its names are examined as names.
_DOCUMENT: Final = re.compile(r"\s*[\[{][\s\[{]*+\"")
_LAYERS: Final = 4
# Labels that people choose.
_LABELS: Final = frozenset({"label", "n", "bn"})
_LAST_PART: Final = re.compile(r"[^:/]*(?=[:/]*$)")


class ContentExamination:
    """The state of one scan of one document: encoded pieces add up, and `names` are classified once."""

    def __init__(self, *, persons: bool) -> None:
        self._encoded = runs.EncodedRunCounter()
        self._persons = persons
        self.names: set[str] = set()
        self._depth = 0

    @property
    def persons(self) -> bool:
        """Whether addresses and numbers of persons are forbidden too; not in texts that people write."""
        return self._persons

    def classify_name(self, name: str) -> ContentKind | None:
        """Classify a name of a field or a thing."""
        if name in self.names:
            return None
        self.names.add(name)
        if len(self.names) > _MOST_NAMES:
            return "not_examined"
        return classify_field_name(name) or self.classify_text(name)

    def classify_text(self, text: str, *, solid: bool = True) -> ContentKind | None:
        """Classify a text without its field."""
        if len(text) > runs.NUMBERS_LIMIT and runs.count_consecutive_numbers(text) > runs.NUMBERS_LIMIT:
            return "number_array"
        return "encoded_media" if self._encoded.found_in(text, solid=solid) else None

    def classify_value(self, name: str, text: str) -> ContentKind | None:
        """Classify a text in a field of this name."""
        if name in _NAMING and (self._persons or not (name in _LABELS or " " in text)):
            last = _LAST_PART.search(text)
            named = classify_field_name(last[0] if last is not None and name in {"n", "bn"} else text)
            if named is not None:
                return named
        if name in _IDENTIFYING and len(text) <= _LONGEST_ID:
            return None
        if self._persons and len(text) <= 320 and _PERSONAL.fullmatch(text):  # noqa: PLR2004 (an e-mail address)
            return "person"
        if _DOCUMENT.match(text):
            return self._of_inner(text)
        return self.classify_text(text)

    def _of_inner(self, text: str) -> ContentKind | None:
        if self._depth >= _LAYERS:
            return "not_examined"
        self._depth += 1
        try:
            return self.classify_source(text)
        finally:
            self._depth -= 1

    def classify_source(self, source: str) -> ContentKind | None:
        """Classify the source of a document, whether or not it can be parsed."""
        plain = '"' not in source
        found = self.classify_text(source, solid=plain)
        if found is not None:
            return found
        name = ""
        texts = []
        for match in _TEXTS.finditer(source):
            text = runs.unescape_text(match[1])
            if match[2] is not None:
                name, found = text, self.classify_name(text)
            else:
                if name not in _IDENTIFYING:
                    texts.append(text)
                found = self.classify_value(name, text)
            if found is not None:
                return found
        outside = _LITERALS.sub("", source if plain else _TEXTS.sub('"', source))
        for bare in _BARE_NAMES.findall(outside):
            if (found := self.classify_name(bare)) is not None:
                return found
        return "encoded_media" if runs.is_encoded_when_joined(texts) else None


def examine_text(text: str, *, name: str = "", persons: bool = True) -> ContentFinding | None:
    """Examine one text.

    Args:
        text: the text.
        name: its field, where that says what it is about.
        persons: whether addresses, plates and numbers of persons are forbidden too.
    """
    kind = ContentExamination(persons=persons).classify_value(name, text)
    return None if kind is None else ContentFinding(kind)


def examine_name(name: str) -> ContentFinding | None:
    """Examine a name of a field or a thing."""
    kind = ContentExamination(persons=True).classify_name(name)
    return None if kind is None else ContentFinding(kind)


def examine_source(source: str) -> ContentFinding | None:
    """Examine a document's source, whether it can be parsed or not: truncated, with NaN and the like."""
    kind = ContentExamination(persons=True).classify_source(source)
    if kind is None:
        try:
            document = json.loads(source)
        except (ValueError, RecursionError):
            return None
        return examine_document(document)
    return ContentFinding(kind)


def examine_document(
    document: Any,  # noqa: ANN401 (whatever a codec makes of a document)
    *,
    persons: bool = True,
    own_names: Collection[str] = (),
    exempt: Collection[str] = (),
    positions: re.Pattern[str] | None = None,
    budget: ScanBudget | None = None,
) -> ContentFinding | None:
    """Examine a decoded document: its names, texts, bytes and arrays.

    Args:
        document: values of JSON or CBOR.
        persons: whether addresses and numbers of persons are forbidden too.
        own_names: names of Vigie itself, which are not examined; their values are.
        exempt: top-level names whose values are not examined.
        positions: paths of fields with the position of a thing. A GeoJSON point there is not counted among
            the document's numbers; anything else is examined.
        budget: limits the scan; the finding is `not_examined` if it ends before the document. None: no limit.
    """
    examination = ContentExamination(persons=persons)
    scan = _DocumentScan(examination, frozenset(own_names), frozenset(exempt), positions, budget)
    return scan.of(document, "", "")


class _DocumentScan:
    """Scans a document recursively."""

    def __init__(
        self,
        examination: ContentExamination,
        own: frozenset[str],
        exempt: frozenset[str],
        positions: re.Pattern[str] | None,
        budget: ScanBudget | None,
    ) -> None:
        self._examination = examination
        self._own = own
        self._exempt = exempt
        self._positions = positions
        self._budget = ScanBudget() if budget is None else budget
        self._numbers = 0

    def of(self, value: Any, name: str, path: str, array: _Array | None = None) -> ContentFinding | None:  # noqa: ANN401 (as above)
        """Scan a value; `array`: the outermost of the arrays that directly contain it, if it is an array."""
        if not self._budget.spend(1):
            return ContentFinding("not_examined", path)
        if isinstance(value, str):
            return self._text(value, name, path)
        if isinstance(value, bytes | bytearray):
            too_long = len(value) > _LONGEST_BYTES
            return ContentFinding("media", path) if too_long or runs.is_media(bytes(value)) else None
        if isinstance(value, Mapping):
            return self._mapping(value, path)
        if isinstance(value, list | tuple):
            return self._array(value, name, path, _Array(path) if array is None else array)
        return self._tagged(getattr(value, "tag", None), getattr(value, "value", None), name, path)

    def _text(self, text: str, name: str, path: str) -> ContentFinding | None:
        """Scan a text; of a text that is longer than the budget, the beginning."""
        seen = text[: self._budget.left]
        is_whole = self._budget.spend(len(text))
        kind = self._examination.classify_value(name, seen)
        return _found("not_examined" if kind is None and not is_whole else kind, path)

    def _tagged(self, tag: object, value: Any, name: str, path: str) -> ContentFinding | None:  # noqa: ANN401 (as above)
        """Scan a CBOR tag.

        The bytes of a big number are its digits: it is rejected as a number, and not stored.
        """
        if tag in _BIG_NUMBERS and isinstance(value, bytes):
            return ContentFinding("media", path) if runs.is_media(value) else None
        return None if value is None else self.of(value, name, path)

    def _mapping(self, found: Mapping[Any, Any], path: str) -> ContentFinding | None:
        if self._positions is not None and self._positions.fullmatch(path) and numbers.is_position(found):
            return None
        if numbers.is_numbered(found):
            return ContentFinding("number_array", path)
        for key, value in found.items():
            if not path and key in self._exempt:
                continue
            name = key if isinstance(key, str) else ""
            if name not in self._own and (kind := self._of_key(key)) is not None:
                return ContentFinding(kind, path)
            if (finding := self.of(value, name, _below(path, name))) is not None:
                return finding
        return self._joined(_texts(found), path)

    def _of_key(self, key: object) -> ContentKind | None:
        if isinstance(key, str):
            if key in self._examination.names:
                return None
            return self._examination.classify_name(key) if self._budget.spend(len(key)) else "not_examined"
        return "media" if isinstance(key, bytes) and len(key) > _LONGEST_BYTES else None

    def _array(
        self, items: list[Any] | tuple[Any, ...], name: str, path: str, array: _Array
    ) -> ContentFinding | None:
        are_ids = name == "boxes" and not self._examination.persons and numbers.are_euis(items)
        for index, item in enumerate(items):
            if numbers.is_number(item):
                array.numbers += 1
                self._numbers += 1
                if array.numbers > runs.NUMBERS_LIMIT or self._numbers > runs.NUMBERS_SUM:
                    return ContentFinding("number_array", array.path)
            if are_ids:
                continue
            finding = self.of(item, name, f"{path}.{index}" if path else str(index), array)
            if finding is not None:
                return finding
        if are_ids:
            return None
        return self._joined((text for item in items for text in _texts(item)), path)

    def _joined(self, texts: Iterable[str], path: str) -> ContentFinding | None:
        return _found("encoded_media" if runs.is_encoded_when_joined(texts) else None, path)


def _found(kind: ContentKind | None, path: str) -> ContentFinding | None:
    return None if kind is None else ContentFinding(kind, path)


def _below(path: str, name: str) -> str:
    return (f"{path}.{name}" if path else name)[: 4 * _PATH_LIMIT]


def _texts(item: object) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping):
        yield from (each for key, each in item.items() if isinstance(each, str) and key not in _IDENTIFYING)


def examine_topic(topic: str, *, skip: Collection[str] = ()) -> ContentFinding | None:
    """Examine the levels of a topic as names; those in `skip` (a box's id) as texts."""
    examination = ContentExamination(persons=False)
    for level in topic.split("/")[:_PATH_LIMIT]:
        kind = examination.classify_text(level) if level in skip else examination.classify_name(level)
        if kind is not None:
            return ContentFinding(kind)
    return None


__all__ = [
    "CONTENT_CODES",
    "ContentFinding",
    "ContentKind",
    "ScanBudget",
    "examine_document",
    "examine_name",
    "examine_source",
    "examine_text",
    "examine_topic",
]
