from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.notifications.http.webhook_secrets import (
    filter_active_secrets,
    open_headers,
    open_secret,
    open_signing_secrets,
    retire_secret,
    seal_headers,
    seal_secret,
)
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.secrets.sealed_columns import WEBHOOK_HEADERS, WEBHOOK_SECRET
from app.platform.secrets.sealing import SealingError, SecretSealer

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEALER = SecretSealer([b"n" * 32])


def _former(secret: str, ends: datetime) -> dict[str, Any]:
    return {"secret": secret, "expires_at": ends.isoformat()}


def test_a_secret_opens_for_its_endpoint_alone() -> None:
    endpoint, secret = uuid4(), generate_secret()
    sealed = seal_secret(SEALER, endpoint, secret)
    assert open_secret(SEALER, endpoint, sealed) == secret
    with pytest.raises(SealingError):
        open_secret(SEALER, uuid4(), sealed)


def test_headers_and_secrets_do_not_stand_for_each_other() -> None:
    endpoint = uuid4()
    headers = seal_headers(SEALER, endpoint, {"X-Key": "hunter2"})
    assert headers is not None
    assert open_headers(SEALER, endpoint, headers) == {"X-Key": "hunter2"}
    with pytest.raises(SealingError):
        open_secret(SEALER, endpoint, headers)
    with pytest.raises(SealingError):
        open_headers(SEALER, endpoint, seal_secret(SEALER, endpoint, generate_secret()))
    assert (seal_headers(SEALER, endpoint, {}), open_headers(SEALER, endpoint, None)) == (None, {})


def test_what_is_in_clear_is_taken_and_sealed_when_it_is_sealed_anew() -> None:
    endpoint, secret = uuid4(), generate_secret()
    assert open_secret(SecretSealer([]), endpoint, secret) == secret
    sealed = WEBHOOK_SECRET.reseal(SEALER, secret, endpoint)
    assert open_secret(SEALER, endpoint, sealed) == secret
    assert WEBHOOK_SECRET.reseal(SEALER, sealed, endpoint) == sealed
    headers = seal_headers(SecretSealer([b"o" * 32]), endpoint, {"a": "b"})
    assert headers is not None
    with pytest.raises(SealingError):
        WEBHOOK_HEADERS.reseal(SEALER, headers, endpoint)


def test_former_secrets_sign_until_they_end() -> None:
    endpoint = uuid4()
    secrets = [generate_secret() for _ in range(3)]
    sealed = [seal_secret(SEALER, endpoint, secret) for secret in secrets]
    former = [_former(sealed[1], NOW + HOUR), _former(sealed[2], NOW)]
    assert open_signing_secrets(SEALER, endpoint, sealed[0], former, NOW) == secrets[:2]
    assert open_signing_secrets(SEALER, endpoint, sealed[0], former, NOW + HOUR) == secrets[:1]
    assert filter_active_secrets(former, NOW) == former[:1]


def test_one_that_is_replaced_ends_with_the_overlap_and_older_ones_no_later() -> None:
    before = [_former("a", NOW + 3 * HOUR), _former("b", NOW + HOUR), _former("c", NOW - HOUR)]
    assert retire_secret("d", before, NOW, NOW + 2 * HOUR) == [
        _former("d", NOW + 2 * HOUR),
        _former("a", NOW + 2 * HOUR),
        _former("b", NOW + HOUR),
    ]
    assert retire_secret("d", before, NOW, NOW) == []
