"""Activates an imported tenant: issues new credentials to boxes and webhooks, and enables the rules.

The credentials are written to a file before the transaction commits, because the database has only hashes and
sealed values of them.
"""

import csv
import io
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from app.notifications.http.webhook_signatures import generate_secret
from app.platform.broker.mosquitto_password_hash import hash_mosquitto_password
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.secrets.sealed_columns import WEBHOOK_SECRET
from app.platform.secrets.sealing import SecretSealer
from app.registry.box_service import generate_box_password
from app.registry.broker_password_file import ACCOUNTS_CHANNEL
from app.registry.spreadsheet_csv_reader import escape_formula
from app.tenant_transfer.transferred_tables import BY_NAME, build_scope

_HEADER: Final = ("kind", "id", "name", "secret")
_BOXES: Final = (
    f"SELECT key, id, name FROM {BY_NAME['boxes'].name} t "  # noqa: S608 (constants)
    f"WHERE {build_scope(BY_NAME['boxes'])} AND deleted_at IS NULL AND revoked_at IS NULL ORDER BY key"
)
_SET_PASSWORDS: Final = (
    f"UPDATE {BY_NAME['boxes'].name} t SET password_hash = g.hash "  # noqa: S608 (constants)
    "FROM unnest($1::integer[], $2::text[]) AS g (key, hash) WHERE t.key = g.key"
)
_WEBHOOKS: Final = (
    f"SELECT id, url FROM {BY_NAME['webhook_endpoints'].name} t "  # noqa: S608 (constants)
    f"WHERE {build_scope(BY_NAME['webhook_endpoints'])} AND kind = 'webhook' ORDER BY id"
)
_SET_SECRETS: Final = (
    f"UPDATE {BY_NAME['webhook_endpoints'].name} t SET secret = g.secret "  # noqa: S608 (constants)
    "FROM unnest($1::uuid[], $2::text[]) AS g (id, secret) WHERE t.id = g.id"
)
_ENABLE_RULES: Final = (
    f"UPDATE {BY_NAME['rules'].name} t SET enabled = true "  # noqa: S608 (constants)
    f"WHERE {build_scope(BY_NAME['rules'])} AND id = ANY ($2)"
)


async def issue_credentials(
    connection: asyncpg.Connection, organisation_id: UUID, sealer: SecretSealer, target: Path
) -> int:
    """Issue new passwords to boxes and new secrets to webhooks; returns their number.

    Args:
        connection: in the transaction that ends the import.
        organisation_id: the organisation.
        sealer: encrypts the secrets of webhooks.
        target: the CSV file to write, with mode 0600.

    Raises:
        SealingError: There are webhooks, and no encryption key.
        OSError: The file cannot be written.
    """
    boxes = await connection.fetch(_BOXES, organisation_id)
    passwords = [generate_box_password() for _ in boxes]
    hashes = [hash_mosquitto_password(password) for password in passwords]
    await connection.execute(_SET_PASSWORDS, [box["key"] for box in boxes], hashes)
    webhooks = await connection.fetch(_WEBHOOKS, organisation_id)
    secrets = [generate_secret() for _ in webhooks]
    sealed = [
        WEBHOOK_SECRET.seal(sealer, secret, webhook["id"])
        for webhook, secret in zip(webhooks, secrets, strict=True)
    ]
    await connection.execute(_SET_SECRETS, [webhook["id"] for webhook in webhooks], sealed)
    # `maintain` writes the broker's accounts when this transaction has committed.
    await connection.execute("SELECT pg_notify($1, '')", ACCOUNTS_CHANNEL)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(_HEADER)
    for box, password in zip(boxes, passwords, strict=True):
        writer.writerow(("box", escape_formula(box["id"]), escape_formula(box["name"] or ""), password))
    for webhook, secret in zip(webhooks, secrets, strict=True):
        writer.writerow(("webhook", webhook["id"], escape_formula(webhook["url"]), secret))
    replace_file_text(target, lines.getvalue(), mode=0o600)
    return len(boxes) + len(webhooks)


async def enable_rules(connection: asyncpg.Connection, organisation_id: UUID, rules: list[UUID]) -> None:
    """Enable the organisation's rules that were enabled in the former installation."""
    await connection.execute(_ENABLE_RULES, organisation_id, rules)
