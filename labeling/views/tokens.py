"""A user's API tokens: make one, see when each was last used, revoke it."""

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from labeling import access
from labeling.http import LabelerRequest, page
from labeling.models import ApiToken, Project
from labeling.services import tokens as token_service
from labeling.services.tokens import LONGEST_DAYS

TEMPLATE = "labeling/tokens.html"
SCOPES = [
    (ApiToken.Scope.READ, "Read"),
    (ApiToken.Scope.LABEL, "Read and label"),
    (ApiToken.Scope.MANAGE, "Read, label and manage"),
]


class TokenForm(forms.Form):
    """What a new token is for, what it opens and how long."""

    name = forms.CharField(
        label="Name", max_length=100, help_text="What it is for, so that you know later which one to revoke."
    )
    scope = forms.ChoiceField(
        label="What it may do", choices=SCOPES, widget=forms.RadioSelect, help_text="Never more than you may yourself."
    )
    project = forms.ModelChoiceField(
        Project.objects.none(),
        label="Project",
        required=False,
        to_field_name="slug",
        empty_label="All my projects",
        help_text="With a token of one project the others cannot be found.",
    )
    days = forms.IntegerField(
        label="Valid for, in days",
        required=False,
        min_value=1,
        max_value=LONGEST_DAYS,
        help_text="Empty: until you revoke it.",
    )

    def __init__(self, data: object = None, *, user: User) -> None:
        initial = {"scope": ApiToken.Scope.READ, "days": 90}
        super().__init__(data, initial=initial)  # type: ignore[arg-type]
        choices = self.fields["project"]
        assert isinstance(choices, forms.ModelChoiceField)
        choices.queryset = access.projects_for(user).order_by("name", "pk")


@page("GET", "POST")
def tokens(request: LabelerRequest) -> HttpResponse:
    """The user's tokens. The answer to the form that makes one is the only page that ever shows its secret."""
    form = TokenForm(request.POST if request.method == "POST" else None, user=request.user)
    secret = ""
    if form.is_valid():
        secret = token_service.create_token(request.user, **form.cleaned_data)
        form = TokenForm(user=request.user)
    context = {"form": form, "secret": secret, "tokens": token_service.tokens_of(request.user)}
    return render(request, TEMPLATE, context, status=422 if form.errors else 200)


@page("POST")
def revoke(request: LabelerRequest, token_id: int) -> HttpResponse:
    token = token_service.tokens_of(request.user).filter(pk=token_id).first()
    if token is None:
        raise Http404("no such token")
    token_service.revoke(token, by=request.user)
    messages.success(request, f"Revoked: {token}. Requests with it are refused from now on.")
    return redirect("labeling:tokens")
