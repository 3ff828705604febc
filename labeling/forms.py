"""What people type and press, checked. Knows the words on the buttons, nothing of rows that it would have to fetch."""

from dataclasses import dataclass

from django import forms

from labeling.models import Project

COMMENT_LIMIT = 5000
SHOWN = [("left", "Left"), ("right", "Right"), ("tie", "Tie"), ("both_bad", "Both bad")]
STORED = [("a", "A"), ("b", "B"), ("tie", "Tie"), ("both_bad", "Both bad")]
REPORT_NEEDS = "A report needs a comment: what is wrong with this pair?"
REASON_TOO_LONG = "The reason is too long: 200 characters at most."


@dataclass(frozen=True, slots=True)
class Verdict:
    """A button: what it sends, what it says, the key printed on it, and all keys that press it."""

    value: str
    choice: str
    label: str
    key: str
    keys: str
    strength: int | None = None


TIE = Verdict("tie", "tie", "Tie", "T", "t")
BOTH_BAD = Verdict("both_bad", "both_bad", "Both bad", "X", "x")
PLAIN = (
    Verdict("left", "left", "Left better", "1", "1 ArrowLeft"),
    TIE,
    BOTH_BAD,
    Verdict("right", "right", "Right better", "2", "2 ArrowRight"),
)
GRADED = (
    Verdict("left-much", "left", "Left much better", "1", "1", 2),
    Verdict("left", "left", "Left better", "2", "2 ArrowLeft", 1),
    TIE,
    BOTH_BAD,
    Verdict("right", "right", "Right better", "3", "3 ArrowRight", 1),
    Verdict("right-much", "right", "Right much better", "4", "4", 2),
)


def verdicts_for(project: Project) -> tuple[Verdict, ...]:
    """The buttons of the project's scale, from left to right."""
    return GRADED if project.scale == Project.Scale.GRADED else PLAIN


def revisions_for(project: Project) -> tuple[Verdict, ...]:
    """The buttons after the reveal, with the same keys: each side once, whatever the scale."""
    if project.scale != Project.Scale.GRADED:
        return PLAIN
    left = Verdict("left", "left", "Left better", "2", "1 2 ArrowLeft")
    right = Verdict("right", "right", "Right better", "3", "3 4 ArrowRight")
    return (left, TIE, BOTH_BAD, right)


class CommitForm(forms.Form):
    """A verdict on the pair on the screen."""

    verdict = forms.CharField(max_length=20, error_messages={"required": "Choose a verdict."})
    comment = forms.CharField(max_length=COMMENT_LIMIT, required=False)
    seconds = forms.FloatField(required=False, min_value=0, max_value=7 * 86400)
    idempotency_key = forms.CharField(max_length=64, required=False)

    def __init__(self, *args: object, project: Project, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.verdicts = {verdict.value: verdict for verdict in verdicts_for(project)}

    def clean_verdict(self) -> Verdict:
        try:
            return self.verdicts[self.cleaned_data["verdict"]]
        except KeyError:
            raise forms.ValidationError("This project has no such verdict.") from None


class ReviseForm(forms.Form):
    choice = forms.ChoiceField(choices=SHOWN)


class SkipForm(forms.Form):
    reason = forms.CharField(max_length=200, required=False)


class ReportForm(forms.Form):
    comment = forms.CharField(max_length=COMMENT_LIMIT, error_messages={"required": REPORT_NEEDS})


class SettleForm(forms.Form):
    choice = forms.ChoiceField(choices=STORED, error_messages={"required": "Choose a verdict."})
    reason = forms.CharField(max_length=COMMENT_LIMIT, required=False, widget=forms.Textarea(attrs={"rows": 2}))


class ImportForm(forms.Form):
    file = forms.FileField(
        label="JSON Lines file", widget=forms.FileInput(attrs={"accept": ".jsonl,.ndjson,.json,.txt"})
    )


class RetrainForm(forms.Form):
    method = forms.ChoiceField(choices=Project.RetrainMethod)
