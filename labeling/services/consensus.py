"""The pair's current label by people: majority, Dawid–Skene, or what an adjudicator settled. No judge has a say."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from genrm_engine.evaluation import consensus as engine
from labeling.models import Consensus, ConsensusFit, Label, Pair, Project

REFIT_AFTER = 0.05
"""The annotators' reliability is estimated anew when the project has so many more labels, as a share."""
AMBIGUOUS = "tie"
"""What stands for a pair of which no verdict is right; its method says that it is no tie."""

Method = Consensus.Method
BY_VOTES = (Method.MAJORITY, Method.DAWID_SKENE)
VOTING = Q(withdrawn=False) & ~Q(source=Label.Source.ADJUDICATION)
BATCH = 500


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
    """The most frequent choice and its share; if two are equally frequent nobody leads, which is a tie.

    Nor does a response that no more people prefer than find neither better, be it by a tie or because both are bad.
    """
    counts = Counter(choices)
    (first, votes), *others = counts.most_common()
    rivals = [count for _, count in others]
    if first in ("a", "b"):
        rivals.append(counts["tie"] + counts["both_bad"])
    return ("tie" if votes in rivals or votes < max(rivals, default=0) else first), votes / len(choices)


def rater(label: Label) -> str:
    """The name under which a label's author is weighted; names from files and users of the same name stay apart."""
    return f"user {label.annotator_id}" if label.annotator_id else f"file {label.external_annotator}"


def model_of(project: Project) -> engine.DawidSkene | None:
    """The project's fitted annotators, where it wants them and there are enough labels; else the majority decides."""
    if project.consensus_method != Project.ConsensusMethod.DAWID_SKENE:
        return None
    fitted = ConsensusFit.objects.filter(project=project).first()
    return engine.DawidSkene.from_json(fitted.parameters) if fitted and fitted.parameters else None


def fit_is_due(project: Project) -> bool:
    """Whether the project weighs annotators and has enough new labels to estimate their reliability anew."""
    if project.consensus_method != Project.ConsensusMethod.DAWID_SKENE:
        return False
    fitted = ConsensusFit.objects.filter(project=project).values_list("labels", flat=True).first() or 0
    return abs(Label.objects.filter(VOTING, pair__project=project).count() - fitted) > REFIT_AFTER * fitted


def outdate_fit(project: Project) -> None:
    """Another method decides from now on: should the project come back to the weights, each consensus follows anew."""
    ConsensusFit.objects.filter(project=project).update(labels=0)


def refit(project: Project) -> int:
    """Estimate the annotators' reliability from all labels and bring every consensus up to date; returns how many.

    With too few labels for an estimate (see the engine's `fit`) the majority decides. It takes long, and so is no
    transaction: nobody waits for it, and what people do meanwhile stands, weighed as the fit says. One that is killed
    stays due, because only at the end the fit tells its labels, or is dropped where it is wanted no longer.
    """
    fitted = ConsensusFit.objects.filter(project=project)
    if project.consensus_method != Project.ConsensusMethod.DAWID_SKENE:
        changed = _rewrite(project, None)
        fitted.delete()
        return changed
    votes = _votes(Label.objects.filter(VOTING, pair__project=project))
    model = engine.fit({str(pair): each for pair, each in votes.items()})
    _remember(project, model)
    changed = _rewrite(project, model)
    fitted.update(labels=sum(map(len, votes.values())))
    return changed


def _remember(project: Project, model: engine.DawidSkene | None) -> None:
    """Keep the fit. A refused one has no parameters: it is tried again with more labels, not with every label."""
    if model is not None:
        fitted = {"parameters": model.to_json(), "labels": 0}
        ConsensusFit.objects.update_or_create(project=project, defaults=fitted)
        return
    refused = ConsensusFit(project=project, parameters={}, labels=0)
    ConsensusFit.objects.bulk_create(
        [refused], update_conflicts=True, unique_fields=["project"], update_fields=["parameters", "labels"]
    )


def _rewrite(project: Project, model: engine.DawidSkene | None) -> int:
    """Every consensus by votes as the model now says it; returns how many are different.

    Each batch's rows are read before their votes: a later vote or settlement writes its row, which is then left alone.
    """
    by_votes = Consensus.objects.filter(method__in=BY_VOTES).order_by("pair_id")
    pairs = list(by_votes.filter(pair__project=project).values_list("pair_id", flat=True))
    changed = 0
    for start in range(0, len(pairs), BATCH):
        rows = list(by_votes.filter(pair__in=pairs[start : start + BATCH]))
        votes = _votes(Label.objects.filter(VOTING, pair__in=[row.pair_id for row in rows]))
        decided = [(row, _decide(votes[row.pair_id], model)) for row in rows if row.pair_id in votes]
        with transaction.atomic():
            changed += sum(_correct(row, *wanted) for row, wanted in decided)
    return changed


def _correct(row: Consensus, choice: str, confidence: float, method: str) -> bool:
    """Compare-and-set: True if the row said something else and nobody has written it since it was read."""
    if (choice, confidence, method) == (row.choice, row.confidence, row.method):
        return False
    as_read = Consensus.objects.filter(pk=row.pk, updated_at=row.updated_at, method__in=BY_VOTES)
    return bool(as_read.update(choice=choice, confidence=confidence, method=method, updated_at=timezone.now()))


def _votes(labels: QuerySet[Label]) -> dict[int, dict[str, str]]:
    """By pair: what each of its raters says."""
    votes: dict[int, dict[str, str]] = defaultdict(dict)
    for label in labels.order_by("pk").iterator(chunk_size=2_000):
        votes[label.pair_id][rater(label)] = label.final_choice
    return votes


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


def _save(pair: Pair, choice: str, confidence: float, method: str, labels: int) -> Consensus:
    consensus, _created = Consensus.objects.update_or_create(
        pair=pair,
        defaults={"choice": choice, "confidence": confidence, "method": method, "labels": labels, "judge": None},
    )
    return consensus
