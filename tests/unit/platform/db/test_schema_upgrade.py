import pytest

from app.platform.db.schema_upgrade import find_head_revision, find_revision_fault, is_newer_revision

HEAD = find_head_revision()
REMEDY = "run a newer version of Vigie"


def test_only_revisions_beyond_the_newest_known_one_are_newer() -> None:
    assert is_newer_revision("9998")
    # Known ones, and one that was dropped before its release.
    assert not any(map(is_newer_revision, (HEAD, "0001", "0030")))


@pytest.mark.parametrize(
    ("revision", "oldest_program", "fault"),
    [
        (HEAD, None, ""),
        (None, None, "not migrated: run `vigie migrate`"),
        ("0001", None, f"is at 0001, should be at {HEAD}: run `vigie migrate`"),
        ("9998", "0046", ""),
        ("9998", HEAD, ""),
        (
            "9998",
            "9997",
            f"is at 9998, and serves programs from revision 9997 on; this one knows {HEAD}: {REMEDY}",
        ),
    ],
)
def test_says_why_a_program_cannot_run_on_a_schema(
    revision: str | None, oldest_program: str | None, fault: str
) -> None:
    assert find_revision_fault(revision, oldest_program) == fault
