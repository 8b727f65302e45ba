"""Lists the tables of a tenant's organisation, people, sites, boxes, rules and endpoints. Pure."""

from typing import Final

from app.tenant_transfer.table_transfer import (
    LOCAL_NUMBER,
    LOCAL_REVISION,
    OF_BOX,
    RANDOM_HASH,
    REGISTRY,
    SECRET_HASH,
    UNUSABLE_SECRET,
    WORKING_STATE,
    TransferredTable,
)

REGISTRY_TABLES: Final = (
    TransferredTable(
        name="organisations",
        description="The organisation itself, with its quotas.",
        left_out={
            "platform": "an imported organisation never operates the platform",
            "parent_id": "the integrator is another organisation; name one with --parent at the import",
        },
        import_step=REGISTRY,
        filled={"platform": "false"},
        converted={"id": "$2::uuid"},
    ),
    TransferredTable(
        name="users",
        description="The people who are members, without passwords and second factors.",
        parent=("id", "memberships"),
        left_out={
            "password_hash": SECRET_HASH,
            "second_factor_at": "second factors are not exported",
            "last_sign_in_at": "a sign-in to the former installation",
        },
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="memberships",
        description="Who has which role, at which sites.",
        import_step=REGISTRY,
        # A person whose id is taken here got a new one. Others than those of the archive have none.
        converted={"user_id": "(SELECT present FROM transferred_users WHERE former = x.user_id)"},
    ),
    TransferredTable(
        name="invitations",
        description="Invitations of people, open and accepted.",
        left_out={
            "token_hash": SECRET_HASH,
            "mail_token": "a secret",
            "mail_due_at": WORKING_STATE,
        },
        export_only="the link of an invitation leads to the former installation: invite again",
    ),
    TransferredTable(
        name="api_keys",
        description="API keys by name, scopes and sites, without the keys.",
        left_out={"hash": SECRET_HASH, "platform": "the same for all keys of a tenant"},
        # Histories show the names of keys. A key without its secret gives no access.
        import_step=REGISTRY,
        filled={"hash": RANDOM_HASH, "platform": "false"},
        converted={"revoked_at": "coalesce(x.revoked_at, now())"},
    ),
    TransferredTable(
        name="sites",
        description="The places with boxes: position, time zone, retention, texts of the public register.",
        left_out={"revision": LOCAL_REVISION},
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="site_purposes",
        description="What each site measures for, declared with legal basis, controller and approval.",
        order=("site_id", "purpose"),
        left_out={"revision": LOCAL_REVISION},
        import_step=REGISTRY,
        is_emptied=True,
    ),
    TransferredTable(
        name="boxes",
        description="The boxes, deleted ones too. `key` numbers them within this archive.",
        order=("key",),
        left_out={
            "password_hash": "the hash of a secret; an import makes new passwords",
            "revision": LOCAL_REVISION,
            "shared_until": "which processes of the former installation wrote to the box",
            "edge": "the broker of the former installation through which the box came online",
        },
        import_step=REGISTRY,
        # Until the last step sets a password, the box cannot sign in, and the broker does not know it.
        filled={"password_hash": "''"},
    ),
    TransferredTable(
        name="box_configs",
        description="The desired configuration of each box, and the one that it reported.",
        order=("box_key",),
        parent=OF_BOX,
        left_out={
            "published_at": "a new broker gets the configurations again",
            "desired_xid": "a number of the former database's transaction",
        },
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="box_refusals",
        description="When data of a box were last refused because no purpose covers them.",
        order=("box_key",),
        parent=OF_BOX,
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="corrections",
        description="Corrections of values by calibration; readings apply them, samples stay as measured.",
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="former_boxes",
        description="Ids of boxes that the organisation had, with the ranges that were erased.",
        order=("box",),
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="claims",
        description="Claim codes by name and limits, without the codes.",
        left_out={"hash": SECRET_HASH},
        export_only="a claim code leads to the former installation: create new ones",
    ),
    TransferredTable(
        name="provisioning_keys",
        description="Provisioning keys by name and limits, without the keys.",
        left_out={"hash": SECRET_HASH},
        export_only="a provisioning key leads to the former installation: create new ones",
    ),
    TransferredTable(
        name="broker_accounts",
        description="Accounts that subscribe at the broker, without passwords.",
        order=("username",),
        left_out={"password_hash": SECRET_HASH},
        export_only="accounts belong to the former broker: create new ones",
    ),
    TransferredTable(
        name="rules",
        description="The rules as they are now; `definition` is their condition and levels.",
        left_out={"revision": LOCAL_REVISION},
        import_step=REGISTRY,
        # The last step of an import enables them, when the states of their alerts are there.
        converted={"enabled": "false"},
    ),
    TransferredTable(
        name="rule_versions",
        description="Each version of each rule, with its time.",
        order=("rule_id", "version"),
        parent=("rule_id", "rules"),
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="silences", description="Silences, which mute alerts for a time.", import_step=REGISTRY
    ),
    TransferredTable(
        name="inhibitions",
        description="Inhibitions, by which alerts mute others.",
        import_step=REGISTRY,
    ),
    TransferredTable(
        name="webhook_endpoints",
        description="Webhooks and channels, without secrets, headers and credentials.",
        left_out={
            "secret": "a secret; an import makes new ones",
            "former_secrets": "secrets",
            "headers": "may have secrets",
            "credentials": "secrets of other services",
        },
        import_step=REGISTRY,
        # Receivers must not get messages before an administrator has checked secrets and addresses.
        converted={
            "enabled": "false",
            "disabled_reason": "coalesce(x.disabled_reason, 'imported')",
            "disabled_at": "coalesce(x.disabled_at, now())",
        },
        filled={"secret": f"CASE x.kind WHEN 'webhook' THEN {UNUSABLE_SECRET} END"},
    ),
    TransferredTable(
        name="report_schedules",
        description="Schedules by which reports are mailed.",
        import_step=REGISTRY,
        converted={"enabled": "false"},
    ),
    TransferredTable(
        name="rights_requests",
        description="Requests of people under the GDPR, with their texts. These are personal data.",
        left_out={"token_hash": "the hash of the requester's secret"},
        import_step=REGISTRY,
        filled={"token_hash": RANDOM_HASH},
    ),
    TransferredTable(
        name="register_changes",
        description="Changes that the public register shows.",
        left_out={"id": LOCAL_NUMBER},
        order=("id",),
        import_step=REGISTRY,
        is_emptied=True,
    ),
)
