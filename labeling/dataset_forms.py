"""What a manager asks of a frozen dataset, on the page. The rules are the export's own; here they find their field."""

from typing import Any

from django import forms

from labeling.errors import ExportRefused
from labeling.services.exports.asked import ask

SOURCES = [
    ("consensus", "The consensus: one label a pair"),
    ("human", "People’s own labels: one row for each annotator"),
    ("hybrid", "People’s consensus, and the judge’s labels where it may label alone"),
    ("judge", "The judge’s labels (synthetic)"),
]
FORMS = [
    ("full", "Everything, with provenance"),
    ("preference", "Prompt, chosen, rejected: DPO"),
    ("reward", "With margin and scores: reward model"),
    ("kto", "One response a row: KTO"),
    ("sft", "The chosen response alone: SFT"),
    ("prompt", "Each prompt once: GRPO"),
]
FORMATS = [("ndjson", "NDJSON"), ("parquet", "Parquet"), ("csv", "CSV")]
TIES = [("", "As usual: all kept with provenance, else dropped"), ("drop", "Drop"), ("keep", "Keep"), ("soft", "Soft")]
VERDICTS = [("", "The first, before the judge was seen"), ("final", "The final one")]


class FreezeForm(forms.Form):
    """A name, and what the version holds."""

    name = forms.CharField(
        max_length=100,
        help_text="Letters, digits, dot, hyphen, underscore. A version keeps its name, and its file never changes.",
    )
    source = forms.ChoiceField(label="Labels", choices=SOURCES, widget=forms.RadioSelect, initial="consensus")
    form = forms.ChoiceField(label="Rows", choices=FORMS, help_text="What the file is for decides its columns.")
    format = forms.ChoiceField(label="File", choices=FORMATS, help_text="Trainers read NDJSON and Parquet.")
    ties = forms.ChoiceField(
        required=False,
        choices=TIES,
        help_text="Soft adds the probability that the chosen response is better, one half for a tie.",
    )
    verdict = forms.ChoiceField(
        label="Which verdict", required=False, choices=VERDICTS, help_text="Of people’s own labels."
    )
    blind = forms.BooleanField(
        label="Only blind labels", required=False, help_text="Of people’s own labels; adjudications are left out too."
    )
    min_confidence = forms.FloatField(
        label="At least this sure, in %",
        required=False,
        min_value=0,
        max_value=100,
        help_text="Of the consensus, or of the judge after its calibration. Empty: all.",
    )
    selective = forms.BooleanField(
        label="Only where the judge may label alone",
        required=False,
        help_text="Of the judge’s labels those from the confidence on at which it keeps the wished agreement.",
    )
    rationales = forms.BooleanField(
        label="With the judge’s rationales", required=False, help_text="Of the judge’s labels, with provenance."
    )
    judge = forms.CharField(
        label="Judge version", max_length=100, required=False, help_text="Its name. Empty: the champion of now."
    )

    def clean(self) -> dict[str, Any]:
        """Refuse what does not go together, at the field that it is about."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                ask(**self.options())
            except ExportRefused as error:
                self.refuse(error)
        return cleaned

    def options(self) -> dict[str, Any]:
        """The form's answers as the export's options."""
        data = dict(self.cleaned_data)
        data.pop("name", None)
        form = data.pop("form")
        least = data.pop("min_confidence")
        form_of = {"profile": "full"} if form == "full" else {"profile": "strict", "shape": form}
        return {**data, **form_of, "min_confidence": None if least is None else least / 100}

    def refuse(self, error: ExportRefused) -> None:
        """Show why, at the field if the form has it."""
        named = {"shape": "form", "profile": "form"}.get(error.field, error.field)
        self.add_error(named if named in self.fields else None, f"{error.reason[:1].upper()}{error.reason[1:]}.")
