"""What schemathesis is told about this API beyond its OpenAPI document.

Loaded by schemathesis itself (`hooks` in `schemathesis.toml`). Each exception names what it is about, and no
more than that: a code, a call.
"""

import itertools
import json
import os
import re
from typing import Any, Final

import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.core import idempotency

# Requests that their schema allows and that are refused all the same, by their stable code: what a JSON
# Schema cannot say. Each is documented as a 422 (`docs/api.md`).
BEYOND_SCHEMAS: Final = {
    # A relation between two fields, or of a field to now.
    "range_reversed": "`from` before `to`",
    "end_required": "a silence has an end or a schedule",
    "expired": "a time to come",
    "owner_of_sites": "an owner is one of the whole organisation",
    # What only this installation knows.
    "foreign_organisation": "the key's own organisation",
    "invalid_cursor": "a cursor is one that the list gave",
    "unknown_timezone": "the time zones that the machine knows",
    "timezone_required": "the zones of the sites that are named",
    "empty_matchers": "a list that is null is not given: some list must be",
    "empty_scope": "the same",
    "time_in_future": "at most ten minutes from now",
    "time_out_of_range": "the years that samples can have",
    "value_out_of_bounds": "each metric's bounds, which are data (`GET /v1/metrics`)",
    "invalid_duration": "how long at least and at most",
    # A checksum, an encoding, a normal form.
    "claim_mistyped": "a claim code has a check character",
    "name_not_normalised": "Unicode's normal form C",
    "invalid_gzip": "a body that Content-Encoding calls gzip",
    "invalid_webhook_secret": "base64 of 24 to 64 bytes",
    "invalid_email_address": "what mail servers deliver to",
    # What may not be called.
    "webhook_url_not_allowed": "addresses inside the installation",
}


# The same for codes that say less elsewhere.
BEYOND_SCHEMAS_OF: Final = {
    # `severity` and `condition`, or `levels`.
    ("POST /v1/rules", "missing_field"),
    ("POST /v1/rules/backtest", "missing_field"),
    # `timezone` is that of a `schedule`.
    ("POST /v1/silences", "invalid_value"),
}
# `If-Match` names what the client has seen: a tag that is made up is none.
STALE: Final = "precondition_failed"
# Formats of others, whose grammar is theirs: the document says only what they are.
FOREIGN: Final = {"application/senml+json", "application/cbor", "text/csv"}


_numbers = itertools.count()


@schemathesis.hook
def before_call(_: HookContext, case: Case[Any], **__: object) -> None:
    """Give each request an `Idempotency-Key` of its own: one that came before is 409, whatever is sent."""
    for name, value in list((case.headers or {}).items()):
        if name.lower() == idempotency.HEADER.lower() and re.fullmatch(idempotency.PATTERN, str(value)):
            case.headers[name] = f"fuzz-{os.getpid()}-{next(_numbers)}"


def _code(response: Response) -> str | None:
    try:
        return str(json.loads(response.content)["code"])
    except (ValueError, KeyError, TypeError):
        return None


def _has_whole_float(node: object) -> bool:
    """Tell whether a body writes a whole number as 8.0: an integer to a JSON Schema, not to this API."""
    if isinstance(node, dict):
        return any(map(_has_whole_float, node.values()))
    if isinstance(node, list):
        return any(map(_has_whole_float, node))
    return isinstance(node, float) and node.is_integer()


@schemathesis.check
def schema_valid_requests_are_accepted(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """`positive_data_acceptance`, but for what no schema can say."""
    code = _code(response)
    if code == STALE and any(name.lower() == "if-match" for name in case.headers or {}):
        return None
    if code in BEYOND_SCHEMAS or (case.operation.label, code) in BEYOND_SCHEMAS_OF:
        return None
    if case.media_type in FOREIGN or case.path.startswith("/v1/adapters/"):
        return None
    if code == "wrong_type" and _has_whole_float(case.body):
        return None
    return positive_data_acceptance(ctx, response, case)
