"""A broker that serves something else is not taken over."""

from pathlib import Path

import pytest

from app.server_installation.broker_step import CONF, check_other_use
from app.server_installation.server_paths import ServerPaths
from app.standalone.unprivileged_accounts import StandaloneError

DEBIAN = """# Place your local configuration in /etc/mosquitto/conf.d/
#pid_file /run/mosquitto/mosquitto.pid

persistence true
persistence_location /var/lib/mosquitto/
log_dest file /var/log/mosquitto/mosquitto.log
include_dir /etc/mosquitto/conf.d
"""


@pytest.fixture
def paths(tmp_path: Path) -> ServerPaths:
    paths = ServerPaths(tmp_path)
    paths.broker_conf.mkdir(parents=True)
    (paths.broker_conf.parent / "mosquitto.conf").write_text(DEBIAN)
    return paths


def test_debians_own_configuration_is_no_other_use(paths: ServerPaths) -> None:
    check_other_use(paths)
    (paths.broker_conf / "size.conf").write_text("# listener 1883\nmessage_size_limit 1000\n")
    check_other_use(paths)


def test_another_use_is_refused_with_its_files_until_vigie_is_installed(paths: ServerPaths) -> None:
    other = paths.broker_conf / "house.conf"
    other.write_text("listener 1883\n  allow_anonymous true\n")
    with pytest.raises(StandaloneError) as refused:
        check_other_use(paths)
    assert f"{other} (allow_anonymous, listener)" in str(refused.value)
    (paths.broker_conf / CONF).write_text("listener 1883 127.0.0.1\n")
    check_other_use(paths)
