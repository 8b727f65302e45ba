"""Generates the tables of docs/bad-input.md from the inputs that the tests send."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.integration import bad_calls, bad_input
from tools.markdown_tables import render_rows


def render_bad_table(by_mqtt: Sequence[bad_input.BadInput], by_http: Sequence[bad_input.BadInput]) -> str:
    """What both doors answer, input by input; one that only one of them can get has a dash at the other."""
    mqtt = {case.name: f"`{case.code}`" for case in by_mqtt}
    http = {case.name: f"{case.status} `{case.code}`" for case in by_http}
    names = dict.fromkeys([*mqtt, *http])
    return render_rows(
        "input",
        "MQTT: in quarantine as",
        "HTTP",
        body=[(name, mqtt.get(name, "-"), http.get(name, "-")) for name in names],
    )


def render_bad_json() -> str:
    both = [*bad_input.documents(), *bad_input.messages(), *bad_input.samples(), *bad_input.batches()]
    boxes = [bad_input.BadInput(name, b"", status, code) for name, _, status, code in bad_input.BOXES]
    return render_bad_table(both, [*both, *boxes, bad_input.BadInput("10 MB", b"", 413, "body_too_large")])


def render_bad_cbor() -> str:
    both = [*bad_input.cbor_documents(), *bad_input.cbor_samples(), *bad_input.cbor_batches()]
    return render_bad_table(both, [*both, bad_input.BadInput("10 MB", b"", 413, "body_too_large")])


def render_bad_gzip() -> str:
    both = bad_input.gzip_messages()
    return render_bad_table(both, [*both, bad_input.BadInput("no gzip at all", b"", 400, "invalid_gzip")])


def render_bad_broker() -> str:
    return render_rows("input", "what happens", body=bad_input.BROKER)


def render_bad_keys() -> str:
    body = [(what, f"{status} `{code}`") for what, status, code in bad_calls.KEYS]
    undeclared = [(what, f"415 `{code}`") for what, _, code, _ in bad_calls.UNDECLARED]
    return render_rows("input", "HTTP", body=[*body, *undeclared])


def render_bad_rest() -> str:
    found: dict[tuple[str, str], None] = {}
    for call in (*bad_calls.calls(), *bad_calls.lists()):
        found[call.what, f"{call.status} " + ("…" if call.code is None else f"`{call.code}`")] = None
    urls = ("a webhook's URL with user info, `127.1`, `[::ffff:127.0.0.1]`, a metadata address, …",)
    return render_rows("input", "HTTP", body=[*found, (*urls, "422 `webhook_url_not_allowed`")])


BAD_INPUT_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "bad-json": render_bad_json,
    "bad-cbor": render_bad_cbor,
    "bad-gzip": render_bad_gzip,
    "bad-broker": render_bad_broker,
    "bad-keys": render_bad_keys,
    "bad-rest": render_bad_rest,
}
