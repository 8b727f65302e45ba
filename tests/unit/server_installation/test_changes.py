import os
import stat
from pathlib import Path

from app.server_installation.changes import DesiredPath, find_path_changes


def wanted(root: Path, text: str = "secret\n", mode: int = 0o640) -> list[DesiredPath]:
    return [DesiredPath(root / "etc", None, 0o750), DesiredPath(root / "etc/x.env", text, mode)]


def test_what_is_missing_is_made_once(tmp_path: Path) -> None:
    changes = find_path_changes(wanted(tmp_path))
    assert [each.title for each in changes] == [
        f"create the folder {tmp_path}/etc (0750)",
        f"write {tmp_path}/etc/x.env (0640)",
    ]
    assert list(tmp_path.iterdir()) == []
    for each in changes:
        each.apply()
    assert (tmp_path / "etc/x.env").read_text() == "secret\n"
    assert stat.S_IMODE((tmp_path / "etc/x.env").stat().st_mode) == 0o640
    assert find_path_changes(wanted(tmp_path)) == []


def test_other_text_and_other_rights_are_changed_and_reported(tmp_path: Path) -> None:
    seen: list[Path] = []
    for each in find_path_changes(wanted(tmp_path)):
        each.apply()
    (change,) = find_path_changes(wanted(tmp_path, "new\n"), seen.append)
    assert change.title == f"change {tmp_path}/etc/x.env"
    change.apply()
    assert seen == [tmp_path / "etc/x.env"]
    (change,) = find_path_changes(wanted(tmp_path, "new\n", 0o600))
    assert change.title == f"set the rights of {tmp_path}/etc/x.env (0600)"
    change.apply()
    assert find_path_changes(wanted(tmp_path, "new\n", 0o600)) == []


def test_an_account_that_is_missing_is_not_looked_for(tmp_path: Path) -> None:
    """A dry run has not created it yet."""
    owner = "nobody-has-this-name"
    each = DesiredPath(tmp_path / "a", None, 0o711, owner, owner)
    (change,) = find_path_changes([each])
    assert change.title.endswith(f"(0711 {owner}:{owner})")
    change.apply()
    assert (tmp_path / "a").stat().st_uid == os.geteuid()
