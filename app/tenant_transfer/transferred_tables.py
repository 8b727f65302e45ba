"""Lists the tables of an archive and those that are left out, and selects a tenant's rows of a table. Pure.

A test compares this list with the database: each table and each column is exported, or left out here.
"""

from collections.abc import Mapping
from typing import Final

from app.tenant_transfer.history_tables import HISTORY_TABLES
from app.tenant_transfer.registry_tables import REGISTRY_TABLES
from app.tenant_transfer.table_transfer import WORKING_STATE, TransferredTable

TABLES: Final = (*REGISTRY_TABLES, *HISTORY_TABLES)
"""All files of an archive but the audit log's, in the order in which an import writes them."""

BY_NAME: Final = {table.name: table for table in TABLES}

_ACCOUNT: Final = "accounts of people belong to the installation, and this would let others sign in"
_INSTALLATION: Final = "of the installation, not of a tenant"
_AGREEMENT: Final = (
    "an agreement on access to the former installation, whose keys work there alone; the audit log has it"
)
LEFT_OUT: Final[Mapping[str, str]] = {
    "account_mails": "mails to people about their accounts, which wait to be sent",
    "alembic_version": "the archive's manifest has the revision of the schema",
    "audit_heads": "the last line of each file of the audit log has its head",
    "audit_log": "exported as audit/log.ndjson, which can be verified",
    "audit_pending": "entries of transactions that have not ended",
    "backups": _INSTALLATION,
    "claim_attempts": "counts of wrong claim codes by address",
    "delivery_groups": WORKING_STATE,
    "edges": _INSTALLATION,
    "endpoint_states": "the health of each receiver as the former installation observed it",
    "grant_acceptances": _AGREEMENT,
    "grant_keys": _AGREEMENT,
    "grant_uses": "the audit log has each of them",
    "grants": _AGREEMENT,
    "group_events": WORKING_STATE,
    "heartbeats": _INSTALLATION,
    "idempotency_keys": "answers that are repeated for a day, encrypted",
    "imported_audit_entries": "exported as audit/before-import-….ndjson, which can be verified",
    "ingest_positions": _INSTALLATION,
    "ingest_totals": _INSTALLATION,
    "installation_settings": _INSTALLATION,
    "measurement_commits": "the order of commits in the former installation, whose samples are exported",
    "measurement_batches": "what was sent when, by places in the former installation's stream",
    "measurement_subscriptions": "places in the former installation's stream, and secrets of other services",
    "metrics": "the catalogue of metrics, which the data dictionary has",
    "oidc_identities": _ACCOUNT,
    "passkeys": _ACCOUNT,
    "password_resets": _ACCOUNT,
    "portal_links": "links to the former installation, which open deliveries without an account",
    "recovery_bundles": _INSTALLATION,
    "recovery_codes": _ACCOUNT,
    "registry": _INSTALLATION,
    "sealed_value_checks": _INSTALLATION,
    "tenant_imports": "the progress of an import into the former installation",
    "totp_secrets": _ACCOUNT,
    "used_challenges": _INSTALLATION,
    "user_sessions": _ACCOUNT,
}
"""Tables without a file, with the reason."""


def build_scope(table: TransferredTable, organisation_id: str = "$1") -> str:
    """Build the SQL condition of a tenant's rows of a table, whose alias is `t`.

    Args:
        table: the table.
        organisation_id: SQL of the organisation's id.
    """
    if table.name == "organisations":
        return f"t.id = {organisation_id}"
    if table.parent is None:
        return f"t.organisation_id = {organisation_id}"
    column, parent = table.parent
    key = {"boxes": "key", "memberships": "user_id"}.get(parent, "id")
    # The inner `t` is another one: it hides the outer alias.
    scope = build_scope(BY_NAME[parent], organisation_id)
    return f"t.{column} IN (SELECT t.{key} FROM {parent} t WHERE {scope})"  # noqa: S608 (names of this list)
