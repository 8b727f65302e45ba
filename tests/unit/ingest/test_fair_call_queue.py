"""The order in which calls that wait are taken: tenants in turn, by what their calls cost."""

from itertools import groupby
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.ingest.fair_call_queue import CallSender, FairCallQueue, estimate_cost_us


def sender(tree: int, organisation: int | None = None) -> CallSender:
    return CallSender(UUID(int=tree), UUID(int=tree if organisation is None else organisation))


def filled(*calls: tuple[CallSender, int], each: int = 1) -> FairCallQueue[tuple[CallSender, int]]:
    queue: FairCallQueue[tuple[CallSender, int]] = FairCallQueue()
    for whose, number in calls:
        queue.add(whose, (whose, number), each)
    return queue


FLOOD, OTHER, THIRD = sender(1), sender(2), sender(3)


def test_a_group_has_the_calls_of_one_tenant_in_their_order() -> None:
    queue = filled(*((FLOOD, number) for number in range(5)))
    assert queue.take(3, 100) == [(FLOOD, 0), (FLOOD, 1), (FLOOD, 2)]
    assert len(queue) == 2
    assert queue.take(3, 100) == [(FLOOD, 3), (FLOOD, 4)]
    assert queue.take(3, 100) == []


def test_tenants_take_turns_whatever_another_one_has_queued() -> None:
    queue = filled(*((FLOOD, number) for number in range(100)), (OTHER, 0), (OTHER, 1), (THIRD, 0))
    first = queue.take(6, 100)
    assert first == [(FLOOD, 0), (OTHER, 0), (THIRD, 0), (FLOOD, 1), (OTHER, 1), (FLOOD, 2)]


def test_a_call_that_comes_later_is_next_before_the_rest_of_a_flood() -> None:
    queue = filled(*((FLOOD, number) for number in range(100)))
    queue.take(50, 100)
    queue.add(OTHER, (OTHER, 0), 1)
    assert (OTHER, 0) in queue.take(2, 100)


def test_clients_of_an_integrator_share_its_turns() -> None:
    clients = [sender(1, organisation) for organisation in (11, 12, 13)]
    few = [(clients[1], 0), (clients[2], 0), (OTHER, 0), (OTHER, 1)]
    queue = filled(*((clients[0], number) for number in range(9)), *few)
    taken = queue.take(6, 100)
    assert [whose for whose, _ in taken] == [clients[0], OTHER, clients[1], OTHER, clients[2], clients[0]]


def test_who_sends_large_calls_gets_fewer_turns() -> None:
    queue: FairCallQueue[str] = FairCallQueue()
    for _ in range(20):
        queue.add(FLOOD, "large", 10)
        for _ in range(5):
            queue.add(OTHER, "small", 1)
    taken = queue.take(44, 1_000)
    assert (taken.count("large"), taken.count("small")) == (4, 40)


def test_a_group_ends_where_it_costs_enough_and_a_larger_call_comes_alone() -> None:
    queue: FairCallQueue[int] = FairCallQueue()
    for cost in (40, 50, 20, 500, 10):
        queue.add(FLOOD, cost, cost)
    assert [queue.take(10, 100) for _ in range(4)] == [[40, 50], [20], [500], [10]]


def test_more_samples_and_more_rules_cost_more() -> None:
    assert estimate_cost_us(1, 0) < estimate_cost_us(100, 0) < estimate_cost_us(100, 10_000)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 50)),
            st.tuples(st.integers(1, 8), st.integers(1, 200)),
        ),
        max_size=120,
    )
)
def test_each_call_is_taken_once_and_those_of_an_organisation_in_order(steps: list[tuple[int, ...]]) -> None:
    queue: FairCallQueue[tuple[CallSender, int]] = FairCallQueue()
    added: list[tuple[CallSender, int]] = []
    taken: list[tuple[CallSender, int]] = []
    for number, step in enumerate(steps):
        if len(step) == 2:
            group = queue.take(*step)
            assert len(group) <= step[0]
            assert group or len(taken) == len(added)
            taken += group
        else:
            whose = sender(step[0], 10 * step[0] + step[1])
            added.append((whose, number))
            queue.add(whose, (whose, number), step[2])
    while group := queue.take():
        taken += group
    assert len(queue) == 0
    assert sorted(taken) == sorted(added)
    for _, calls in groupby(sorted(taken, key=lambda call: call[0]), key=lambda call: call[0]):
        numbers = [number for _, number in calls]
        assert numbers == sorted(numbers)
