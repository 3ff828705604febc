"""Every address of the pages."""

from django.urls import path

from labeling.views import agreement, flags, imports, judge, keys, label, projects, reveal, runs, settings

app_name = "labeling"
urlpatterns = [
    path("", projects.projects, name="projects"),
    path("p/<slug:slug>/", projects.project, name="project"),
    path("p/<slug:slug>/retrain/", projects.retrain, name="retrain"),
    path("p/<slug:slug>/label/", label.label, name="label"),
    path("p/<slug:slug>/reserve/", label.reserve, name="reserve"),
    path("p/<slug:slug>/release/", label.release, name="release"),
    path("p/<slug:slug>/undo/", label.undo, name="undo"),
    path("claims/<int:claim_id>/label/", label.commit, name="claim-commit"),
    path("claims/<int:claim_id>/skip/", label.skip, name="claim-skip"),
    path("claims/<int:claim_id>/diff/", label.diff, name="claim-diff"),
    path("claims/<int:claim_id>/renew/", label.renew, name="claim-renew"),
    path("claims/<int:claim_id>/report/", label.report, name="claim-report"),
    path("labels/<int:label_id>/reveal/", reveal.reveal, name="label-reveal"),
    path("labels/<int:label_id>/keep/", reveal.keep, name="label-keep"),
    path("labels/<int:label_id>/revise/", reveal.revise, name="label-revise"),
    path("p/<slug:slug>/flags/", flags.flags, name="flags"),
    path("p/<slug:slug>/agreement/", agreement.agreement, name="agreement"),
    path("p/<slug:slug>/flags/decide/", flags.decide, name="flags-decide"),
    path("p/<slug:slug>/flags/filters/", flags.save_filter, name="filter-save"),
    path("p/<slug:slug>/flags/filters/<int:filter_id>/delete/", flags.delete_filter, name="filter-delete"),
    path("p/<slug:slug>/pairs/<int:pair_id>/", flags.dossier, name="dossier"),
    path("p/<slug:slug>/judge/", judge.judge, name="judge"),
    path("p/<slug:slug>/settings/", settings.settings, name="settings"),
    path("keys/", keys.keys, name="keys"),
    path("p/<slug:slug>/import/", imports.upload, name="import"),
    path("imports/<int:batch_id>/", imports.batch, name="batch"),
    path("runs/<int:run_id>/", runs.run, name="run"),
    path("runs/<int:run_id>/cancel/", runs.cancel, name="run-cancel"),
]
