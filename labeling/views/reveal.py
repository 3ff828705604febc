"""After the commit: the judge's verdict, and keeping or revising one's own."""

from django.http import HttpResponse

from labeling import access
from labeling.errors import LabelingError
from labeling.forms import ReviseForm
from labeling.http import LabelerRequest, page
from labeling.services import labels, reveals
from labeling.views import stage


@page("GET")
def reveal(request: LabelerRequest, label_id: int) -> HttpResponse:
    """The judge's verdict once there is one; polled while the annotator looks at the labelled pair."""
    label = access.label_for(request.user, label_id)
    if label.withdrawn:
        return stage.advance(request, label.pair.project, notice="This label was undone.")
    shown = reveals.reveal(label)
    if shown.state == "hidden":
        return stage.advance(request, label.pair.project)
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
        return stage.show_reveal(request, label, reveals.reveal(label), status=422)
    try:
        labels.revise(label, **form.cleaned_data)
    except LabelingError as error:
        return stage.refused(request, label.pair.project, error)
    return stage.advance(request, label.pair.project, notice="Revised. Your first, blind verdict is kept beside it.")
