"""A server whose database is under Patroni uses it as it is, and says where it has to be created."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.server_installation.database_step import find_cluster_changes, find_database_changes
from app.server_installation.installation_context import InstallationContext
from app.server_installation.rendered_settings import render_settings
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import ROLES, ServerPaths
from app.server_installation.server_secrets import load_or_generate_secrets
from app.standalone.private_postgres import PrivatePostgres
from app.standalone.unprivileged_accounts import StandaloneError


async def test_copied_settings_log_in_and_others_are_refused(tmp_path: Path, folder: Path) -> None:
    async with PrivatePostgres(folder / "pg", durable=False) as server:
        # One of the hosts is the database; nothing listens at the other one.
        hosts = f"127.0.0.1:1,127.0.0.1:{server.port}"
        options = ServerOptions(database_hosts=hosts)
        context = InstallationContext(ServerPaths(tmp_path), options, 2**32)
        context.paths.settings.mkdir(parents=True)
        assert find_cluster_changes(context) == []
        # Generated here, and not copied from the first machine.
        with pytest.raises(StandaloneError, match="Run this first on the machine of the primary"):
            await asyncio.to_thread(find_database_changes, context)
        for name in ("migrate", *ROLES):
            url = urlsplit(server.url if name == "migrate" else server.url_of(f"vigie_{name}"))
            address = f"postgresql://{url.username}:{url.password}@{hosts}/vigie"
            context.paths.env_file(name).write_text(f"VIGIE_DATABASE__URL={address}\n")
        assert await asyncio.to_thread(find_database_changes, context) == []
        # The installation writes the same address again.
        secrets = load_or_generate_secrets(context.paths)
        for name, text in render_settings(options, secrets, context.paths, database_port=1).items():
            if name in ROLES:
                assert context.paths.env_file(name).read_text().strip() in text
