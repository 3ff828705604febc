"""The settings page: what managers may change, what is refused and where it says so, what the audit trail keeps."""

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.models import AuditEvent, Deployment, Pair, Project
from labeling.services import claims
from labeling.services.settings import change_settings
from tests import factories

URL = "/p/stories/settings/"
CRITERIA = [{"name": "Accuracy", "about": "which has fewer errors"}, {"name": "Tone", "about": "which is: kinder"}]


def filled(project: Project, **changed: Any) -> dict[str, Any]:
    """What the page sends if nothing but these fields was touched."""
    sent = {
        "name": project.name,
        "guidelines": project.guidelines,
        "scale": project.scale,
        "criteria": "\n".join(f"{one['name']}: {one['about']}" for one in project.criteria),
        "comments": project.comments,
        "overlap": project.overlap,
        "gold_every": project.gold_every or "",
        "least_seconds": project.least_seconds,
        "reveal": project.reveal,
        "routing": project.routing,
        "consensus_method": project.consensus_method,
        "wished_agreement": f"{100 * project.wished_agreement:g}",
        "samples_per_order": project.samples_per_order,
        "retrain_method": project.retrain_method,
        "retrain_after": project.retrain_after or "",
        "retrain_every_days": project.retrain_every_days or "",
        "retrain_from": project.retrain_from,
        "replay_share": f"{100 * project.replay_share:g}",
        "retrain_labels": project.retrain_labels,
    }
    return sent | changed


def seen(page: str) -> dict[str, str]:
    """What the page's hidden fields say that it shows, as a browser sends it along."""
    hidden = re.findall(r'<input type="hidden" name="(initial-\w+)" value="([^"]*)">', page)
    return {name: html.unescape(value).replace("\n", "\r\n") for name, value in hidden}


def test_every_setting_is_saved_with_an_audit_event(as_alice: Client, alice: User, project: Project) -> None:
    wanted = {
        "name": "Long stories", "guidelines": "Prefer **depth**.", "scale": "graded", "criteria_required": True,
        "comments": "required", "highlights": True, "overlap": 3, "gold_every": 10, "least_seconds": 4,
        "reveal": "never", "routing": "coverage", "consensus_method": "dawid_skene", "judge_labels": True,
        "samples_per_order": 4, "retrain_method": "genrm", "retrain_after": 100, "retrain_every_days": 7,
        "retrain_from": "base", "retrain_labels": "consensus",
    }  # fmt: skip
    lines = "Accuracy: which has fewer errors\n\n  Tone :  which is: kinder "
    page = as_alice.post(URL, filled(project, **wanted, criteria=lines), follow=True)
    assert page.redirect_chain == [(URL, 302)]
    assert "Saved." in page.content.decode()
    project.refresh_from_db()
    assert {name: getattr(project, name) for name in wanted} == wanted
    assert project.criteria == CRITERIA
    event = AuditEvent.objects.get()
    assert (event.action, event.actor) == ("project.settings", alice)
    assert set(event.detail["changes"]) == {*wanted, "criteria"}
    assert event.detail["changes"]["overlap"] == {"from": 1, "to": 3}
    assert event.detail["changes"]["criteria"] == {"from": [], "to": CRITERIA}


def test_saving_without_a_change_leaves_no_trace(as_alice: Client, project: Project) -> None:
    Project.objects.update(criteria=CRITERIA, gold_every=5)
    project.refresh_from_db()
    page = as_alice.post(URL, filled(project), follow=True)
    assert "Nothing was changed." in page.content.decode()
    assert not AuditEvent.objects.exists()
    project.refresh_from_db()
    assert (project.criteria, project.gold_every) == (CRITERIA, 5)


@pytest.mark.parametrize(("judged", "changed", "told"), [
    (True, {"guidelines": "Shorter is better."}, True),
    (True, {"criteria": "Warmth: which is kinder"}, True),
    (True, {"overlap": 3}, False),
    (False, {"guidelines": "Shorter is better."}, False),
])  # fmt: skip
def test_whoever_changes_what_the_judge_reads_is_told_how_it_judges_anew(
    as_alice: Client, champion: Deployment, judged: bool, changed: dict[str, Any], told: bool
) -> None:
    project = champion.project
    if judged:
        factories.JudgementFactory.create(pair=factories.PairFactory.create(project=project), judge=champion.judge)
    page = as_alice.post(URL, filled(project, **changed), follow=True).content.decode()
    assert "Saved." in page
    assert ("What the judge has said already stays as it is" in page) is told
    assert ('<a href="/p/stories/versions/">Judge versions</a> it can judge anew' in page) is told


def test_the_page_shows_what_is_stored(as_alice: Client, project: Project) -> None:
    Project.objects.update(criteria=CRITERIA, criteria_required=True, scale="graded", audit_share=0.15)
    page = as_alice.get(URL).content.decode()
    assert "Accuracy: which has fewer errors\nTone: which is: kinder</textarea>" in page
    assert re.search(r'name="criteria_required"[^>]* checked', page)
    assert re.search(r'value="graded"[^>]* checked', page)
    assert "<dd>15 %</dd>" in page
    assert "Back to the project" in page


@pytest.mark.parametrize(
    ("field", "typed", "problem"),
    [
        ("name", "  ", "This field is required."),
        ("overlap", "0", "At least 1"),
        ("overlap", "51", "At most 50"),
        ("overlap", "two", "Enter a whole number."),
        ("gold_every", "1", "At least 2"),
        ("least_seconds", "-1", "At least 0"),
        ("scale", "stars", "Select a valid choice."),
        ("reveal", "", "This field is required."),
        ("retrain_method", "magic", "Select a valid choice."),
        ("retrain_after", "0", "At least 1"),
        ("retrain_every_days", "0", "At least 1"),
        ("retrain_every_days", "9999", "At most 3650"),
        ("retrain_from", "", "This field is required."),
        ("replay_share", "-1", "At least 0"),
        ("replay_share", "1001", "At most 1000"),
        ("retrain_labels", "hard", "Select a valid choice."),
        ("criteria", "Tone: kinder\nAccuracy", "Line 2: write it as"),
        ("criteria", "\n: no name", "Line 2: write it as"),
        ("criteria", "Tone:", "Line 1: write it as"),
        ("criteria", "Tone: a\n\nTONE: b", "Line 3: there is a criterion “Tone” already."),
        ("criteria", "x" * 61 + ": a", "Line 1: too long"),
        ("criteria", "Tone: " + "x" * 201, "Line 1: too long"),
        ("criteria", "To\u200bne: a", "Line 1: it holds a character that cannot be shown."),
        ("criteria", "\n".join(f"C{n}: a" for n in range(9)), "Line 9: there are 8 criteria already"),
    ],
)
def test_a_bad_value_is_named_at_its_field_and_kept(
    as_alice: Client, project: Project, field: str, typed: str, problem: str
) -> None:
    response = as_alice.post(URL, filled(project, name="Changed <b>too</b>") | {field: typed})
    assert response.status_code == 422
    page = response.content.decode()
    form = response.context["form"]
    assert list(form.errors) == [field]
    assert problem in " ".join(form.errors[field])
    assert f'id="id_{field}_error"' in page
    assert typed in str(form[field].value())
    if field != "name":
        assert "Changed &lt;b&gt;too&lt;/b&gt;" in page
    assert '<a href="/p/stories/">Short stories</a>' in page
    project.refresh_from_db()
    assert project.name == "Short stories"
    assert not AuditEvent.objects.exists()


def test_every_bad_line_is_named(as_alice: Client, project: Project) -> None:
    response = as_alice.post(URL, filled(project, criteria="Accuracy\nTone: a\ntone: b"))
    assert [error[:7] for error in response.context["form"].errors["criteria"]] == ["Line 1:", "Line 3:"]


def test_the_replay_share_is_given_in_per_cent(as_alice: Client, project: Project) -> None:
    page = as_alice.get(URL).content.decode()
    assert re.search(r'name="replay_share"[^>]*value="50"|value="50"[^>]*name="replay_share"', page)
    as_alice.post(URL, filled(project, replay_share="12.5"))
    project.refresh_from_db()
    assert project.replay_share == 0.125
    assert AuditEvent.objects.get().detail["changes"] == {"replay_share": {"from": 0.5, "to": 0.125}}


def test_a_policy_can_be_taken_back(as_alice: Client, project: Project) -> None:
    Project.objects.update(retrain_after=50, retrain_every_days=7)
    as_alice.post(URL, filled(project, retrain_after="", retrain_every_days=""))
    project.refresh_from_db()
    assert (project.retrain_after, project.retrain_every_days) == (None, None)


def test_labels_keep_their_answers_to_a_criterion_that_is_removed(as_alice: Client, pair: Pair) -> None:
    label = factories.LabelFactory.create(pair=pair, criteria={"Accuracy": "a"})
    Project.objects.update(criteria=CRITERIA)
    pair.project.refresh_from_db()
    assert as_alice.post(URL, filled(pair.project, criteria="")).status_code == 302
    pair.project.refresh_from_db()
    label.refresh_from_db()
    assert (pair.project.criteria, label.criteria) == ([], {"Accuracy": "a"})


def test_another_overlap_opens_and_closes_pairs(as_alice: Client, pair: Pair) -> None:
    factories.LabelFactory.create(pair=pair)
    Pair.objects.update(closed=True)
    as_alice.post(URL, filled(pair.project, overlap=2))
    pair.refresh_from_db()
    assert not pair.closed
    as_alice.post(URL, filled(pair.project, overlap=1))
    pair.refresh_from_db()
    assert pair.closed


def test_an_overlap_that_opens_no_pairs_is_not_saved(
    as_alice: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Project) -> int:
        raise RuntimeError

    monkeypatch.setattr(claims, "reopen", broken)
    as_alice.raise_request_exception = False
    assert as_alice.post(URL, filled(project, name="Other")).status_code == 302
    assert as_alice.post(URL, filled(project, overlap=2)).status_code == 500
    project.refresh_from_db()
    assert (project.name, project.overlap) == ("Other", 1)
    assert AuditEvent.objects.count() == 1


def test_two_managers_at_once_change_only_what_each_of_them_touched(as_alice: Client, project: Project) -> None:
    Project.objects.update(guidelines="Prefer depth.\nNever length.", criteria=CRITERIA)
    project.refresh_from_db()
    shown = seen(as_alice.get(URL).content.decode())
    assert len(shown) == 22
    others: dict[str, Any] = {"reveal": "never", "highlights": True, "gold_every": 5, "replay_share": 0.25}
    Project.objects.update(**others, criteria=[])
    sent = {name: str(value).replace("\n", "\r\n") for name, value in filled(project, overlap=3).items()}
    as_alice.post(URL, sent | shown)
    assert AuditEvent.objects.get().detail["changes"] == {"overlap": {"from": 1, "to": 3}}
    project.refresh_from_db()
    assert {name: getattr(project, name) for name in others} == others
    assert (project.criteria, project.guidelines) == ([], "Prefer depth.\nNever length.")


@pytest.mark.parametrize(
    ("field", "others", "now", "typed", "wanted"),
    [
        ("overlap", 5, "“5”", "3", "“3”"),
        ("gold_every", 7, "“7”", "4", "“4”"),
        ("reveal", "never", "“Never”", "before", "“Before the verdict; labels given so never measure a judge”"),
        ("guidelines", "Be <kind>.\nAnd brief.", "“Be <kind>.\nAnd brief.”", "Be brief.\r\nAnd kind.", "“Be brief."),
        ("criteria", CRITERIA[:1], "“Accuracy: which has fewer errors”", "Tone: kinder", "“Tone: kinder”"),
        ("wished_agreement", 0.75, "“75”", "95", "“95”"),
    ],
)
def test_what_another_manager_changed_meanwhile_is_not_overwritten_unseen(
    as_alice: Client, project: Project, field: str, others: Any, now: str, typed: str, wanted: str
) -> None:
    shown = seen(as_alice.get(URL).content.decode())
    Project.objects.update(**{field: others})
    sent = filled(project, name="Long stories") | {field: typed}
    response = as_alice.post(URL, sent | shown)
    assert response.status_code == 422
    form = response.context["form"]
    assert list(form.errors) == [field]
    [message] = form.errors[field]
    assert f"changed to {now} meanwhile" in message
    assert f"here it is {wanted}" in message
    assert form[field].value() == typed, "nothing that was typed is lost"
    assert not AuditEvent.objects.exists()
    again = seen(response.content.decode())
    assert {name for name in shown if again[name] != shown[name]} == {f"initial-{field}"}
    assert as_alice.post(URL, sent | again).status_code == 302, "sent once more, it is meant so"
    assert set(AuditEvent.objects.get().detail["changes"]) == {field, "name"}


def test_what_two_managers_want_alike_is_no_conflict(as_alice: Client, project: Project) -> None:
    shown = seen(as_alice.get(URL).content.decode())
    Project.objects.update(overlap=3, guidelines="Be brief.\nAnd kind.")
    sent = filled(project, overlap=3, guidelines="Be brief.\r\nAnd kind.", name="Long stories")
    assert as_alice.post(URL, sent | shown).status_code == 302
    project.refresh_from_db()
    assert (project.name, project.overlap) == ("Long stories", 3)


def test_a_change_in_the_moment_of_saving_is_noticed_too(
    as_alice: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args: Any, **kwargs: Any) -> list[str]:
        Project.objects.update(overlap=5)
        return change_settings(*args, **kwargs)

    monkeypatch.setattr("labeling.views.settings.change_settings", late)
    shown = seen(as_alice.get(URL).content.decode())
    response = as_alice.post(URL, filled(project, overlap=3) | shown)
    assert response.status_code == 422
    assert "changed to “5” meanwhile" in response.content.decode()
    project.refresh_from_db()
    assert project.overlap == 5


def test_only_managers_change_settings(
    as_alice: Client, as_bob: Client, as_dora: Client, as_charlie: Client, client: Client, project: Project
) -> None:
    sent = filled(project, name="Mine")
    statuses = [who.post(URL, sent).status_code for who in (client, as_charlie, as_bob, as_dora)]
    assert statuses == [302, 404, 403, 403]
    project.refresh_from_db()
    assert project.name == "Short stories"
    assert as_alice.get("/p/nothing/settings/").status_code == 404
    assert as_alice.put(URL).status_code == 405


def test_the_project_page_leads_managers_there(as_alice: Client, as_dora: Client, project: Project) -> None:
    assert f'href="{URL}"' in as_alice.get("/p/stories/").content.decode()
    assert f'href="{URL}"' not in as_dora.get("/p/stories/").content.decode()


def test_fields_that_are_not_on_the_page_cannot_be_set(as_alice: Client, project: Project) -> None:
    as_alice.post(URL, filled(project, holdout_share="0.9", audit_share="0.9", slug="mine"))
    project.refresh_from_db()
    assert (project.holdout_share, project.audit_share, project.slug) == (0.3, 0.0, "stories")
