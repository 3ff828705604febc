"""What adjudicators type and tick, checked: decisions, filters and their names. Fetches no row."""

import re

from django import forms
from django.http import QueryDict

from labeling.flag_queries import Wanted
from labeling.forms import COMMENT_LIMIT
from labeling.models import Flag, SavedFilter
from labeling.pair_queries import SHOWS, Listed
from labeling.services.flags import AMBIGUOUS, SEND_BACK

DECISIONS = [
    ("a", "A is better"),
    ("b", "B is better"),
    ("tie", "Tie"),
    ("both_bad", "Both bad"),
    (SEND_BACK, "Send back for one more label"),
    (AMBIGUOUS, "Mark ambiguous"),
]
MOST_TICKED = 200
_NUMBER = re.compile(r"[0-9]{1,18}")


class SettleForm(forms.Form):
    """A decision on a pair; the reason may be left out."""

    choice = forms.ChoiceField(choices=DECISIONS, error_messages={"required": "Choose a verdict."})
    reason = forms.CharField(max_length=COMMENT_LIMIT, required=False)


class TickedField(forms.TypedMultipleChoiceField):
    """Numbers of rows. Whether they are there, and in which project, is for the query to find out."""

    def valid_value(self, value: object) -> bool:
        return _NUMBER.fullmatch(str(value)) is not None


class BulkForm(SettleForm):
    """One decision and one reason for all the pairs that were ticked."""

    pair = TickedField(coerce=int, error_messages={"required": "Tick the pairs first."})

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.fields["choice"].error_messages["required"] = "Choose what to do with them."
        self.fields["reason"].required = True
        self.fields["reason"].error_messages["required"] = "Give one reason for all of them."

    def clean_pair(self) -> list[int]:
        ticked: list[int] = self.cleaned_data["pair"]
        if len(ticked) > MOST_TICKED:
            raise forms.ValidationError(f"At most {MOST_TICKED} pairs at once.")
        return ticked


class FilterForm(forms.Form):
    """The filters in the page's address; one that cannot be read is left out."""

    source = forms.CharField(max_length=200, strip=False, required=False)
    model = forms.CharField(max_length=200, strip=False, required=False)
    annotator = forms.CharField(max_length=150, strip=False, required=False)
    text = forms.CharField(max_length=200, required=False)
    least = forms.FloatField(min_value=0, max_value=1, required=False)

    @classmethod
    def read(cls, data: QueryDict) -> Wanted:
        form = cls(data)
        form.is_valid()
        given = form.cleaned_data
        ticked = data.getlist("kind")
        texts = {name: given.get(name) or "" for name in ("source", "model", "annotator", "text")}
        kinds = tuple(kind for kind in Flag.Kind.values if kind in ticked)
        return Wanted(kinds=kinds, least=given.get("least") or 0.0, **texts)


class PairsForm(forms.Form):
    """What the address of the list of pairs asks for; what cannot be read is left out."""

    text = forms.CharField(max_length=200, required=False)

    @classmethod
    def read(cls, data: QueryDict) -> Listed:
        form = cls(data)
        form.is_valid()
        show = data.get("show", "")
        return Listed(show if show in SHOWS else "", form.cleaned_data.get("text") or "")


class OpenForm(forms.Form):
    """Why an adjudicator opens a pair."""

    reason = forms.CharField(max_length=COMMENT_LIMIT, error_messages={"required": "Say why you open this pair."})


class SaveFilterForm(forms.ModelForm[SavedFilter]):
    """A name for the filters in the page's address."""

    class Meta:
        model = SavedFilter
        fields = ("name",)
        error_messages = {"name": {"required": "Give the filters a name."}}
