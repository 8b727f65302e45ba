"""Finds misspelt setting names, each with the setting that it resembles most.

Pure: it sees names, never values, and prints nothing. `app.standalone.startup_settings_check` reports its
findings.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Any, Final, Literal, NamedTuple, get_args

from pydantic import BaseModel

type VariableSource = Literal["environment", ".env"]
"""Where a name is set."""

SETTING_PREFIX: Final = "VIGIE_"

OTHER_NAMES: Final = frozenset(
    {
        "VIGIE_API_KEY",
        "VIGIE_API_PASSWORD",
        "VIGIE_API_WORKERS",
        "VIGIE_BROKER_PASSWORD",
        "VIGIE_BROKER_PLAIN_ADDRESS",
        "VIGIE_COMMIT",
        "VIGIE_DELIVER_PASSWORD",
        "VIGIE_DOMAIN",
        "VIGIE_ENCRYPTION_KEY",
        "VIGIE_FUZZ_KEYS",
        "VIGIE_FUZZ_OWNERS",
        "VIGIE_FUZZ_SEED",
        "VIGIE_GATEWAY_PASSWORD",
        "VIGIE_HTTPS_PORT",
        "VIGIE_HTTP_PORT",
        "VIGIE_INGEST_CLIENT_ID",
        "VIGIE_INGEST_PASSWORD",
        "VIGIE_MAINTAIN_PASSWORD",
        "VIGIE_METRICS_TOKEN",
        "VIGIE_NO_ENV_FILE",
        "VIGIE_PASSWORD",
        "VIGIE_PROFILE",
        "VIGIE_STACK",
        "VIGIE_URL",
        "VIGIE_WITHOUT_CLIENTS",
        "VIGIE_WITHOUT_GUIDES",
    }
)
"""Variables that are no settings: of the client, `vigie up`, the build, containers, and the tests."""

_SIMILAR: Final = 0.6
# Without the prefix a name belongs to another program, unless all of it resembles one of ours. `VITE` is at
# 0.67.
_SIMILAR_PREFIX: Final = 0.75
_SIMILAR_WITHOUT_PREFIX: Final = 0.85
_WORD: Final = re.compile(r"\w+", re.ASCII)
# Kubernetes sets these in each container for a Service named `vigie` or `vigie-…`.
_LINK_HOST: Final = "_SERVICE_HOST"
_LINK: Final = re.compile(
    r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


class UnknownSetting(NamedTuple):
    """A name that belongs to no setting.

    Attributes:
        name: The name as written, up to the first character that no name contains: a value may follow it.
        nearest: The setting that it resembles most; None where it resembles none.
        source: Where it is set.
    """

    name: str
    nearest: str | None
    source: VariableSource


def list_setting_names(model: type[BaseModel], prefix: str = SETTING_PREFIX) -> frozenset[str]:
    """List the variables of a model's fields. A field with parts also has one for all of them, as JSON."""
    return frozenset(_names(model, prefix))


def _names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        for part in _models(field.annotation):
            yield from _names(part, f"{variable}__")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 (a type)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def find_misspelt_settings(
    names: Mapping[str, VariableSource], known: Collection[str]
) -> list[UnknownSetting]:
    """Find the names that begin with `VIGIE_`, in any case, and belong to no setting.

    In a `.env` file, also those with a misspelt prefix (`VIGE_SMTP__HOST`).

    Args:
        names: Each name, and where it is set.
        known: The result of `list_setting_names`.
    """
    ours = {*known, *OTHER_NAMES, *_service_links(names)}
    known_rests = {name.removeprefix(SETTING_PREFIX): name for name in sorted(known)}
    found = []
    for name, source in names.items():
        word = _first_word(name)
        rest = _rest(word)
        has_prefix = name.upper().startswith(SETTING_PREFIX)
        if rest is None or name.upper() in ours or not (has_prefix or source == ".env"):
            continue
        cutoff = _SIMILAR if has_prefix else _SIMILAR_WITHOUT_PREFIX
        near = get_close_matches(rest, known_rests, n=1, cutoff=cutoff)
        if has_prefix or near:
            shown = word if word == name else f"{word}…"
            found.append(UnknownSetting(shown, known_rests[near[0]] if near else None, source))
    return found


def _first_word(name: str) -> str:
    """Cut what is not part of a name.

    To python-dotenv, `VIGIE_SMTP__PASSWORD:secret` without `=` is a name.
    """
    word = _WORD.search(name)
    return "" if word is None else word[0]


def _rest(name: str) -> str | None:
    """Return what follows the prefix, or a misspelt one; None where there is neither."""
    upper = name.upper()
    bare = SETTING_PREFIX.removesuffix("_")
    if upper.startswith(bare):
        return upper.removeprefix(bare).removeprefix("_")
    head, _, rest = upper.partition("_")
    return rest if SequenceMatcher(None, head, bare).ratio() >= _SIMILAR_PREFIX else None


def _service_links(names: Mapping[str, VariableSource]) -> Iterator[str]:
    """List the names that Kubernetes has set."""
    ours = [name for name in names if name.startswith(SETTING_PREFIX)]
    services = [name.removesuffix(_LINK_HOST) for name in ours if name.endswith(_LINK_HOST)]
    for service in services:
        yield from (n for n in ours if n.startswith(service) and _LINK.fullmatch(n.removeprefix(service)))
