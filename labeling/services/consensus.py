"""The pair's current label by people: the majority of the final verdicts, or what an adjudicator settled."""

from collections import Counter

from labeling.models import Consensus, Label, Pair


def refresh(pair: Pair) -> Consensus | None:
    """Recompute the consensus from the labels that stand; None (and no row) if there are none."""
    labels = list(Label.objects.filter(pair=pair, withdrawn=False).order_by("pk"))
    settled = [label for label in labels if label.source == Label.Source.ADJUDICATION]
    if settled:
        return _save(pair, settled[-1].final_choice, 1.0, Consensus.Method.ADJUDICATED, len(labels))
    if not labels:
        Consensus.objects.filter(pair=pair).delete()
        return None
    choice, confidence = majority([label.final_choice for label in labels])
    return _save(pair, choice, confidence, Consensus.Method.MAJORITY, len(labels))


def majority(choices: list[str]) -> tuple[str, float]:
    """The most frequent choice and its share; if two are equally frequent nobody leads, which is a tie."""
    counts = Counter(choices).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return "tie", counts[0][1] / len(choices)
    return counts[0][0], counts[0][1] / len(choices)


def _save(pair: Pair, choice: str, confidence: float, method: Consensus.Method, labels: int) -> Consensus:
    consensus, _created = Consensus.objects.update_or_create(
        pair=pair, defaults={"choice": choice, "confidence": confidence, "method": method, "labels": labels}
    )
    return consensus
