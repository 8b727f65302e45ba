import json
import re
from typing import Any

import msgspec
import pytest

from app.notifications.email.mail_rendering import SiteName, render_mail
from tests.unit.notifications.email.bodies import ALERT, AT, RESOLVED, alert, group, mail_of

SHOT = {
    "function": None,
    "window": "PT1M",
    "boxes": ["box-1", "box-2"],
    "event": {
        "type": "gunshot",
        "time": "2026-11-24T22:14:03.125Z",
        "confidence": 0.81,
        "class": "pistol",
        "model": None,
    },
}


def test_a_mail_of_an_alert_says_what_where_and_since_when() -> None:
    mail = mail_of(alert(description="Close the windows.\n\nCall the nursery."))
    assert mail.subject == ("[Critical] Particules fines at Rue Mouffetard: pm2_5 31.2\xa0µg/m³ (limit 25)")
    assert mail.thread == f"alert-{ALERT}"
    assert mail.text == (
        "[Critical] Particules fines at Rue Mouffetard\n\n"
        "An alert has begun to fire.\n\n"
        "Severity: Critical\n"
        "Site: Rue Mouffetard\n"
        "Box: box-0001\n"
        "Rule: Particules fines\n"
        "Measured: Particles up to 2.5 µm (pm2_5): 31.2\xa0µg/m³\n"
        "Limit: 25\xa0µg/m³\n"
        "Over at: 20\xa0µg/m³\n"
        "Condition met since: 24 November 2026 at 11:00 (Europe/Paris)\n"
        "Firing since: 24 November 2026 at 11:10 (Europe/Paris)\n\n"
        "What to do:\nClose the windows.\nCall the nursery.\n\n"
        f"-- \nAlert {ALERT}, message 1.\n"
        "Your address is on an e-mail channel of Vigie. Its administrators can\nremove it.\n"
    )


def test_the_same_in_french() -> None:
    mail = mail_of(alert(description="Fermez les fenêtres."), "fr")
    assert mail.language == "fr"
    assert mail.subject == ("[Critique] Particules fines, Rue Mouffetard\xa0: pm2_5 31,2\xa0µg/m³ (seuil 25)")
    assert "\nMesure\xa0: Particules jusqu’à 2,5 µm (pm2_5)\xa0: 31,2\xa0µg/m³\n" in mail.text  # noqa: RUF001
    assert "\nAlerte depuis\xa0: 24 novembre 2026 à 11\xa0h\xa010 (Europe/Paris)\n" in mail.text
    assert "\nCe qu’il faut faire\xa0:\nFermez les fenêtres.\n" in mail.text  # noqa: RUF001
    assert '<html lang="fr">' in mail.html


@pytest.mark.parametrize(
    ("event", "subject", "sentence"),
    [
        (
            alert("escalated", previous_severity="warning", reason="unacknowledged"),
            "[Critical] Escalated: Particules",
            "escalated from Warning to Critical, because nobody acknowledged it in time.",
        ),
        (
            alert("deescalated", severity="info", previous_severity="critical", reason="samples"),
            "[Info] De-escalated: Particules",
            "de-escalated from Critical to Info, according to the measurements.",
        ),
        (
            alert("reminder"),
            "[Critical] Reminder: Particules",
            "still firing, and nobody has acknowledged it.",
        ),
        (
            alert("acknowledged", acknowledged_by="Night shift", acknowledged_at=AT),
            "[Acknowledged] Particules",
            "Night shift has acknowledged the alert.",
        ),
        (
            alert("resolved", **RESOLVED),
            "[Resolved] Particules fines at Rue Mouffetard: pm2_5 18.25\xa0µg/m³",
            "The alert is over: the condition no longer holds.",
        ),
        (
            alert("resolved", **{**RESOLVED, "resolution": "box_moved"}),
            "[Resolved]",
            "moved to another site.",
        ),
    ],
)
def test_what_happened_is_said(event: dict[str, Any], subject: str, sentence: str) -> None:
    mail = mail_of(event)
    assert mail.subject.startswith(subject)
    assert sentence in " ".join(mail.text.split())


def test_an_alert_that_is_over_says_how_long_it_lasted() -> None:
    mail = mail_of(alert("resolved", **RESOLVED))
    assert "\nResolved at: 24 November 2026 at 12:45 (Europe/Paris)\nLasted: 1\xa0h 35\xa0min\n" in mail.text
    assert "\nLast value: 18.25\xa0µg/m³\n" in mail.text


def test_silence_is_told_as_a_time() -> None:
    silent = alert(metric=None, value=905.0, threshold=900.0, clear=900.0, cause={"function": "no_data"})
    mail = mail_of(silent)
    assert mail.subject.endswith(": no data for 15\xa0min 5\xa0s")
    assert "\nSilent for: 15\xa0min 5\xa0s\nAllowed: 15\xa0min\n" in mail.text
    silent["data"]["metric"] = "pm10"
    assert mail_of(silent, "fr").subject.endswith(": aucune mesure de pm10 depuis 15\xa0min 5\xa0s")
    over = {"type": "alert.resolved", "timestamp": AT, "data": {**silent["data"], **RESOLVED}}
    assert mail_of(over).subject == "[Resolved] Particules fines at Rue Mouffetard"


INDEX = {
    "method": "eaqi",
    "version": 1,
    "title": "European Air Quality Index (hourly)",
    "title_fr": "Indice européen de qualité de l'air (horaire)",
    "metric": None,
    "period": {"start": "2026-11-24T09:00:00Z", "end": "2026-11-24T10:00:00Z"},
    "unit": "1",
    "coverage": 100,
    "band": {"key": "poor", "label": "Poor", "label_fr": "Mauvais"},
    "limit_band": None,
}


def test_an_index_is_told_by_its_name_and_its_class() -> None:
    firing = alert(metric=None, value=4.0, threshold=4.0, clear=3.0, cause={"index": INDEX})
    mail = mail_of(firing)
    assert mail.subject.endswith(": European Air Quality Index (hourly) 4, Poor (limit 4)")
    assert "\nMeasured: European Air Quality Index (hourly): 4, Poor\n" in mail.text
    assert (
        "\nEnd of the period: 24 November 2026 at 11:00 (Europe/Paris)\nLimit: 4\nOver at: 3\n" in mail.text
    )
    french = mail_of(firing, "fr")
    assert french.subject.endswith(": Indice européen de qualité de l'air (horaire) 4, Mauvais (seuil 4)")
    over = mail_of({"type": "alert.resolved", "timestamp": AT, "data": {**firing["data"], **RESOLVED}})
    assert over.subject.endswith("European Air Quality Index (hourly) 18.25")


def test_an_index_with_a_metric_and_one_compared_by_class() -> None:
    dust = {**INDEX, "title": "WHO guideline, 24 hours", "metric": "pm2_5", "unit": "µg/m³", "band": None}
    mail = mail_of(alert(metric=None, value=31.2, threshold=15.0, clear=15.0, cause={"index": dust}))
    assert mail.subject.endswith(": WHO guideline, 24 hours (pm2_5) 31.2\xa0µg/m³ (limit 15)")
    by_class = {**INDEX, "limit_band": INDEX["band"]}
    mail = mail_of(alert(metric=None, value=5.0, threshold=None, clear=None, cause={"index": by_class}), "fr")
    assert mail.subject.endswith("(horaire) 5, Mauvais (seuil Mauvais)")
    assert "\nSeuil\xa0: Mauvais\n" in mail.text


def test_a_shot_at_a_site_as_a_whole_names_the_shot_and_the_boxes() -> None:
    mail = mail_of(alert(box=None, metric=None, value=0.81, threshold=0.7, clear=None, cause=SHOT))
    assert mail.subject.endswith(": gunshot (pistol, 81%)")
    assert "\nBox: the site as a whole (box-1, box-2)\n" in mail.text
    assert "\nRecognised at: 24 November 2026 at 23:14:03 (Europe/Paris)\n" in mail.text
    assert "\nRequired confidence: 70%\n" in mail.text


def test_of_many_boxes_behind_a_site_s_alert_some_are_named() -> None:
    boxes = [f"box-{number}" for number in range(13)]
    mail = mail_of(alert(box=None, cause={"boxes": boxes}), "fr")
    assert "box-9 et 3 autres)" in " ".join(mail.text.split())


def test_windows_ranges_and_what_is_not_known() -> None:
    window = {"function": "energy_mean", "window": "PT1H"}
    text = " ".join(mail_of(alert(metric="laeq", value=58.34, cause=window)).text.split(" "))
    assert "(laeq), energy mean over\n  1\xa0h: 58.34\xa0dB" in text
    band = mail_of(alert(metric="temperature", value=12.0, threshold=20.0, clear=None))
    assert band.subject.endswith("temperature 12\xa0°C (upper bound 20)")
    nothing = mail_of(alert(metric=None, value=None, threshold=None, clear=None, cause=None))
    assert nothing.subject == "[Critical] Particules fines at Rue Mouffetard"
    unheard = mail_of(alert(value=None))
    assert "\nMeasured: Particles up to 2.5 µm (pm2_5)\nLimit: 25\xa0µg/m³\n" in unheard.text


def test_a_site_that_is_not_known_is_not_named_and_times_are_utc() -> None:
    mail = mail_of(alert(), sites={})
    assert mail.subject.startswith("[Critical] Particules fines: pm2_5")
    assert "Site:" not in mail.text
    assert "Firing since: 24 November 2026 at 10:10 (UTC)" in mail.text
    wrong = mail_of(alert(), sites={"s-1": SiteName("Ici", "Mars/Olympus")})
    assert "Firing since: 24 November 2026 at 10:10 (UTC)" in wrong.text


def test_a_group_is_counted_and_listed_what_fires_first_and_the_gravest_first() -> None:
    mail = mail_of(
        group(
            alert("resolved", box="over", **RESOLVED),
            alert("escalated", box="mild", severity="warning", previous_severity="info", reason="samples"),
            alert("acknowledged", box="seen", acknowledged_by="Bob") | {"events_count": 3},
            alert(box="grave"),
            firing=3,
            resolved=1,
        )
    )
    assert mail.subject == "[Critical] 3 firing, 1 resolved: Particules fines at Rue Mouffetard"
    boxes = [line.split()[2].rstrip(":") for line in mail.text.splitlines() if line.startswith("- ")]
    assert boxes == ["seen", "grave", "mild", "over"]
    flat = " ".join(mail.text.split(" "))
    assert "- [Critical] seen: acknowledged by Bob, pm2_5 31.2\xa0µg/m³" in flat
    assert "3 events" in flat
    assert "- [Resolved] over: pm2_5 18.25\xa0µg/m³, after 1\xa0h 35\xa0min" in flat
    assert mail.thread is not None
    assert mail.thread.startswith("group-")


def test_a_french_list_has_french_colons() -> None:
    text = mail_of(group(alert(), alert(box="box-0002"), firing=2), "fr").text
    listed = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(listed) == 2
    assert all("\xa0: " in line and not re.search(r"[^\s\xa0]: ", line) for line in listed)


def test_the_mails_of_one_group_are_one_thread() -> None:
    first = mail_of(group(alert(), alert(box="b"), firing=2))
    one = group(alert("resolved", **RESOLVED), firing=0, resolved=1)
    one["data"]["group"] = dict(reversed(one["data"]["group"].items()))
    assert mail_of(one).thread == first.thread
    one["data"]["group"]["rule_id"] = "another"
    assert mail_of(one).thread != first.thread


def test_a_group_of_one_alert_reads_like_the_alert() -> None:
    mail = mail_of(group(alert(), firing=1))
    assert mail.subject == mail_of(alert()).subject
    assert "Firing since: " in mail.text


def test_fifty_are_listed_and_the_others_counted() -> None:
    events = [alert(box=f"box-{number:04}") for number in range(120)]
    mail = mail_of(group(*events, firing=130, truncated=10), "fr")
    assert mail.subject == "[Critique] 130 en cours\xa0: Particules fines, Rue Mouffetard"
    assert mail.text.count("\n- [") == 50
    assert mail.html.count("box-0") == 50
    assert "80 autres alertes ne figurent pas ici." in mail.text
    assert (
        mail_of(group(*events[:50], firing=51, truncated=1)).text.count("1 more alert is not listed here.")
        == 1
    )


def test_a_group_over_several_rules_and_sites_says_so_and_names_them_in_its_list() -> None:
    sites = {"s-1": SiteName("Ici", "Europe/Paris"), "s-2": SiteName("Là", "Europe/Paris")}
    events = (alert(description="A"), alert(site_id="s-2", rule_name="Bruit", description="B"))
    mail = mail_of(group(*events, firing=2), sites=sites)
    assert mail.subject == "[Critical] 2 firing: 2 rules at 2 sites"
    assert "box-0001 \u2014 Bruit at Là" in mail.text
    # What is to be done about one is not what is to be done about all.
    assert "What to do" not in mail.text
    over = mail_of(group(*(alert("resolved", **RESOLVED) for _ in range(2)), firing=0, resolved=2))
    assert over.subject.startswith("[Resolved] 2 resolved: ")


def test_a_test_and_notices_have_their_words() -> None:
    of_server = mail_of({"type": "webhook.test", "timestamp": AT, "data": {}})
    assert of_server.subject == "[Vigie] Test of the mail server"
    assert "An administrator of Vigie sent this test to your address." in of_server.text
    of_channel = mail_of({"type": "webhook.test", "timestamp": AT, "data": {"endpoint_id": "e-1"}})
    assert of_channel.subject == "[Vigie] Test of this channel"
    data = {
        "endpoint_id": "e-1",
        "kind": "webhook",
        "target": "https://example.com/hook",
        "description": None,
        "reason": "failing",
        "failing_since": AT,
        "last_reason": "http_error",
        "last_status": 5000,
        "pending": 1200,
    }
    failing = mail_of({"type": "endpoint.failing", "timestamp": AT, "data": data})
    assert failing.subject == "[Vigie] Deliveries are failing: https://example.com/hook"
    assert failing.thread == "endpoint-e-1"
    assert "\nLast failure: http_error\nLast status: 5000\nWaiting: 1,200\n" in failing.text
    for reason, words in (("gone", "permanently gone (410)"), ("failing", "for too long")):
        notice = mail_of({"type": "endpoint.disabled", "timestamp": AT, "data": {**data, "reason": reason}})
        assert words in notice.text
    quota = {"organisation_id": "o-1", "quota": "samples_per_day", "limit": 5000, "used": 4100, "refused": 0}
    warned = mail_of({"type": "quota.warning", "timestamp": AT, "data": {**quota, "resets_at": AT}}, "fr")
    assert warned.subject == "[Vigie] Quota bientôt atteint\xa0: relevés par jour"
    assert "Quota\xa0: relevés par jour\nLimite\xa0: 5\u202f000\nUtilisés\xa0: 4\u202f100\n" in warned.text
    assert warned.thread == "quota-o-1"
    exceeded = mail_of({"type": "quota.exceeded", "timestamp": AT, "data": {**quota, "quota": "boxes"}})
    assert exceeded.subject == "[Vigie] A quota is used up: boxes"
    dropped = {"dropped": 120, "total": 23_123, "broker_started_at": "2026-11-01T10:10:02Z"}
    told = mail_of({"type": "platform.messages_dropped", "timestamp": AT, "data": dropped}, "fr")
    assert (
        "Depuis le démarrage du broker\xa0: 23\u202f123\nBroker démarré le\xa0: 1er\xa0novembre 2026"
        in told.text
    )


@pytest.mark.parametrize(
    "body",
    [
        {"type": "alert.merged", "timestamp": AT, "data": {"into": {"alert": "x"}, "many": [1, 2], "n": 1.5}},
        {"type": "alert.firing", "timestamp": AT, "data": {"value": "not a number", "into": {"alert": "x"}}},
        {"type": "alert.group", "timestamp": AT, "data": {"events": 7, "into": {"alert": "x"}}},
        {"type": 7, "into": {"alert": "x"}},
    ],
)
def test_what_is_not_known_is_listed_as_it_stands(body: dict[str, Any]) -> None:
    mail = mail_of(body)
    assert "into.alert: x\n" in mail.text
    assert mail.subject.startswith("[Vigie] ")


def test_of_an_event_of_an_alert_that_is_new_the_alert_is_told() -> None:
    mail = mail_of(alert("merged"))
    assert mail.subject == mail_of(alert()).subject
    assert "\n\nalert.merged\n\nSeverity: Critical\n" in mail.text


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        render_mail(b"{", "en", {})


def test_of_another_language_the_mail_is_english() -> None:
    assert json.loads(render_mail(json.dumps(alert()).encode(), "de", {}))["language"] == "en"


SAID = {
    "sentence": "PM2.5 at Rue Mouffetard is 31.2 µg/m³, above 25 for 10 minutes",
    "sentence_fr": "Rue Mouffetard\xa0: PM2,5 à 31,2\xa0µg/m³, au-dessus de 25 depuis 10 minutes",
    "link": f"https://vigie.example.com/console/alerts/{ALERT}",
}


def test_a_mail_has_the_sentence_the_names_and_the_link_of_its_event() -> None:
    body = alert(box_name="North crossing", **SAID)
    mail = mail_of(body)
    assert f"An alert has begun to fire. {SAID['sentence']}." in mail.text.replace("\n", " ")
    assert "\nBox: North crossing (box-0001)\n" in mail.text
    assert f"\nOpen in Vigie: {SAID['link']}\n" in mail.text
    assert f'<a href="{SAID["link"]}">Open in Vigie</a>' in mail.html
    french = mail_of(body, "fr")
    assert "au-dessus de 25 depuis 10 minutes." in french.text.replace("\n", " ")
    assert "Ouvrir dans Vigie" in french.html


def test_in_a_list_each_alert_leads_to_its_own_page() -> None:
    two = group(
        alert(**SAID) | {"events_count": 1}, alert(box="other", **SAID) | {"events_count": 1}, firing=2
    )
    mail = mail_of(two)
    assert mail.html.count(f'<a href="{SAID["link"]}">') == 2
    assert mail.text.count(SAID["link"]) == 2


@pytest.mark.parametrize("link", ["javascript:alert(1)", 'https://x.example/"onclick=', "https://x y", ""])
def test_a_link_that_is_none_leads_nowhere_else(link: str) -> None:
    mail = mail_of(alert(link=link))
    assert "javascript" not in mail.html
    assert '"onclick' not in mail.html


def test_who_acknowledged_is_named_also_in_events_of_before() -> None:
    for by in ("Léa", {"kind": "user", "id": ALERT, "name": "Léa"}):
        mail = mail_of(alert("acknowledged", acknowledged_by=by, acknowledged_at=AT))
        assert "Léa has acknowledged the alert." in mail.text
    unnamed = mail_of(alert("acknowledged", acknowledged_by={"kind": "key", "id": ALERT, "name": None}))
    assert "? has acknowledged the alert." in unnamed.text
