"""Sources of statements."""

from app.sensorthings.entity_model import ENTITY_TYPES, OBSERVATION, EntityKey
from app.sensorthings.relations import make_relation, restrict


def test_a_statement_does_not_grow_with_the_number_of_keys() -> None:
    datastream, property_ = ENTITY_TYPES["Datastream"], ENTITY_TYPES["ObservedProperty"]
    for entity, parent in ((datastream, OBSERVATION), (datastream, property_), (property_, datastream)):
        relation = make_relation(entity)
        texts = set()
        for count in (2, 3, 1_000):
            keys = [EntityKey(number, f"metric{number}", hourly=number % 2 == 0) for number in range(count)]
            texts.add("\n".join(str(each) for each in restrict(relation, parent, keys)))
        assert len(texts) == 1, texts
