from app.catalogue.metric_display_names import describe_metric, get_metric_symbol, get_metric_unit


def test_units_are_those_of_the_metric_or_of_its_function() -> None:
    assert get_metric_unit("pm2_5", None) == "µg/m³"
    assert get_metric_unit("pm2_5", "rate") == "µg/m³/h"
    assert (
        get_metric_unit("pm2_5", "count"),
        get_metric_unit("unheard-of", None),
        get_metric_unit(None, None),
    ) == ("", "", "")


def test_metrics_are_named_in_each_language() -> None:
    assert describe_metric("temperature", "fr") == "Température de l\u2019air (temperature)"
    assert describe_metric("temperature", "en") == "Air temperature (temperature)"
    assert describe_metric("new\none", "en") == "new one"
    assert [get_metric_symbol("pm2_5", language) for language in ("en", "fr")] == ["PM2.5", "PM2,5"]
    assert get_metric_symbol("temperature", "en") == "Air temperature"
