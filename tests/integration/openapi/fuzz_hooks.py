"""What schemathesis is told about this API beyond its OpenAPI document.

Loaded by schemathesis itself (`hooks` in `schemathesis.toml`). Each exception names what it is about, and no
more than that: a code, a call.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.platform.http.contract import idempotency

# Requests that their schema allows and that are refused all the same, by their stable code: what a JSON
# Schema cannot say. Each is documented as a 422 (`docs/api.md`).
BEYOND_SCHEMAS: Final = {
    "invalid_geometry": "well-known text of a kind of geometry",
    # A relation between two fields, or of a field to now.
    "range_reversed": "`from` before `to`",
    "end_required": "a silence has an end or a schedule",
    "wrong_unit": "units measure their metrics",
    "ends_differently": "a silence has one end",
    "matchers_or_alert": "a silence is of matchers or of an alert",
    "expired": "a time to come",
    "rule_or_rule_id": "one of two fields, not both",
    "boxes_missing": "at least one of two parameters",
    "levels_not_ascending": "each level is graver than the one before it",
    "condition_or_levels": "the same",
    "at_least_or_share": "the same",
    "invalid_range": "`low` at most `high`",
    "invalid_margin": "the same, with room for a margin",
    "not_a_level": "energy means are of decibels",
    "invalid_clear": "on the side of the threshold where the alert is over",
    "escalations_not_ascending": "each later than the one before it",
    "arithmetic_mean_of_decibels": "decibels have an energy mean",
    "leaf_without_box": "a condition on several boxes names none",
    "nested_boxes": "nor stands within another such one",
    "condition_too_large": "a condition's parts, counted over all levels",
    "condition_too_deep": "the same, of one within another",
    "invalid_hours": "a day stands in a list once",
    "range_too_large": "`from` not too long before `to`",
    "bucket_missing": "`bucket` beside `aggregates` and `fill`",
    "bucket_given": "no `bucket` beside `flags`",
    "invalid_aggregate": "`l10` and the like of levels alone",
    "range_required": "`from`, `to` and `metric` beside `after` and `part`",
    "invalid_position": "`after` is a row of the file",
    "after_not_taken": "no `after` for Parquet and Arrow",
    "too_many_series": "boxes times metrics",
    "until_in_future": "a time that has passed",
    "ends_too_late": "an end that is not put off",
    "not_open": "no open data of what is sensitive",
    "select_or_ids": "one of two fields, not both",
    "one_factor_needed": "one of three fields or four",
    "preview_required": "`preview` beside `select`, but in a dry run",
    "replace_or_change": "`replace`, or what changes, not both",
    "summaries_before_samples": "no number of days less than the others",
    "invalid_noise": "the begin before the end",
    "noise_missing": "`noise` where a `method` needs it",
    "period_not_over": "a day or a month that is over at the site",
    "invalid_period": "a `period` that the `method` can be of",
    "choice_not_of_index": "what the `index` heeds",
    "metric_not_of_index": "a `metric` of which the `index` has a value",
    "unknown_band": "a class of the `index`, but its best one",
    "mixed_condition": "a rule on indices, or on samples",
    "unknown_outcome": "what the catalogue says of an incident's finding",
    "invalid_near": "a place on earth, and a radius",
    "password_about_you": "not one's name or address",
    "owner_of_sites": "an owner is one of the whole organisation",
    # What only this installation knows.
    "foreign_organisation": "the key's own organisation",
    "invalid_cursor": "a cursor is one that the list gave",
    "name_and_password_needed": "who has no account yet gives them",
    "password_too_common": "the list of common passwords",
    "unknown_licence": "the SPDX licence list",
    "forbidden_content": "what looks like a recording, such as a long list of numbers",
    "unknown_timezone": "the time zones that the machine knows",
    "timezone_required": "the zones of the sites that are named",
    "empty_matchers": "a list that is null is not given: some list must be",
    "empty_scope": "the same",
    "time_in_future": "at most ten minutes from now",
    "time_out_of_range": "the years that samples can have",
    "value_out_of_bounds": "each metric's bounds, which are data (`GET /v1/metrics`)",
    "invalid_duration": "how long at least and at most",
    "invalid_bucket": "the same",
    # A checksum, an encoding, a normal form.
    "claim_mistyped": "a claim code has a check character",
    "name_not_normalised": "Unicode's normal form C",
    "nul_in_text": "any JSON as a box's configuration, but for NUL in its texts",
    "invalid_header": "headers that are Vigie's own, or the same twice",
    "invalid_gzip": "a body that Content-Encoding calls gzip",
    "invalid_webhook_secret": "base64 of 24 to 64 bytes",
    "invalid_email_address": "what mail servers deliver to",
    # Each parameter has a length, and all together have one.
    "uri_too_long": "the length of an address",
    # What may not be called.
    "webhook_url_not_allowed": "addresses inside the installation",
}


# The same for codes that say less elsewhere.
BEYOND_SCHEMAS_OF: Final = {
    # `matchers`, or an `alert_id`; and an end of one kind.
    ("POST /v1/silences", "missing_field"),
    # `severity` and `condition`, or `levels`.
    *itertools.product(
        (
            *("POST /v1/rules", "PATCH /v1/rules/{rule_id}"),
            *("POST /v1/rules/check", "POST /v1/rules/backtest"),
        ),
        # The second: of another kind of comparison.
        ("missing_field", "unknown_field"),
    ),
    # A password needs its account.
    ("POST /v1/channels", "missing_field"),
    # Each kind of channel has tokens of its own.
    ("PATCH /v1/channels/{channel}", "invalid_value"),
    # An event carries what its type says.
    *itertools.product(("POST /v1/events",), ("missing_field", "unknown_field")),
    # `timezone` is that of a `schedule`.
    ("POST /v1/silences", "invalid_value"),
    # Each kind has numbers of its own.
    ("POST /v1/boxes/{box}/corrections", "invalid_value"),
    ("POST /v1/boxes/{box}/corrections", "missing_field"),
}
# `If-Match` names what the client has seen: a tag that is made up is none.
STALE: Final = "precondition_failed"
# Formats of others, whose grammar is theirs: the document says only what they are.
FOREIGN: Final = {"application/senml+json", "application/cbor", "text/csv"}


# Each peer's organisation, by the peer's name.
_OWNERS: Final[dict[str, str]] = json.loads(os.environ.get("VIGIE_FUZZ_OWNERS", "{}"))
_numbers = itertools.count()


@schemathesis.hook
def before_call(_: HookContext, case: Case[Any], **__: object) -> None:
    """Give each request an `Idempotency-Key` of its own: one that came before is 409, whatever is sent."""
    for name, value in list((case.headers or {}).items()):
        if name.lower() == idempotency.HEADER.lower() and re.fullmatch(idempotency.PATTERN, str(value)):
            case.headers[name] = f"fuzz-{os.getpid()}-{next(_numbers)}"


def _codes(response: Response) -> set[str]:
    """The codes of a problem: of each thing that is wrong where it names several."""
    try:
        problem = json.loads(response.content)
        return {str(each["code"]) for each in problem.get("errors") or [problem]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def _has_whole_float(node: object) -> bool:
    """Tell whether a body writes a whole number as 8.0: an integer to a JSON Schema, not to this API."""
    if isinstance(node, dict):
        return any(map(_has_whole_float, node.values()))
    if isinstance(node, list):
        return any(map(_has_whole_float, node))
    return isinstance(node, float) and node.is_integer()


def _owners_in(node: object) -> Iterator[str]:
    """All texts that stand as `organisation_id` in a body."""
    if isinstance(node, dict):
        owner = node.get("organisation_id")
        if isinstance(owner, str):
            yield owner
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _owners_in(each)


@schemathesis.check
def nothing_of_other_tenants_is_shown(_: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """No answer has anything of another peer's organisation.

    Schemathesis' own `object_level_authorization` takes what another peer can list for shared on purpose.
    """
    mine = _OWNERS.get(case.auth_identity or "")
    if mine is not None and response.status_code < HTTPStatus.MULTIPLE_CHOICES:
        with suppress(ValueError):
            shown = set(_owners_in(json.loads(response.content))) & set(_OWNERS.values()) - {mine}
            if shown:
                message = f"{case.auth_identity} was shown what belongs to {', '.join(shown)}"
                raise AssertionError(message)
    return None


@schemathesis.check
def schema_valid_requests_are_accepted(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """`positive_data_acceptance`, but for what no schema can say."""
    beyond = {*BEYOND_SCHEMAS, *(code for label, code in BEYOND_SCHEMAS_OF if label == case.operation.label)}
    if any(name.lower() == "if-match" for name in case.headers or {}):
        beyond.add(STALE)
    if _has_whole_float(case.body):
        beyond.add("wrong_type")
    codes = _codes(response)
    if codes and codes <= beyond:
        return None
    if case.media_type in FOREIGN or case.path.startswith("/v1/adapters/"):
        return None
    try:
        return positive_data_acceptance(ctx, response, case)
    except Failure as failure:
        message = f"{failure}\nCodes that a schema could tell: {', '.join(sorted(codes - beyond))}"
        raise AssertionError(message) from failure
