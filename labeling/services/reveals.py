"""What an annotator is shown of the judge, and when: after the commit, never for hold-out and audit pairs."""

from dataclasses import dataclass
from typing import Literal

from django.utils import timezone

from labeling.models import Claim, Deployment, Judgement, JudgeVersion, Label, Pair, Project, Rationale
from labeling.services import judging, trust
from labeling.services.labels import Shown, to_shown


@dataclass(frozen=True)
class Reveal:
    """The judge's verdict in the order in which the annotator saw the pair; shown and empty: none could be read."""

    state: Literal["hidden", "waiting", "shown"]
    reason: str = ""
    choice: Shown | Literal[""] = ""
    confidence: float = 0.0
    p_left: float = 0.5
    consistent: bool = False
    agrees: bool | None = None
    rationale: str = ""
    rationale_note: str = ""
    rationale_waiting: bool = False
    judge: str = ""
    method: str = ""
    trusted: bool = False


HOLDOUT = Reveal("hidden", reason="This pair measures the judge, so its verdict is never shown.")
NEVER = Reveal("hidden", reason="This project does not show the judge's verdict.")
ASSISTED = Reveal("hidden", reason="The judge's verdict was shown before.")
UNDONE = Reveal("hidden", reason="This label was undone.")
NO_JUDGE = Reveal("hidden", reason="This project has no judge yet.")


def reveal(label: Label) -> Reveal:
    """The judge's verdict on a committed label's pair, or why there is none to see.

    The first time it is shown, the label remembers when and by which judge: what follows is no longer blind. A pair
    not judged yet jumps the judge's queue.
    """
    project = label.pair.project
    if label.pair.unrevealed:
        return HOLDOUT
    if project.reveal == Project.Reveal.NEVER:
        return NEVER
    if project.reveal == Project.Reveal.BEFORE:
        return ASSISTED
    champion = _champion(project)
    if champion is None:
        return NO_JUDGE
    assert label.claim is not None, "only labels from claims are revealed"
    shown = _judged(label.pair, champion, swapped=label.claim.swapped, label=label)
    if shown is None:
        judging.person_waits(label.pair, champion)
        return Reveal("waiting", reason="The judge has not seen this pair yet.", judge=champion.judge.name)
    if shown.rationale_waiting:
        judging.person_waits(label.pair, champion)
    return shown if _mark_revealed(label, champion.judge) else UNDONE


def expected(label: Label) -> bool:
    """Whether something of the judge will be shown after this label; asks no table."""
    return promised(label.pair.project) and not label.pair.unrevealed


def promised(project: Project) -> bool:
    """Whether the project's policy shows the judge after a commit.

    The page of a pair goes by this alone: by what it says before the verdict no pair that measures the judge is told
    from the others.
    """
    return project.reveal == Project.Reveal.AFTER


def before(claim: Claim) -> Reveal | None:
    """The verdict shown before labelling, under the policy `before` only; None where nothing may be shown.

    The claim remembers that it was shown: its label is not blind, whatever the policy is by then.
    """
    project = claim.pair.project
    if project.reveal != Project.Reveal.BEFORE or claim.pair.unrevealed:
        return None
    champion = _champion(project)
    found = _judged(claim.pair, champion, swapped=claim.swapped, label=None) if champion else None
    if found is not None and not claim.assisted:
        Claim.objects.filter(pk=claim.pk).update(assisted=True)
    return found


def _champion(project: Project) -> Deployment | None:
    return Deployment.objects.select_related("judge").filter(project=project, state=Deployment.State.CHAMPION).first()


def _judged(pair: Pair, champion: Deployment, *, swapped: bool, label: Label | None) -> Reveal | None:
    made = {judgement.method: judgement for judgement in Judgement.objects.filter(pair=pair, judge=champion.judge)}
    counted = made.get(champion.counts) or next(iter(made.values()), None)
    if counted is None:
        return None
    rationale, note = _rationale(made.get("cot"), counted, swapped=swapped)
    counts = counted.method == champion.counts  # the deployment is calibrated on this method alone
    p_a = trust.calibrated(champion, counted.p_a) if counts else counted.p_a
    return Reveal(
        "shown",
        choice=to_shown(counted.winner, swapped=swapped) if counted.winner else "",
        confidence=max(p_a, 1 - p_a),
        p_left=1 - p_a if swapped else p_a,
        consistent=counted.consistent,
        agrees=_agrees(counted, label),
        rationale=rationale,
        rationale_note=note,
        rationale_waiting="cot" not in made and "cot" in judging.methods_of(pair.project, champion),
        judge=champion.judge.name,
        method=counted.method,
        trusted=champion.trusted,
    )


def _agrees(counted: Judgement, label: Label | None) -> bool | None:
    """None where one of the two names no response."""
    if label is None or label.final_choice not in ("a", "b") or not counted.winner:
        return None
    return bool(counted.winner == label.final_choice)


def _rationale(cot: Judgement | None, counted: Judgement, *, swapped: bool) -> tuple[str, str]:
    """A rationale whose verdict was counted: the surest one for the shown winner, else the surest, and says so.

    The judge calls the responses A and B in the order in which it read them, which need not be the annotator's: the
    note says which is which.
    """
    if cot is None or not counted.winner:
        return "", ""
    counted_chains = [chain for chain in cot.rationales.all() if chain.verdict]
    agreeing = [chain for chain in counted_chains if chain.verdict == counted.winner]
    chain = max(agreeing or counted_chains, key=_sureness, default=None)
    if chain is None:
        return "", ""
    votes = f"{len(agreeing)} of {len(counted_chains)} sampled rationales end in this verdict."
    if not agreeing:
        votes = "None of the sampled rationales ends in this verdict; this one ends in the other."
    first, second = ("left", "right") if chain.swapped == swapped else ("right", "left")
    return chain.text, f"{votes} It calls the {first} response A and the {second} one B."


def _sureness(chain: Rationale) -> float:
    p_a = 0.5 if chain.p_a is None else chain.p_a
    return p_a if chain.verdict == "a" else 1 - p_a


def _mark_revealed(label: Label, judge: JudgeVersion) -> bool:
    """Whether the verdict may be shown: not where the label was undone meanwhile, for its next verdict is blind."""
    if label.revealed_at is not None:
        return True
    label.revealed_at, label.revealed_judge = timezone.now(), judge
    standing = Label.objects.filter(pk=label.pk, revealed_at=None, withdrawn=False)
    if not standing.update(revealed_at=label.revealed_at, revealed_judge=judge):
        label.refresh_from_db(fields=["revealed_at", "revealed_judge"])
    return label.revealed_at is not None
