"""Detects media hidden in text: encoded bytes, or long runs of numbers such as samples or pixels.

The limits were chosen by measurement (docs/decisions/0029). Pure, in time linear in the text: every pattern
is possessive, and none starts again within what it has matched.

In base64, base32 and hexadecimal digits the kinds of characters change often, in words and addresses rarely:
of neighbours in random base64 42 % differ in kind (upper case, lower case, digit; a capital before a small
letter does not count), of hexadecimal digits 47 %, of base32 30 %; in French prose less than 1 %, in
addresses and identifiers less than 15 %.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from urllib.parse import unquote_to_bytes

RUN_LIMIT: Final = 128
"""Maximum characters of one encoded run: those of a SHA-512 in hexadecimal digits."""

SUM_LIMIT: Final = 512
"""Maximum characters of all encoded pieces of a document: eight SHA-256; UUIDs do not count."""

NUMBERS_SUM: Final = 512
"""Maximum numbers in all arrays of a document."""

NUMBERS_LIMIT: Final = 64
"""Maximum consecutive numbers in one array, with its inner arrays, or in one text."""

_PIECE: Final = 16
_CHANGES: Final = 0.2
_CHANGES_JOINED: Final = 0.25
_FEW: Final = 4
_ALPHABET: Final = "A-Za-z0-9+/_="
_TOKEN: Final = re.compile(rf"(?<![{_ALPHABET}-])[{_ALPHABET}-]{{{_PIECE},}}+")
_ADDRESS: Final = re.compile(r"\b(?:https?|wss?|mqtts?|ftp)://[^\s\"'<>\\]++", re.IGNORECASE)
_ADDRESS_PARTS: Final = re.compile(r"[A-Za-z0-9+_-]{16,}+")
_UUID: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
)
_CHANGE: Final = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")
_NOT_ALPHANUMERIC: Final = re.compile(r"[^A-Za-z0-9]+")
_WORD: Final = re.compile(rf"[A-Za-z0-9]{{{RUN_LIMIT + 1},}}+")
_DATA_URI: Final = re.compile(
    r"\bdata\s*:\s*[a-z0-9.+-]*+/?[a-z0-9.+;=_-]*+\s*[;,]\s*(?:base64|charset|%)", re.IGNORECASE
)
_MEDIA_TYPE: Final = re.compile(r"\bdata\s*:\s*(?:image|audio|video|application|font)/", re.IGNORECASE)
_SOLID: Final = re.compile(rf"[!-~]{{{RUN_LIMIT + 1},}}+")
_SYMBOLS: Final = re.compile(r"[^A-Za-z0-9]")
_SYMBOL_SHARE: Final = 0.2
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_DIGITS: Final = re.compile(rf"[0-9]{{{RUN_LIMIT + 1},}}+")
# Starts only where no number precedes: no position is tried twice.
_NUMBERS: Final = re.compile(
    r"(?<![0-9\s,;|\[\]\"])(?<![0-9][eE.+-])(?<![eE][+-])[\s,;|\[\]\"]*+"
    rf"(?:[-+]?+[0-9]++(?:\.[0-9]*+)?+(?:[eE][-+]?+[0-9]++)?+[\s,;|\[\]\"]++){{{NUMBERS_LIMIT // 2},}}+"
)
_HEX_PAIRS: Final = re.compile(
    rf"(?<![0-9A-Fa-f])(?<![0-9A-Fa-f][:;,%\s-])(?:(?:0x|\\x|%)?+[0-9A-Fa-f]{{2}}[:;,.|/_\s-]++){{{NUMBERS_LIMIT},}}+"
)
_ONE_NUMBER: Final = re.compile(r"[0-9][0-9.eE+-]*+")
# Separators that may split a run: spaces, punctuation, invisible characters.
_CUTS: Final = re.compile(r"[\s.,;|\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+")
_UNSEEN: Final = re.compile(r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]+")
_WIDE: Final = {code + 0xFEE0: code for code in range(0x21, 0x7F)}
# Bytes as prefixed numbers: `\xff\xd8`, `=FF=D8`, `&#255;&#216;`.
_PREFIXED: Final = re.compile(rf"(?:(?:0x|\\x|\\u00|=|&#x?)[0-9A-Fa-f]{{2,3}}+[;,\s]*+){{{NUMBERS_LIMIT},}}+")
_PERCENT: Final = re.compile(rf"(?:%[0-9A-Fa-f]{{2}}[\w.~-]{{0,3}}+){{{NUMBERS_LIMIT},}}+")

# Long enough to be no coincidence anywhere in binary data.
_MAGIC: Final = re.compile(
    rb"\xff\xd8\xff[\xdb\xe0-\xef\xfe]|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}(?:WAVE|WEBP|AVI )|OggS\0|fLaC\0"
    rb"|II\*\0|MM\0\*|\0\0\0.ftyp|\x1aE\xdf\xa3|FORM.{4}AIF[FC]|%PDF-|PK\x03\x04|#!AMR|ID3[\x02-\x04]"
    rb"|\0\0\0\x01[\x67\x40\x42]",
    re.DOTALL,
)
# The same and more, at the beginning of data.
_HEAD: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8[79]|RIFF.{4}|OggS|fLaC|.{4}ftyp|\x1aE\xdf\xa3|FORM.{4}AIF|%PDF|PK\x03\x04|#!AMR"
    rb"|ID3[\x02-\x04]|FLV\x01|\.snd\0|caff\0|8BPS\0|II\*\0|MM\0\*",
    re.DOTALL,
)
# May be coincidence in short data. BMP: its reserved words are empty; sound: a frame's head.
_WEAK_HEAD: Final = re.compile(
    rb"BM.{4}\0{4}|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xee]|\xff[\xf0\xf1\xf8\xf9][\x40-\x7f]|MThd|[FC]WS",
    re.DOTALL,
)
_HEAD_CHARACTERS: Final = 64


def is_media(data: bytes) -> bool:
    """Return whether bytes begin like sound, image, video or a document, or contain such a beginning."""
    return any(
        found is not None for found in (_HEAD.match(data), _WEAK_HEAD.match(data), _MAGIC.search(data))
    )


def compute_change_share(text: str) -> float:
    """Return the share of neighbouring letters and digits of different kinds; 0 for less than two."""
    pairs = len(text) - len(_NOT_ALPHANUMERIC.findall(text)) - 1
    return len(_CHANGE.findall(text)) / pairs if pairs > 0 else 0.0


def looks_encoded(text: str) -> bool:
    """Return whether a run of base64 characters is no word, number or identifier."""
    return compute_change_share(text) >= _CHANGES and len(set(text)) > _FEW


def count_consecutive_numbers(text: str) -> int:
    """Return the longest sequence of numbers in a text, separated by brackets and commas."""
    return max((len(_ONE_NUMBER.findall(found[0])) for found in _NUMBERS.finditer(text)), default=0)


def _decoded_heads(token: str) -> list[bytes]:
    """Decode the beginning of a run in each possible encoding."""
    head = token[:_HEAD_CHARACTERS].rstrip("=")
    heads = []
    for alphabet in (None, b"-_"):
        cut = head[: len(head) // 4 * 4]
        try:
            heads.append(base64.b64decode(cut, alphabet, validate=True))
        except (binascii.Error, ValueError):
            continue
    try:
        heads.append(bytes.fromhex(head[: len(head) // 2 * 2]))
    except ValueError:
        with suppress(binascii.Error, ValueError):
            heads.append(base64.b32decode(head[: len(head) // 8 * 8], casefold=True))
    return heads


def _is_counted_out(text: str) -> bool:
    """Return whether bytes are written one by one. Percent-encoded UTF-8 in addresses is words."""
    if _HEX_PAIRS.search(text) or _PREFIXED.search(text):
        return True
    for found in _PERCENT.finditer(text) if "%" in text else ():
        try:
            unquote_to_bytes(found[0]).decode()
        except UnicodeDecodeError:
            return True
    return False


def _is_number(token: str) -> bool:
    return token.isdecimal()


class EncodedRunCounter:
    """Counts the encoded characters of one document."""

    def __init__(self) -> None:
        self.characters = 0
        # A repeated text adds nothing, such as the name of a box in each record of a pack.
        self._seen: set[str] = set()

    def found_in(self, text: str, *, solid: bool = True) -> bool:
        """Return whether a text, or with it the document, exceeds the limits of encoded bytes.

        Args:
            text: the text.
            solid: whether it is one text of words and spaces; False for the source of a document, which also
                has brackets and quotation marks.
        """
        if len(text) < _PIECE:
            return False
        if "data" in text.lower() and (_MEDIA_TYPE.search(text) or _DATA_URI.search(text)):
            return True
        if not text.isascii():
            # Converts full-width letters and removes invisible characters.
            text = _UNSEEN.sub("", text.translate(_WIDE))
        if len(text) > 2 * NUMBERS_LIMIT and _is_counted_out(text):
            return True
        rest = _UUID.sub(" ", text) if "-" in text else text
        if "://" in rest:
            for address in _ADDRESS.finditer(rest):
                if any(self._take(part) for part in _ADDRESS_PARTS.findall(address[0])):
                    return True
            rest = _ADDRESS.sub(" ", rest)
        if any(self._take(token) for token in _TOKEN.findall(rest)):
            return True
        return solid and (self._is_solid(rest) or self._is_scattered(rest))

    def _take(self, token: str) -> bool:
        if token in self._seen or _is_number(token):
            return False
        self._seen.add(token)
        encoded = looks_encoded(token)
        for head in _decoded_heads(token):
            if _HEAD.match(head) or (encoded and len(token) > _HEAD_CHARACTERS and _WEAK_HEAD.match(head)):
                return True
        if encoded:
            self.characters += len(token)
        return (
            self.characters > SUM_LIMIT
            or (encoded and len(token) > RUN_LIMIT)
            or any(len(set(word)) > _FEW and not word.isdecimal() for word in _WORD.findall(token))
        )

    def _is_solid(self, text: str) -> bool:
        """Return whether a text looks like Ascii85: all kinds of characters, and no space."""
        return any(
            len(_SYMBOLS.findall(found)) >= _SYMBOL_SHARE * len(found) and len(set(found)) > 2 * _PIECE
            for found in _SOLID.findall(text)
        )

    def _is_scattered(self, text: str) -> bool:
        """Return whether a run is split by spaces, line ends or punctuation."""
        joined = _CUTS.sub("", text)
        if len(joined) <= 2 * RUN_LIMIT or len(joined) == len(text):
            return False
        return any(
            len(found) > 2 * RUN_LIMIT
            and compute_change_share(found) >= _CHANGES_JOINED
            and not _is_number(found)
            for found in _TOKEN.findall(joined)
        )


def unescape_text(text: str) -> str:
    """Replace the escapes of a JSON text, whether or not it is valid."""

    def replace_escape(match: re.Match[str]) -> str:
        if match[1] is not None:
            return chr(int(match[1], 16))
        return _SHORT_ESCAPES.get(match[2], match[2])

    return _ESCAPE.sub(replace_escape, text) if "\\" in text else text


def is_encoded_when_joined(texts: Iterable[str]) -> bool:
    """Return whether short texts are consecutive pieces of one run; repeated texts count once."""
    pieces = (text for text in dict.fromkeys(texts) if len(text) <= RUN_LIMIT and not _UUID.fullmatch(text))
    joined = "".join(pieces)
    if len(joined) <= 2 * RUN_LIMIT:
        return False
    joined = _CUTS.sub("", joined)
    return any(
        len(found) > 2 * RUN_LIMIT
        and compute_change_share(found) >= _CHANGES_JOINED
        and not _is_number(found)
        for found in _TOKEN.findall(joined)
    )


def has_overlong_number(text: str) -> bool:
    """Return whether a text has a number with more digits than any real number."""
    return _DIGITS.search(text) is not None
