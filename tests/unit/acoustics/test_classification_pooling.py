"""What boxes together take a sound for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.acoustics.classification_pooling import (
    CLASS_PRIOR,
    ClassCandidate,
    PooledClassification,
    pool_classes,
)

SURE = (ClassCandidate("pistol", 0.9, "glock-17"), ClassCandidate("firework", 0.05))
NOT = (ClassCandidate("firework", 0.9),)
KINDS = st.sampled_from(["pistol", "rifle", "firework", "door_slam", "thunder"])
CANDIDATES = st.lists(st.builds(ClassCandidate, KINDS, st.floats(0, 1)), max_size=5).map(tuple)


def share(opinion: PooledClassification, kind: str) -> float:
    return dict(opinion.kinds)[kind]


def test_without_opinions_the_prior_holds() -> None:
    opinion = pool_classes([("a", ()), ("b", ())])
    assert dict(opinion.kinds) == pytest.approx(dict(CLASS_PRIOR))
    assert (opinion.boxes, opinion.models) == (0, ())


def test_the_prior_is_whole() -> None:
    assert math.fsum(CLASS_PRIOR.values()) == pytest.approx(1.0)


def test_one_box_is_taken_at_its_word_but_for_a_little_doubt() -> None:
    assert share(pool_classes([("a", SURE)]), "pistol") == pytest.approx(0.9, abs=0.01)


def test_boxes_that_agree_make_it_surer_and_less_so_than_if_they_were_independent() -> None:
    one, three = (pool_classes([(name, SURE) for name in names]) for names in ("a", "abc"))
    assert share(three, "pistol") > share(one, "pistol")
    # Independent they would multiply: odds against the prior to the third power.
    odds = (
        share(one, "pistol")
        / CLASS_PRIOR["pistol"]
        / ((1 - share(one, "pistol")) / (1 - CLASS_PRIOR["pistol"]))
    )
    found = (
        share(three, "pistol")
        / CLASS_PRIOR["pistol"]
        / ((1 - share(three, "pistol")) / (1 - CLASS_PRIOR["pistol"]))
    )
    assert found < odds**3


def test_boxes_that_contradict_each_other_lower_the_confidence() -> None:
    both = pool_classes([("a", SURE), ("b", NOT)])
    assert share(both, "pistol") < share(pool_classes([("a", SURE)]), "pistol")
    assert both.not_gunshot < pool_classes([("b", NOT)]).not_gunshot


def test_rounds_of_one_box_count_once() -> None:
    assert dict(pool_classes([("a", SURE)] * 5).kinds) == pytest.approx(
        dict(pool_classes([("a", SURE)]).kinds)
    )


def test_models_share_what_is_theirs() -> None:
    opinion = pool_classes([("a", SURE), ("b", (ClassCandidate("pistol", 0.8, "beretta-92"),)), ("c", SURE)])
    assert [name for name, _ in opinion.models] == ["glock-17", "beretta-92"]
    assert math.fsum(part for _, part in opinion.models) < 1


def test_more_confidence_than_there_is_is_scaled() -> None:
    opinion = pool_classes([("a", (ClassCandidate("pistol", 1.0), ClassCandidate("firework", 1.0)))])
    assert share(opinion, "pistol") == pytest.approx(share(opinion, "firework"), rel=0.05)


@given(st.lists(st.tuples(st.sampled_from("abcd"), CANDIDATES), max_size=6))
def test_probabilities_are_whole_and_know_no_order(
    told: list[tuple[str, tuple[ClassCandidate, ...]]],
) -> None:
    opinion = pool_classes(told)
    assert math.fsum(part for _, part in opinion.kinds) == pytest.approx(1.0)
    assert all(0 < part < 1 for _, part in opinion.kinds)
    assert 0 <= opinion.gunshot <= 1
    other = pool_classes(list(reversed(told)))
    assert dict(other.kinds) == pytest.approx(dict(opinion.kinds))
