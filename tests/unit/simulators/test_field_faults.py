"""Faults on demand: which samples they touch."""

from zoneinfo import ZoneInfo

from simulators.field_faults import BoxSample, FaultShares, FaultyBox
from simulators.synthetic_values import SyntheticBox, measure_values

BOX = SyntheticBox("b", "street", 3, 1.44, 43.6, ZoneInfo("Europe/Paris"))


def pass_all(faults: FaultShares, count: int = 2_000) -> tuple[list[list[BoxSample]], FaultyBox]:
    faulty = FaultyBox(3, "b", faults)
    messages: list[list[BoxSample]] = []
    for seq in range(count):
        messages += faulty.apply_faults(seq, seq * 60_000_000, measure_values(BOX, seq * 60.0))
    messages += faulty.release_held()
    return messages, faulty


def test_without_faults_everything_passes_as_it_is() -> None:
    messages, faulty = pass_all(FaultShares(), 100)
    assert [message[0].seq for message in messages] == list(range(100))
    assert messages[5][0] == BoxSample(5, 300_000_000, measure_values(BOX, 300.0))
    assert faulty.counts.measured == 100


def test_silence_takes_about_its_share_in_runs() -> None:
    messages, faulty = pass_all(FaultShares(silence=0.3))
    assert 0.15 < faulty.counts.silent / 2_000 < 0.45
    assert len(messages) == 2_000 - faulty.counts.silent == faulty.counts.measured
    seqs = {message[0].seq for message in messages}
    assert all((seq in seqs) == (seq - seq % 20 in seqs) for seq in range(2_000))


def test_duplicates_are_exact_repeats() -> None:
    messages, faulty = pass_all(FaultShares(duplicates=0.2))
    assert 0.15 < faulty.counts.duplicated / 2_000 < 0.25
    assert len(messages) == 2_000 + faulty.counts.duplicated
    identities = {
        (message[0].seq, message[0].time_us, tuple(message[0].values.items())) for message in messages
    }
    assert len(identities) == 2_000


def test_late_samples_come_as_a_batch_after_newer_ones_and_none_is_lost() -> None:
    messages, faulty = pass_all(FaultShares(late=0.2))
    assert faulty.counts.late > 0
    assert sorted(reading.seq for message in messages for reading in message) == list(range(2_000))
    order = [reading.seq for message in messages for reading in message]
    assert order != sorted(order)
    assert max(len(message) for message in messages) == 20


def test_spikes_stand_out_and_stay_within_bounds() -> None:
    messages, faulty = pass_all(FaultShares(spikes=0.1))
    touched = [
        message[0] for message in messages if message[0].values != measure_values(BOX, message[0].seq * 60.0)
    ]
    assert len(touched) <= faulty.counts.spiked
    assert 0.05 < faulty.counts.spiked / 2_000 < 0.15
    for reading in touched:
        true = measure_values(BOX, reading.seq * 60.0)
        (metric,) = [name for name in true if true[name] != reading.values[name]]
        assert reading.values[metric] > true[metric]


def test_a_clock_is_off_by_the_same_amount_for_good() -> None:
    messages, faulty = pass_all(FaultShares(clock_skew_s=30), 50)
    offsets = {message[0].time_us - message[0].seq * 60_000_000 for message in messages}
    assert offsets == {faulty.skew_us()}
    assert 0 < abs(faulty.skew_us()) <= 30_000_000
    skews = {FaultyBox(3, f"b{n}", FaultShares(clock_skew_s=30)).skew_us() for n in range(50)}
    assert len(skews) == 50


def test_the_same_seed_touches_the_same_samples() -> None:
    faults = FaultShares(0.1, 0.1, 0.1, 0.1, 5)
    assert pass_all(faults, 500)[0] == pass_all(faults, 500)[0]
