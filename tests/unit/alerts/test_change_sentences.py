"""Sentences of changes of rules and boxes."""

from app.alerts.change_sentences import describe_box_change, describe_rule_change


def test_who_changed_a_rule_is_named_where_it_is_known() -> None:
    assert describe_rule_change("rule.changed", "Dust", "Ana", "en") == "Ana changed the rule “Dust”"
    assert describe_rule_change("rule.deleted", "Dust", None, "en") == "Rule “Dust” was deleted"
    assert describe_rule_change("rule.created", "Bruit", "Ana", "fr") == (
        "Ana a créé la règle «\xa0Bruit\xa0»"
    )


def test_a_box_is_named_with_its_site() -> None:
    assert describe_box_change("box.silent", "b-1", "Rue", "en") == "Box b-1 (Rue) sends nothing any more"
    assert (
        describe_box_change("box.silent", "b-1", "Rue", "fr")
        == "Le boîtier b-1 (Rue) n\u2019envoie plus rien"
    )


def test_a_box_that_never_sent_has_not_stopped() -> None:
    said = [describe_box_change("box.silent", "b-1", "Rue", each, was_heard=False) for each in ("en", "fr")]
    assert said == [
        "Box b-1 (Rue) has not sent measurements yet",
        "Le boîtier b-1 (Rue) n\u2019a encore envoyé aucune mesure",
    ]


def test_names_of_clients_cannot_rearrange_a_sentence() -> None:
    said = describe_rule_change("rule.created", "a\u202eb\nc {who}", None, "en")
    assert said == "Rule “ab c {who}” was created"
