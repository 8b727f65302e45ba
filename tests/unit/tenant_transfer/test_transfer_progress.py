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


def test_the_remaining_time_is_estimated_after_a_tenth_and_in_hours() -> None:
    now = [0.0]
    lines: list[str] = []
    progress = TransferProgress(lines.append, 8_200_000, lambda: now[0])
    now[0] = 10.0
    progress.add(0, "sites")
    now[0] = 100.0
    progress.add(100_000, "alerts")
    now[0] = 1000.0
    progress.add(900_000, "samples")
    assert lines == [
        "sites: 0 of 8,200,000 rows, 0 rows/s",
        "alerts: 100,000 of 8,200,000 rows, 1,000 rows/s",
        "samples: 1,000,000 of 8,200,000 rows, 1,000 rows/s, 2 h 00 min left",
    ]
