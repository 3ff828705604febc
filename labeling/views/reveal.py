"""After the commit: the judge's verdict, and keeping or revising one's own."""

from django.http import HttpResponse
from django_htmx.http import retarget

from labeling import access
from labeling.errors import LabelingError
from labeling.forms import ReviseForm
from labeling.http import LabelerRequest, page
from labeling.services import labels, reveals
from labeling.views import stage


@page("GET")
def reveal(request: LabelerRequest, label_id: int) -> HttpResponse:
    """The judge's verdict once there is one; polled while the annotator looks at the labelled pair.

    The poll swaps the verdict alone; the next pair, where nothing may be shown any more, replaces the whole stage.
    """
    label = access.label_for(request.user, label_id)
    if label.withdrawn:
        return retarget(stage.advance(request, label.pair.project, notice=reveals.UNDONE.reason), "#stage")
    shown = reveals.reveal(label)
    if shown.state == "hidden":
        notice = shown.reason if shown is reveals.UNDONE else stage.SAVED
        return retarget(stage.advance(request, label.pair.project, notice=notice), "#stage")
    return stage.show_reveal(request, label, shown)


@page("POST")
def keep(request: LabelerRequest, label_id: int) -> HttpResponse:
    label = access.label_for(request.user, label_id)
    try:
        labels.keep(label)
    except LabelingError as error:
        return stage.refused(request, label.pair.project, error)
    return stage.advance(request, label.pair.project, notice="Kept.")


@page("POST")
def revise(request: LabelerRequest, label_id: int) -> HttpResponse:
    label = access.label_for(request.user, label_id)
    form = ReviseForm(request.POST)
    if not form.is_valid():
        shown = reveals.reveal(label)
        if shown.state != "shown":
            return stage.refused(request, label.pair.project, LabelingError(labels.NOT_SHOWN))
        return stage.show_reveal(request, label, shown, status=422)
    try:
        labels.revise(label, **form.cleaned_data)
    except LabelingError as error:
        return stage.refused(request, label.pair.project, error)
    return stage.advance(request, label.pair.project, notice="Revised. Your first, blind verdict is kept beside it.")
