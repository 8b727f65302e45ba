"""Renders the settings of a server's processes, as files for systemd. Pure: reads nothing, writes nothing."""

import json
from collections.abc import Mapping
from typing import Final

from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import ACCOUNT, EDGE, ServerPaths
from app.server_installation.server_secrets import (
    ADMIN_KEY,
    BROKER_PASSWORD,
    CLIENT_ID,
    DATABASE_URL,
    GATEWAY_PASSWORD,
    ServerSecrets,
)
from app.standalone.private_postgres import DATABASE, OWNER, build_postgres_url

_OWN: Final = (
    "# Written by `vigie install --server`, which keeps the secrets and replaces everything else. Put your",
    "# own settings into {local}: they have precedence.",
)
# `ingest` decrypts no value, so it gets no keys.
_WITH_KEYS: Final = ("api", "deliver", "maintain")


def render_settings(
    options: ServerOptions, secrets: ServerSecrets, paths: ServerPaths, *, database_port: int
) -> dict[str, str]:
    """Render the files `NAME.env` by name: `vigie` (all processes), `migrate` and each role.

    Args:
        options: The options of the installation.
        secrets: The secrets.
        paths: The paths of the server.
        database_port: The port of the cluster.
    """
    files = {"vigie": _common(options, secrets, paths)}
    for name in ("migrate", *options.roles):
        files[name] = {DATABASE_URL: _database_url(options, secrets, name, database_port)}
    for name in (*_WITH_KEYS, "migrate"):
        files[name]["VIGIE_ENCRYPTION__KEYS_FILE"] = str(paths.keys_file)
    files["api"] |= _api(options, secrets)
    files["ingest"][CLIENT_ID] = secrets.client_id
    for number, name in enumerate(options.roles):
        if name != "api":
            files[name]["VIGIE_METRICS_PORT"] = str(options.api_port + number)
    if options.edge:
        files[EDGE] |= _edge(options, secrets)
    return {name: _text(name, variables, paths) for name, variables in files.items()}


def _database_url(options: ServerOptions, secrets: ServerSecrets, name: str, port: int) -> str:
    account = "maintain" if name == EDGE else name
    login = OWNER if name == "migrate" else f"{ACCOUNT}_{account}"
    return build_server_url(options, port, login, secrets.database[account])


def build_server_url(
    options: ServerOptions, port: int, login: str, password: str, database: str = DATABASE
) -> str:
    """Build the address of the database for a login: all hosts under Patroni, else the cluster's port."""
    if options.database_hosts:
        return f"postgresql://{login}:{password}@{options.database_hosts}/{database}"
    return build_postgres_url(port, login, password, database)


def render_gateway_account(secrets: ServerSecrets) -> str:
    """Render the file with the broker's account for trusted gateways."""
    return (
        "# The broker's account that may publish for every box: for trusted gateways and load tools. No\n"
        "# process of Vigie reads this file.\n"
        f"GATEWAY_USERNAME=gateway\n{GATEWAY_PASSWORD}={secrets.gateway_password}\n"
    )


def _common(options: ServerOptions, secrets: ServerSecrets, paths: ServerPaths) -> dict[str, str]:
    variables = {
        "VIGIE_BROKER__HOST": "127.0.0.1",
        "VIGIE_BROKER__PORT": str(options.mqtt_port),
        "VIGIE_BROKER__USERNAME": "ingest",
        BROKER_PASSWORD: secrets.broker_password,
        "VIGIE_BROKER__PASSWORD_FILE": str(paths.broker_state / "passwords"),
        "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(paths.broker_state / "passwords.static"),
        "VIGIE_BROKER__WATCHES_PASSWORD_FILE": "true",
        "PYTHONUNBUFFERED": "1",
    }
    if options.name:
        variables |= {
            "VIGIE_API__PUBLIC_URL": f"https://{options.name}",
            "VIGIE_BROKER__PUBLIC_HOST": options.name,
            "VIGIE_BROKER__PUBLIC_PORT": str(options.mqtts_port),
            "VIGIE_BROKER__PUBLIC_TLS": "true",
        }
    if options.edge:
        variables |= {
            "VIGIE_MESSAGE_LOG__ENGINE": "jetstream",
            "VIGIE_MESSAGE_LOG__SERVERS": json.dumps(options.log_servers.split(",")),
            "VIGIE_MESSAGE_LOG__USERNAME": "vigie",
        }
    return variables


def _edge(options: ServerOptions, secrets: ServerSecrets) -> dict[str, str]:
    return {
        "VIGIE_EDGE__NAME": options.edge,
        "VIGIE_EDGE__HOST": options.edge_host,
        "VIGIE_EDGE__PORT": str(options.mqtt_port),
        # That of ingest: the broker holds what ingest has not stored yet under this name.
        CLIENT_ID: secrets.client_id,
        # The load balancer checks /healthz, beside the metrics.
        "VIGIE_API__HOST": options.edge_host,
    }


def _api(options: ServerOptions, secrets: ServerSecrets) -> dict[str, str]:
    variables = {
        "VIGIE_API__HOST": "127.0.0.1",
        "VIGIE_API__PORT": str(options.api_port),
        "VIGIE_API__WORKERS": str(options.workers),
        "VIGIE_API__READY_REQUIRES": json.dumps(["database", "migrations", "ingest", "deliver", "maintain"]),
    }
    if options.name:
        variables["VIGIE_API__TRUSTED_PROXIES"] = json.dumps(["127.0.0.1"])
    if options.load_balancer:
        # On all addresses: the load balancer reaches that of this machine, commands reach 127.0.0.1.
        variables["VIGIE_API__HOST"] = "0.0.0.0"  # noqa: S104 (a firewall admits the load balancer)
        variables["VIGIE_API__TRUSTED_PROXIES"] = json.dumps(["127.0.0.1", options.load_balancer])
    if secrets.admin_key is not None:
        variables[ADMIN_KEY] = secrets.admin_key
    return variables


def _text(name: str, variables: Mapping[str, str], paths: ServerPaths) -> str:
    local = paths.settings / ("local.env" if name in {"vigie", "migrate"} else f"{name}.local.env")
    heading = [line.format(local=local) for line in _OWN]
    # Single quotes, which systemd and the shell read alike; no value contains one.
    lines = [
        f"{key}={value}" if value.isascii() and '"' not in value and " " not in value else f"{key}='{value}'"
        for key, value in variables.items()
    ]
    return "\n".join([*heading, *lines, ""])
