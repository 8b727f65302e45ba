from app.tenant_transfer.transfer_progress import TransferProgress


def test_progress_has_speed_and_remaining_time_and_not_every_row_a_line() -> None:
    now = [0.0]
    lines: list[str] = []
    progress = TransferProgress(lines.append, 400_000, lambda: now[0])
    progress.add(50_000, "samples")
    now[0] = 10.0
    progress.add(50_000, "samples")
    progress.add(1, "samples")
    assert lines == ["samples: 100,000 of 400,000 rows, 10,000 rows/s, 0 min 30 s left"]


def test_hours_are_hours() -> None:
    now = [0.0]
    lines: list[str] = []
    progress = TransferProgress(lines.append, 7_300_000, lambda: now[0])
    now[0] = 100.0
    progress.add(100_000, "samples")
    assert lines[0].endswith("1,000 rows/s, 2 h 00 min left")
