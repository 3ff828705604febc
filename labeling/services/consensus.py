"""The pair's current label by people: majority, Dawid–Skene, or what an adjudicator settled. No judge has a say."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from django.db import transaction
from django.db.models import QuerySet

from genrm_engine.evaluation import consensus as engine
from labeling.models import Consensus, ConsensusFit, Label, Pair, Project

REFIT_AFTER = 0.05
"""The annotators' reliability is estimated anew when the project has so many more labels, as a share."""
AMBIGUOUS = "tie"
"""What stands for a pair of which no verdict is right; its method says that it is no tie."""

Method = Consensus.Method


def refresh(pair: Pair) -> Consensus | None:
    """Recompute the consensus from the labels that stand; None (and no row by people) if there are none."""
    labels = list(Label.objects.filter(pair=pair, withdrawn=False).order_by("pk"))
    settled = [label for label in labels if label.source == Label.Source.ADJUDICATION]
    if pair.ambiguous:
        return _save(pair, AMBIGUOUS, 1.0, Method.AMBIGUOUS, len(labels))
    if settled:
        return _save(pair, settled[-1].final_choice, 1.0, Method.ADJUDICATED, len(labels))
    if not labels:
        Consensus.objects.filter(pair=pair).exclude(method=Method.JUDGE).delete()
        return None
    choice, confidence, method = _decide({rater(label): label.final_choice for label in labels}, model_of(pair.project))
    return _save(pair, choice, confidence, method, len(labels))


def majority(choices: list[str]) -> tuple[str, float]:
    """The most frequent choice and its share; if two are equally frequent nobody leads, which is a tie."""
    counts = Counter(choices).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return "tie", counts[0][1] / len(choices)
    return counts[0][0], counts[0][1] / len(choices)


def rater(label: Label) -> str:
    """The name under which a label's author is weighted; names from files and users of the same name stay apart."""
    return f"user {label.annotator_id}" if label.annotator_id else f"file {label.external_annotator}"


def model_of(project: Project) -> engine.DawidSkene | None:
    """The project's fitted annotators, where it wants them and there are enough labels; else the majority decides."""
    if project.consensus_method != Project.ConsensusMethod.DAWID_SKENE:
        return None
    fitted = ConsensusFit.objects.filter(project=project).first()
    return engine.DawidSkene.from_json(fitted.parameters) if fitted else None


def fit_is_due(project: Project) -> bool:
    """Whether the project weighs annotators and has enough new labels to estimate their reliability anew."""
    if project.consensus_method != Project.ConsensusMethod.DAWID_SKENE:
        return False
    fitted = ConsensusFit.objects.filter(project=project).values_list("labels", flat=True).first() or 0
    return abs(_voting(project).count() - fitted) > REFIT_AFTER * fitted


@transaction.atomic
def refit(project: Project) -> int:
    """Estimate the annotators' reliability from all labels and bring every consensus up to date; returns how many.

    With too few labels for an estimate (see the engine's `fit`) the majority decides.
    """
    votes: dict[int, dict[str, str]] = defaultdict(dict)
    for label in _voting(project).order_by("pk").iterator(chunk_size=2_000):
        votes[label.pair_id][rater(label)] = label.final_choice
    wanted = project.consensus_method == Project.ConsensusMethod.DAWID_SKENE
    model = engine.fit({str(pair): each for pair, each in votes.items()}) if wanted else None
    if model is None:
        ConsensusFit.objects.filter(project=project).delete()
    else:
        ConsensusFit.objects.update_or_create(
            project=project, defaults={"parameters": model.to_json(), "labels": model.labels}
        )
    return _rewrite(project, votes, model)


def _rewrite(project: Project, votes: Mapping[int, Mapping[str, str]], model: engine.DawidSkene | None) -> int:
    """Every consensus by votes as the model now says it; returns how many are different."""
    changed = []
    by_votes = Consensus.objects.filter(pair__project=project, method__in=(Method.MAJORITY, Method.DAWID_SKENE))
    for row in by_votes.iterator(chunk_size=2_000):
        if row.pair_id not in votes:
            continue
        decided = _decide(votes[row.pair_id], model)
        if decided != (row.choice, row.confidence, row.method):
            row.choice, row.confidence, row.method = decided
            changed.append(row)
    return Consensus.objects.bulk_update(changed, ["choice", "confidence", "method"], batch_size=500)


def _decide(votes: Mapping[str, str], model: engine.DawidSkene | None) -> tuple[str, float, str]:
    """Choice, confidence and method. With a model, two labels that are equally probable are a tie."""
    if model is None:
        return *majority(list(votes.values())), Method.MAJORITY
    shares = engine.posterior(model, votes)
    first, second = _two_best(shares.items())
    tied = second is not None and abs(first[1] - second[1]) < 1e-9
    return ("tie" if tied else first[0]), first[1], Method.DAWID_SKENE


def _two_best(shares: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], tuple[str, float] | None]:
    ranked = sorted(shares, key=lambda each: (-each[1], each[0]))
    return ranked[0], ranked[1] if len(ranked) > 1 else None


def _voting(project: Project) -> QuerySet[Label]:
    standing = Label.objects.filter(pair__project=project, withdrawn=False)
    return standing.exclude(source=Label.Source.ADJUDICATION)


def _save(pair: Pair, choice: str, confidence: float, method: str, labels: int) -> Consensus:
    consensus, _created = Consensus.objects.update_or_create(
        pair=pair,
        defaults={"choice": choice, "confidence": confidence, "method": method, "labels": labels, "judge": None},
    )
    return consensus
