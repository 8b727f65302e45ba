from app.console.framework.api_calls import ApiProblemError, FieldFault
from app.console.framework.problem_markup import make_explainer
from app.platform.kernel.errors import InvalidError, NotFoundError

explain = make_explainer("fr")
explain_in_english = make_explainer("en")


def test_a_translated_text_has_no_language_of_its_own() -> None:
    assert explain(NotFoundError("box", "<b>")) == "Le boîtier «\xa0&lt;b&gt;\xa0» n\u2019existe pas."
    assert explain_in_english("Field required") == "Field required"


def test_a_text_without_translation_is_marked_as_english() -> None:
    assert explain("Nobody <i> translated") == '<span lang="en">Nobody &lt;i&gt; translated</span>'
    assert explain_in_english("Nobody <i> translated") == "Nobody &lt;i&gt; translated"


def test_a_fault_is_shown_with_its_field() -> None:
    fault = FieldFault("condition.threshold", "missing_field", "Field required")
    assert explain(fault) == "condition.threshold\xa0: Ce champ est obligatoire"
    assert explain_in_english(fault) == "condition.threshold: Field required"


def test_the_detail_of_a_problem_is_translated_with_its_faults() -> None:
    field = {"field": "body.name", "code": "missing_field", "detail": "Field required"}
    problem = ApiProblemError({"detail": "body.name: Field required", "code": "", "errors": [field]}, 422)
    assert explain(problem) == "body.name\xa0: Ce champ est obligatoire"
    own = InvalidError("This URL cannot receive webhooks: it cannot be parsed.").at("body.url")
    assert explain(own) == "body.url\xa0: Cette URL ne peut pas recevoir de webhooks\xa0: elle est illisible."


def test_a_problem_that_a_page_wrote_is_in_the_language_of_the_page() -> None:
    problem = ApiProblemError({"detail": "Deux alertes refusées", "code": "refused", "language": "fr"}, 422)
    assert explain(problem) == "Deux alertes refusées"
