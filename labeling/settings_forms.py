"""What managers set for a project, and users for their keys, checked. Knows nothing of who may."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.forms.boundfield import BoundField
from django.http import QueryDict
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from labeling import keymap
from labeling.models import Project

Criterion = dict[str, str]

MOST_CRITERIA, LONGEST_NAME, LONGEST_ABOUT = 8, 60, 200
SCALES = [
    (Project.Scale.PLAIN, "Left better, tie, both bad, right better"),
    (Project.Scale.GRADED, "The same, and “much better” on either side"),
]
COMMENTS = [(Project.Comments.OPTIONAL, "If the annotator likes"), (Project.Comments.REQUIRED, "With every verdict")]
LIMITS = {"min_value": "At least %(limit_value)s.", "max_value": "At most %(limit_value)s."}
ROUTINGS = [
    (Project.Routing.AUDIT, "A random audit, and otherwise what the judge is least sure of"),
    (Project.Routing.UNCERTAINTY, "What the judge is least sure of; the audit comes last"),
    (Project.Routing.COVERAGE, "A random audit, and otherwise prompts without a label"),
    (Project.Routing.RANDOM, "Everything in random order"),
]
CONSENSUS = [
    (Project.ConsensusMethod.MAJORITY, "The majority"),
    (Project.ConsensusMethod.DAWID_SKENE, "Dawid–Skene: annotators weigh as much as they are reliable"),
]
RETRAIN_METHODS = [
    (Project.RetrainMethod.STAR_DPO, "STaR-DPO: its own rationales, right ones against wrong ones"),
    (Project.RetrainMethod.STAR_SFT, "STaR-SFT: its own right rationales"),
    (Project.RetrainMethod.GENRM, "GenRM: the probability of the verdict; quicker, for it writes few rationales"),
    (Project.RetrainMethod.BRADLEY_TERRY, "Bradley–Terry: a reward model without rationales, for comparison"),
    (Project.RetrainMethod.GRPO, "GRPO: rewards for right verdicts; an experiment that takes long"),
]
RETRAIN_FROM = [
    (Project.RetrainFrom.CHAMPION, "From the champion, on the labels that it has not seen"),
    (Project.RetrainFrom.BASE, "From the judge that the project began with, on all labels"),
]
RETRAIN_LABELS = [
    (Project.RetrainLabels.SOFT, "The share of people for either response"),
    (Project.RetrainLabels.CONSENSUS, "The response that most of them prefer"),
]
REVEALS = [
    (Project.Reveal.AFTER, "After the annotator has committed a verdict"),
    (Project.Reveal.NEVER, "Never"),
    (Project.Reveal.BEFORE, "Before the verdict; labels given so never measure a judge"),
]


class SeenForm(forms.ModelForm[Project]):
    """Comes back with what it showed, so that only what its sender changed is saved, and nothing that others did."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = True

    def shown(self) -> SafeString:
        """What the page shows, for its sender to send along: hidden fields without a place in the layout."""
        values = ((one.html_initial_name, self.data.get(one.html_initial_name, one.initial)) for one in self)
        rows = ((name, "" if value is None else value) for name, value in values)
        return format_html_join("", '<input type="hidden" name="{}" value="{}">', rows)

    def changes(self) -> dict[str, Any]:
        """What its sender changed; all of it where what it showed was not sent along."""
        return {name: value for name, value in self.cleaned_data.items() if self._blind or name in self.changed_data}

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in [] if self._blind else self.changed_data:
            if name in self.cleaned_data and self._moved(self[name]):
                self._refuse(self[name])
        return cleaned

    @property
    def _blind(self) -> bool:
        return self.instance._state.adding or not any(field.html_initial_name in self.data for field in self)

    def _moved(self, bound: BoundField) -> bool:
        """Whether the field holds something else by now than what its sender saw, or wants."""
        field, now = bound.field, bound.initial
        then = field.hidden_widget().value_from_datadict(self.data, self.files, bound.html_initial_name)
        if isinstance(now, str):
            now = field.to_python(_as_stored(now))
        return all(field.has_changed(now, _as_stored(value)) for value in (then, bound.data))

    def _refuse(self, bound: BoundField) -> None:
        """Keep what was typed, name what holds by now, and take that as seen: sent once more, it is meant so."""
        now, typed = (_in_words(bound, value) for value in (bound.initial, bound.data))
        self.add_error(bound.name, f"It was changed to {now} meanwhile; here it is {typed}. Save again to have it so.")
        seen, data = bound.field.prepare_value(bound.initial), cast(QueryDict, self.data).copy()
        data.setlist(bound.html_initial_name, seen if isinstance(seen, list) else ["" if seen is None else seen])
        self.data = data


def _as_stored(value: Any) -> Any:
    """A text with the line ends that it has where no browser sent it."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def _in_words(bound: BoundField, value: Any) -> str:
    """A field's value as its page has it."""
    if isinstance(bound.field, forms.BooleanField):
        return "on" if bound.field.to_python(value) else "off"
    known = {str(key): str(label) for key, label in getattr(bound.field, "choices", ())}
    found = bound.field.prepare_value(value)
    several = found if isinstance(found, list) else [] if found is None else [found]
    words = [known.get(str(one), str(one)) for one in several]
    return f"“{', '.join(words)}”" if any(words) else "empty"


class SettingsForm(SeenForm):
    """The settings of a project that can change while people label."""

    scale = forms.ChoiceField(
        choices=SCALES,
        widget=forms.RadioSelect,
        help_text="The verdicts that annotators choose from. Labels given so far stay as they are.",
    )
    criteria = forms.CharField(
        required=False,
        strip=False,  # a blank first line counts, so that the numbers of bad lines are right
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="What annotators compare besides the whole: one a line, as “Name: what to compare”, eight at most. "
        "Labels keep their answers to a criterion that is removed.",
    )
    gold_every = forms.IntegerField(
        label="Gold questions: one pair in",
        required=False,
        min_value=2,
        max_value=1000,
        error_messages=LIMITS,
        help_text="Gold questions have a known right verdict. Empty: they come as the random order brings them.",
    )
    least_seconds = forms.IntegerField(
        label="Too fast below, in seconds",
        min_value=0,
        max_value=600,
        error_messages=LIMITS,
        help_text="A verdict that took less is marked as too fast, never blocked. 0 marks none.",
    )
    overlap = forms.IntegerField(
        label="People per pair",
        min_value=1,
        max_value=50,
        error_messages=LIMITS,
        help_text="How many people label each pair. Raising it opens finished pairs again, and no label is ever lost.",
    )
    routing = forms.ChoiceField(
        label="Which pair comes next",
        choices=ROUTINGS,
        widget=forms.RadioSelect,
        help_text="Hold-out pairs come up at random in any case. A judge below the trust floor has no say here.",
    )
    consensus_method = forms.ChoiceField(
        label="Where several people label a pair",
        choices=CONSENSUS,
        widget=forms.RadioSelect,
        help_text="How their verdicts become one. Too few labels to tell who is reliable: the majority.",
    )
    wished_agreement = forms.FloatField(
        label="Agreement wished of the judge, in per cent",
        min_value=50,
        max_value=99,
        error_messages=LIMITS,
        help_text="From which confidence on it agrees with people that often is measured on the hold-out.",
    )
    samples_per_order = forms.IntegerField(
        label="Rationales of the judge for each pair, in either order",
        min_value=0,
        max_value=16,
        error_messages=LIMITS,
        help_text="They take most of the judge's time; one is shown after the verdict. 0: scores only, but where the "
        "judge counts by its rationales it writes one. What was judged stays.",
    )
    comments = forms.ChoiceField(
        choices=COMMENTS, widget=forms.RadioSelect, help_text="When a verdict comes with a sentence of explanation."
    )
    retrain_method = forms.ChoiceField(
        label="Method",
        choices=RETRAIN_METHODS,
        widget=forms.RadioSelect,
        help_text="Of runs that start by themselves; whoever presses the button may choose another. The small judge "
        "that comes with Tandem has learnt real labels by GenRM and Bradley–Terry; STaR needs one that reasons well.",
    )
    retrain_after = forms.IntegerField(
        label="After new labels",
        required=False,
        min_value=1,
        max_value=1_000_000,
        error_messages=LIMITS,
        help_text="So many blind labels after the last run was asked for, the next one starts. Empty: never.",
    )
    retrain_every_days = forms.IntegerField(
        label="Every so many days",
        required=False,
        min_value=1,
        max_value=3650,
        error_messages=LIMITS,
        help_text="Counted from when the last run was asked for. A run that lacks labels waits for them. Empty: never.",
    )
    retrain_from = forms.ChoiceField(
        label="Where a run starts",
        choices=RETRAIN_FROM,
        widget=forms.RadioSelect,
        help_text="From the champion takes less time: only new labels and those repeated train. Else all train anew.",
    )
    replay_share = forms.FloatField(
        label="Older labels repeated, in per cent of the new ones",
        min_value=0,
        max_value=1000,
        error_messages=LIMITS,
        help_text="So that a judge that is trained further does not forget. 50 repeats one for every two new ones.",
    )
    retrain_labels = forms.ChoiceField(
        label="What is learnt where several people labelled a pair",
        choices=RETRAIN_LABELS,
        widget=forms.RadioSelect,
        help_text="The share keeps their doubt (GenRM and Bradley–Terry); the majority makes every pair clear-cut.",
    )
    reveal = forms.ChoiceField(
        label="When the judge is shown",
        choices=REVEALS,
        widget=forms.RadioSelect,
        help_text="Only verdicts given before the judge was seen can tell whether it is right.",
    )

    class Meta:
        model = Project
        fields = [
            "name", "guidelines", "scale", "criteria", "criteria_required", "comments", "highlights", "overlap",
            "gold_every", "least_seconds", "reveal", "routing", "consensus_method", "wished_agreement", "judge_labels",
            "samples_per_order", "retrain_method", "retrain_after", "retrain_every_days", "retrain_from",
            "replay_share", "retrain_labels",
        ]  # fmt: skip
        labels = {
            "criteria_required": "Every criterion must be answered",
            "highlights": "Annotators may mark passages",
            "judge_labels": "The judge labels alone where it keeps that agreement",
        }
        help_texts = {
            "name": "What people see in their list of projects.",
            "guidelines": "What makes a response better, in Markdown; annotators read it, and so does the judge.",
            "criteria_required": "A verdict is refused until each criterion has an answer.",
            "highlights": "Words they mark in a response are kept with the label as evidence.",
            "judge_labels": "Nobody is asked for those pairs, hold-out and audit aside. Its labels stay marked as the "
            "judge's, and neither train nor measure a judge.",
        }
        widgets = {"guidelines": forms.Textarea(attrs={"rows": 9})}

    def __init__(self, data: object, *, instance: Project) -> None:
        initial = {
            "criteria": criteria_text(instance.criteria),
            "wished_agreement": f"{100 * instance.wished_agreement:g}",
            "replay_share": f"{100 * instance.replay_share:g}",
        }
        super().__init__(data, instance=instance, initial=initial)

    def clean_wished_agreement(self) -> float:
        return round(float(self.cleaned_data["wished_agreement"]) / 100, 4)

    def clean_replay_share(self) -> float:
        return round(float(self.cleaned_data["replay_share"]) / 100, 4)

    def clean_criteria(self) -> list[Criterion]:
        return parse_criteria(self.cleaned_data["criteria"])


def criteria_text(criteria: list[Criterion]) -> str:
    """Criteria as they are typed."""
    return "\n".join(f"{criterion['name']}: {criterion['about']}" for criterion in criteria)


def parse_criteria(text: str) -> list[Criterion]:
    """The criteria of a text, one a line. Raises ValidationError with the number of every bad line."""
    found: dict[str, Criterion] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, about = (part.strip() for part in line.partition(":"))
        if problem := _problem(name, colon, about, found):
            problems.append(f"Line {number}: {problem}")
        elif colon:
            found[name.casefold()] = {"name": name, "about": about}
    if problems:
        raise forms.ValidationError(problems)
    return list(found.values())


def _problem(name: str, colon: str, about: str, found: dict[str, Criterion]) -> str:
    """What is wrong with a line; nothing if it is good or blank."""
    if not (name or colon):
        return ""
    if not (name and about):
        return "write it as “Name: what to compare”."
    if len(name) > LONGEST_NAME or len(about) > LONGEST_ABOUT:
        return f"too long: at most {LONGEST_NAME} characters for the name and {LONGEST_ABOUT} after the colon."
    if not (name + about).isprintable():
        return "it holds a character that cannot be shown."
    if name.casefold() in found:
        return f"there is a criterion “{found[name.casefold()]['name']}” already."
    return f"there are {MOST_CRITERIA} criteria already, and that is the most." if len(found) == MOST_CRITERIA else ""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A line of the keys page: an action, its default keys as printed, and the field for the user's own."""

    action: keymap.Action
    plain: list[str]
    graded: list[str]
    field: BoundField


class KeysForm(forms.Form):
    """One key of one's own for each action; empty: the default."""

    GROUPS = (
        ("Verdicts", "left_much left tie both_bad right right_much"),
        ("Going on", "keep undo skip flag"),
        ("With the verdict", "comment criteria highlight"),
        ("Reading", "diff expand guidelines keys"),
    )

    def __init__(self, data: object = None, *, initial: dict[str, str]) -> None:
        super().__init__(data, initial=initial)  # type: ignore[arg-type]
        self.own: dict[str, str] = {}
        for action in keymap.ACTIONS:
            self.fields[action.name] = forms.CharField(label=action.label, required=False, max_length=20, strip=False)

    def clean(self) -> dict[str, object]:
        cleaned = {name: str(self.cleaned_data.get(name, "")) for name in self.fields}
        self.own, wrong = keymap.check(cleaned)
        for name, problem in wrong.items():
            self.add_error(name, problem)
        return dict(cleaned)

    def groups(self) -> Iterator[tuple[str, list[KeyRow]]]:
        """The rows of the page under their headings."""
        for heading, names in self.GROUPS:
            yield heading, [self._row(keymap.BY_NAME[name]) for name in names.split()]

    def _row(self, action: keymap.Action) -> KeyRow:
        plain = [keymap.shown(key) for key in action.on(graded=False)]
        graded = [keymap.shown(key) for key in action.on(graded=True)]
        return KeyRow(action, plain, graded if graded != plain else [], self[action.name])
