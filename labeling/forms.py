"""What people type and press, checked. Knows the words on the buttons, nothing of rows that it would have to fetch."""

from dataclasses import dataclass
from hashlib import sha256

from django import forms
from django.http import QueryDict

from labeling.models import Project
from labeling.readers.jsons import BadJson, parse_value
from labeling.services.labels import Given

COMMENT_LIMIT = 5000
MOST_HIGHLIGHTS = 40
LONGEST_QUOTE = 5000
SIDES = [("left", "Left"), ("tie", "Same"), ("right", "Right")]
SHOWN = [("left", "Left"), ("right", "Right"), ("tie", "Tie"), ("both_bad", "Both bad")]
REPORT_NEEDS = f"A report needs a comment of at most {COMMENT_LIMIT:,} characters: what is wrong with this pair?"
REASON_TOO_LONG = "The reason is too long: 200 characters at most."


@dataclass(frozen=True, slots=True)
class Verdict:
    """A button: what it sends, what it means, what it says, and the actions whose keys press it."""

    value: str
    choice: str
    label: str
    actions: tuple[str, ...]
    strength: int | None = None


TIE = Verdict("tie", "tie", "Tie", ("tie",))
BOTH_BAD = Verdict("both_bad", "both_bad", "Both bad", ("both_bad",))
PLAIN = (
    Verdict("left", "left", "Left better", ("left",)),
    TIE,
    BOTH_BAD,
    Verdict("right", "right", "Right better", ("right",)),
)
GRADED = (
    Verdict("left-much", "left", "Left much better", ("left_much",), 2),
    Verdict("left", "left", "Left better", ("left",), 1),
    TIE,
    BOTH_BAD,
    Verdict("right", "right", "Right better", ("right",), 1),
    Verdict("right-much", "right", "Right much better", ("right_much",), 2),
)


def verdicts_for(project: Project) -> tuple[Verdict, ...]:
    """The buttons of the project's scale, from left to right."""
    return GRADED if project.scale == Project.Scale.GRADED else PLAIN


def revisions_for(project: Project) -> tuple[Verdict, ...]:
    """The buttons after the reveal, with the same keys: each side once, whatever the scale."""
    if project.scale != Project.Scale.GRADED:
        return PLAIN
    left = Verdict("left", "left", "Left better", ("left", "left_much"))
    right = Verdict("right", "right", "Right better", ("right", "right_much"))
    return (left, TIE, BOTH_BAD, right)


class CommitForm(forms.Form):
    """A verdict on the pair on the screen, with what the project asks for beside it."""

    verdict = forms.CharField(max_length=20, error_messages={"required": "Choose a verdict."})
    comment = forms.CharField(max_length=COMMENT_LIMIT, required=False)
    highlights = forms.CharField(required=False)
    seconds = forms.FloatField(required=False, min_value=0, max_value=7 * 86400)
    idempotency_key = forms.CharField(max_length=64, required=False)

    def __init__(self, *args: object, project: Project, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.verdicts = {verdict.value: verdict for verdict in verdicts_for(project)}
        self.project = project
        for criterion in project.criteria:
            self.fields[criterion_field(criterion["name"])] = forms.ChoiceField(
                choices=SIDES,
                required=project.criteria_required,
                error_messages={"required": f"{criterion['name']}: say which response is better, or the same."},
            )
        if project.comments == Project.Comments.REQUIRED:
            self.fields["comment"].required = True
            self.fields["comment"].error_messages["required"] = "This project asks for a comment with every verdict."

    def clean_verdict(self) -> Verdict:
        try:
            return self.verdicts[self.cleaned_data["verdict"]]
        except KeyError:
            raise forms.ValidationError("This project has no such verdict.") from None

    def clean_highlights(self) -> list[dict[str, object]]:
        """Passages as the browser marked them. Raises ValidationError where one is not a passage."""
        text = self.cleaned_data["highlights"]
        try:
            found = parse_value(text) or [] if text else []
        except BadJson:
            raise forms.ValidationError("highlights: this is no valid JSON.") from None
        if not isinstance(found, list) or len(found) > MOST_HIGHLIGHTS or not all(map(_is_passage, found)):
            raise forms.ValidationError(
                f"highlights: give at most {MOST_HIGHLIGHTS} passages of the two responses, "
                f"each of at most {LONGEST_QUOTE:,} characters."
            )
        return found if self.project.highlights else []

    def given(self) -> Given:
        """What came with the verdict, for the service."""
        ratings = {
            criterion["name"]: self.cleaned_data[criterion_field(criterion["name"])]
            for criterion in self.project.criteria
            if self.cleaned_data[criterion_field(criterion["name"])]
        }
        data = self.cleaned_data
        return Given(ratings, data["highlights"], data["comment"], data["seconds"])


def criterion_field(name: str) -> str:
    """The form field of the criterion with this name, which keeps its meaning on a page from before a change."""
    return f"criterion-{sha256(name.encode()).hexdigest()[:16]}"


def _is_passage(found: object) -> bool:
    if not isinstance(found, dict) or set(found) != {"side", "start", "end", "quote"}:
        return False
    side, start, end, quote = (found[name] for name in ("side", "start", "end", "quote"))
    return (
        side in ("left", "right")
        and isinstance(start, int)
        and isinstance(end, int)
        and 0 <= start < end
        and isinstance(quote, str)
        and 0 < len(quote) <= LONGEST_QUOTE
    )


class HeldForm(forms.Form):
    """The claims that a browser holds, as "3,17"; what is no list of numbers is an empty one."""

    held = forms.RegexField(regex=r"^\d{1,18}(,\d{1,18}){0,19}$", required=False)

    @classmethod
    def read(cls, data: QueryDict) -> list[int]:
        form = cls(data)
        text = form.cleaned_data["held"] if form.is_valid() else ""
        return [int(number) for number in text.split(",")] if text else []


class UndoForm(forms.Form):
    """The claim that is to be taken back; without one, or with what is no number, the last."""

    claim = forms.IntegerField(min_value=1, max_value=10**18, required=False)

    @classmethod
    def read(cls, data: QueryDict) -> int | None:
        form = cls(data)
        return form.cleaned_data["claim"] if form.is_valid() else None


class ReviseForm(forms.Form):
    choice = forms.ChoiceField(choices=SHOWN)


class SkipForm(forms.Form):
    reason = forms.CharField(max_length=200, required=False)


class ReportForm(forms.Form):
    comment = forms.CharField(max_length=COMMENT_LIMIT, error_messages={"required": REPORT_NEEDS})


class ImportForm(forms.Form):
    file = forms.FileField(label="File with pairs", allow_empty_file=True)


class RetrainForm(forms.Form):
    method = forms.ChoiceField(choices=Project.RetrainMethod)
