from uuid import uuid4

from app.platform.http.fairness.low_priority_queue import CpuShares, CpuUsage
from app.platform.http.fairness.principal_groups import PrincipalGroup


def test_more_than_a_share_is_much_until_it_is_forgotten() -> None:
    work = CpuUsage(0.25)
    for second in range(100):
        work.add("steady", 0.25, float(second))
        work.add("much", 0.35, float(second))
    assert (work.is_much("steady", 100.0), work.is_much("much", 100.0)) == (False, True)
    assert not work.is_much("nobody", 100.0)
    # However much it was.
    work.add("much", 1e6, 100.0)
    assert (work.is_much("much", 105.0), work.is_much("much", 107.0)) == (True, False)


def test_a_moments_work_is_not_much() -> None:
    work = CpuUsage(0.25)
    work.add("a", 0.4, 0.0)
    assert not work.is_much("a", 0.0)


def test_whoever_was_away_longest_is_forgotten_first() -> None:
    work = CpuUsage(0.25, most=2)
    for subject in "abac":
        work.add(subject, 1.0, 0.0)
    assert [work.is_much(subject, 0.0) for subject in "abc"] == [True, False, True]
    assert len(work) == 2


def test_clients_of_an_integrator_share_half_of_the_process() -> None:
    shares, integrator = CpuShares(), uuid4()
    clients = [PrincipalGroup(uuid4(), integrator) for _ in range(4)]
    alone = PrincipalGroup(uuid4(), uuid4())
    for second in range(10):
        for account in (*clients, alone):
            shares.add(account, 0.2, float(second))
    assert [shares.is_much(account, 10.0) for account in (*clients, alone)] == [True] * 4 + [False]
    other = PrincipalGroup(uuid4(), uuid4())
    for second in range(10):
        shares.add(other, 0.45, float(second))
    assert shares.is_much(other, 10.0)
