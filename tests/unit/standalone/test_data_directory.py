import os
import shutil
from pathlib import Path

import pytest

from app.standalone.data_directory import (
    SHARED_MEMORY,
    DataDirectory,
    DemoAccess,
    clear_metrics,
    find_stale_services,
    lock_data_directory,
    open_data_directory,
    place_services,
    read_demo_access,
    remove_metrics,
)
from app.standalone.unprivileged_accounts import StandaloneError, SystemAccount
from simulators.demo_state import DemoState

ROOT = os.geteuid() == 0
# An account that cannot pass through a folder of mode 0700 that is not its own.
STRANGER = SystemAccount("nobody", 65_534, 65_534) if ROOT else None


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_directory_is_private(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "with a space" / ".vigie")
    assert mode(layout.root) == (0o711 if ROOT else 0o700)
    assert mode(layout.instance_file) == 0o600
    assert mode(layout.logs) == 0o700
    assert len(layout.instance()) == 32


def test_the_name_is_kept(tmp_path: Path) -> None:
    assert open_data_directory(tmp_path / "d").instance() == open_data_directory(tmp_path / "d").instance()


def test_the_mode_of_a_directory_that_was_there_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o750)
    open_data_directory(theirs)
    assert mode(theirs) == 0o750


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StandaloneError, match="cannot be used"):
        open_data_directory(tmp_path / "file")


def test_the_lock_is_held_once(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    with (
        lock_data_directory(layout),
        pytest.raises(StandaloneError, match=f"process {os.getpid()}"),
        lock_data_directory(layout),
    ):
        pass
    with lock_data_directory(layout):
        assert layout.lock_file.read_text() == f"{os.getpid()}\n"


def test_figures_are_in_memory_and_go_with_their_stack(tmp_path: Path) -> None:
    layout, gone = open_data_directory(tmp_path / "d"), open_data_directory(tmp_path / "gone")
    clear_metrics(gone)
    shutil.rmtree(gone.root)
    clear_metrics(layout)
    assert layout.metrics.is_relative_to(SHARED_MEMORY)
    assert mode(layout.metrics) == 0o700
    assert not gone.metrics.exists(), "what a killed supervisor has left is removed by the next one"
    (layout.metrics / "counter_1.db").touch()
    clear_metrics(layout)
    assert [path.name for path in layout.metrics.iterdir()] == ["owner"]
    remove_metrics(layout)
    assert not layout.metrics.exists()


def test_a_foreign_folder_of_figures_is_not_used(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    layout.metrics.symlink_to(tmp_path)
    try:
        with pytest.raises(StandaloneError, match="folder for metrics"):
            clear_metrics(layout)
    finally:
        layout.metrics.unlink()


def test_the_marker_tells_a_copy_from_the_original(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    shutil.copytree(layout.root, tmp_path / "copy")
    copy = DataDirectory(tmp_path / "copy")
    assert copy.instance() == layout.instance()
    assert copy.marker() != layout.marker()


def test_services_stay_where_their_accounts_can_reach_them(tmp_path: Path) -> None:
    layout = open_data_directory(tmp_path / "d")
    assert place_services(layout, None, elsewhere=tmp_path / "elsewhere") == layout.services
    assert not (tmp_path / "elsewhere").exists()


if ROOT:
    # Only root has accounts to run services as; everybody else's services run as themselves.

    def placed(tmp_path: Path) -> tuple[DataDirectory, Path]:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        layout = open_data_directory(closed / ".vigie")
        return layout, place_services(layout, STRANGER, elsewhere=tmp_path / "elsewhere")

    def test_services_go_elsewhere_where_the_account_cannot_reach_them(tmp_path: Path) -> None:
        layout, folder = placed(tmp_path)
        assert folder == tmp_path / "elsewhere" / layout.instance()
        assert layout.services.readlink() == folder
        assert mode(tmp_path / "closed") == 0o700
        assert place_services(layout, STRANGER, elsewhere=tmp_path / "elsewhere") == folder

    def test_a_moved_directory_finds_its_services(tmp_path: Path) -> None:
        layout, folder = placed(tmp_path)
        layout.root.rename(tmp_path / "moved")
        assert (
            place_services(DataDirectory(tmp_path / "moved"), STRANGER, elsewhere=tmp_path / "elsewhere")
            == folder
        )
        assert find_stale_services(tmp_path / "elsewhere") == []

    def test_a_copy_does_not_share_the_originals_services(tmp_path: Path) -> None:
        layout, _ = placed(tmp_path)
        shutil.copytree(layout.root, tmp_path / "copy", symlinks=True)
        with pytest.raises(StandaloneError, match="is a copy of"):
            place_services(DataDirectory(tmp_path / "copy"), STRANGER, elsewhere=tmp_path / "elsewhere")

    def test_services_follow_when_their_directory_becomes_unreachable(tmp_path: Path) -> None:
        # pytest's own folder is closed to others, so a first placement needs no account.
        layout = open_data_directory(tmp_path / "d")
        (place_services(layout, elsewhere=tmp_path / "elsewhere") / "witness").write_text("data")
        folder = place_services(layout, STRANGER, elsewhere=tmp_path / "elsewhere")
        assert (folder / "witness").read_text() == "data"

    def test_lost_services_are_not_made_anew_in_silence(tmp_path: Path) -> None:
        layout, folder = placed(tmp_path)
        shutil.rmtree(folder)
        with pytest.raises(StandaloneError, match="is gone"):
            place_services(layout, STRANGER, elsewhere=tmp_path / "elsewhere")

    def test_services_of_a_removed_directory_are_found(tmp_path: Path) -> None:
        layout, folder = placed(tmp_path)
        assert find_stale_services(tmp_path / "elsewhere") == []
        shutil.rmtree(layout.root)
        assert find_stale_services(tmp_path / "elsewhere") == [folder]


def test_the_access_to_the_demo_is_what_it_has_stored(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    assert read_demo_access(path) == DemoAccess()
    path.write_text("[]")
    assert read_demo_access(path) == DemoAccess()
    state = DemoState(key="vg_d")
    state.save(path)
    assert read_demo_access(path) == DemoAccess("vg_d")
    state.operator_email, state.operator_password = "operator@demo.example", "k7mq-2vxp"
    state.save(path)
    assert read_demo_access(path) == DemoAccess("vg_d", "operator@demo.example", "k7mq-2vxp")
    state.operator_changed = True
    state.save(path)
    assert read_demo_access(path) == DemoAccess("vg_d", "operator@demo.example", None)
