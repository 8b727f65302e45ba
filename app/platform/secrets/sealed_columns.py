"""Lists every database column that holds encrypted secrets, with the encryption context of its values.

A column that is missing here is not encrypted again when keys are replaced, and is lost with the old key: add
an entry for each new column. Rooms are not imported; their tables are named.
"""

from dataclasses import dataclass
from typing import Any, Final

from app.platform.secrets.sealing import SecretSealer, is_sealed


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of secrets; NULL where there is none.

    Attributes:
        table: the table.
        column: the column, text; or a JSON array of objects where `member` is set.
        context: the context that a value is bound to; `{}` stands for each column of the row's key.
        key: the columns of the table's primary key.
        member: the encrypted member of each object in the array.
        clear: prefix of values that were stored before encryption; None: there are none.
    """

    table: str
    column: str
    context: str
    key: tuple[str, ...] = ("id",)
    member: str | None = None
    clear: str | None = None

    @property
    def name(self) -> str:
        """`table.column`."""
        return f"{self.table}.{self.column}"

    def seal(self, sealer: SecretSealer, text: str, *key: Any) -> str:  # noqa: ANN401 (of whatever type keys are)
        """Encrypt a value of the row with this key (SealingError without an encryption key)."""
        return sealer.seal(text, self.context.format(*key))

    def open(self, sealer: SecretSealer, stored: str, *key: Any) -> str:  # noqa: ANN401 (likewise)
        """Decrypt a value of the row with this key (SealingError if it cannot be)."""
        if self.clear is not None and stored.startswith(self.clear) and not is_sealed(stored):
            return stored
        return sealer.open(stored, self.context.format(*key))

    def reseal(self, sealer: SecretSealer, stored: str, *key: Any) -> str:  # noqa: ANN401 (likewise)
        """Encrypt a value again with the first key; unchanged if it already is (SealingError)."""
        if sealer.current is not None and stored.startswith(sealer.current):
            return stored
        return self.seal(sealer, self.open(sealer, stored, *key), *key)


WEBHOOK_SECRET: Final = SealedColumn("webhook_endpoints", "secret", "webhook-secret:{}", clear="whsec_")
WEBHOOK_FORMER_SECRETS: Final = SealedColumn(
    "webhook_endpoints", "former_secrets", WEBHOOK_SECRET.context, member="secret", clear=WEBHOOK_SECRET.clear
)
WEBHOOK_HEADERS: Final = SealedColumn("webhook_endpoints", "headers", "webhook-headers:{}")
CHANNEL_CREDENTIALS: Final = SealedColumn("webhook_endpoints", "credentials", "channel-credentials:{}")
MEASUREMENT_CREDENTIALS: Final = SealedColumn(
    "measurement_subscriptions", "credentials", "measurement-credentials:{}"
)

IDEMPOTENCY_ANSWER: Final = SealedColumn(
    "idempotency_keys", "answer", "idempotency-answer:{}:{}:{}", ("organisation_id", "caller_id", "key")
)

INSTALLATION_SECRET: Final = SealedColumn(
    "installation_settings", "secret", "installation-setting:{}", ("name",)
)
INVITATION_TOKEN: Final = SealedColumn("invitations", "mail_token", "invitation-token:{}")
TOTP_SECRET: Final = SealedColumn("totp_secrets", "secret", "totp-secret:{}", ("user_id",))

SEALED: Final = (
    WEBHOOK_SECRET,
    WEBHOOK_FORMER_SECRETS,
    WEBHOOK_HEADERS,
    CHANNEL_CREDENTIALS,
    MEASUREMENT_CREDENTIALS,
    IDEMPOTENCY_ANSWER,
    INSTALLATION_SECRET,
    INVITATION_TOKEN,
    TOTP_SECRET,
)
"""All of them."""
