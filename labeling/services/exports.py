"""Labels on their way out, one at a time: by people, by the judge (synthetic) or their consensus."""

from collections.abc import Iterator
from typing import Any, Literal

from labeling.models import Consensus, Judgement, Label, Pair, Project
from labeling.services import trust
from labeling.services.judging import champion_of
from labeling.services.labels import to_shown

Source = Literal["human", "judge", "consensus"]
Profile = Literal["strict", "full"]

_CHUNK = 1_000


def export(project: Project, *, source: Source, profile: Profile, selective: bool = False) -> Iterator[dict[str, Any]]:
    """Rows in a fixed order, read with flat memory; ``selective``: of the judge's only where it may label alone.

    `strict` has exactly TRL's columns (`prompt`, `chosen`, `rejected` as messages), so ties and both-bad, which have
    no chosen response, are left out. `full` keeps them, with who, how, when and how sure.
    """
    rows = {"human": _human, "judge": _judge, "consensus": _consensus}[source](project)
    for pair, choice, provenance in rows:
        if selective and source == "judge" and not provenance["may_label_alone"]:
            continue
        if profile == "full":
            yield _full(pair, choice, provenance)
        elif choice in ("a", "b"):
            yield _strict(pair, choice)


Labelled = tuple[Pair, str, dict[str, Any]]


def _human(project: Project) -> Iterator[Labelled]:
    labels = Label.objects.select_related("pair", "annotator", "claim", "revealed_judge")
    standing = labels.filter(pair__project=project, withdrawn=False).order_by("pk")
    for label in standing.iterator(chunk_size=_CHUNK):
        claim = label.claim
        yield (
            label.pair,
            label.choice,
            {
                "annotator": label.annotator.get_username() if label.annotator else label.external_annotator,
                "origin": label.source,
                "blind": label.blind,
                "final_choice": label.final_choice,
                "strength": label.strength,
                "criteria": label.criteria,
                "highlights": label.highlights,
                "comment": label.comment,
                "seconds": label.seconds,
                "too_fast": label.too_fast,
                "order_shown": None if claim is None else ("ba" if claim.swapped else "ab"),
                "choice_shown": None if claim is None else to_shown(label.choice, swapped=claim.swapped),
                "revealed_judge": label.revealed_judge.name if label.revealed_judge else None,
                "revealed_at": label.revealed_at.isoformat() if label.revealed_at else None,
                "created_at": label.created_at.isoformat(),
            },
        )


def _judge(project: Project) -> Iterator[Labelled]:
    """The champion's judgements by the method that counts; hold-out pairs too, and each says which part it is of."""
    champion = champion_of(project)
    if champion is None:
        return
    made = Judgement.objects.select_related("pair").filter(
        pair__project=project, judge=champion.judge_id, method=champion.counts
    )
    threshold = trust.labels_alone(champion)
    for judgement in made.order_by("pk").iterator(chunk_size=_CHUNK):
        p_a = trust.calibrated(champion, judgement.p_a)
        yield (
            judgement.pair,
            judgement.winner,
            {
                "judge": champion.judge.name,
                "judge_sha256": champion.judge.weights_sha256,
                "judge_trusted": champion.trusted,
                "prompt_version": champion.judge.prompt_version,
                "prompt_hash": champion.judge.prompt_hash,
                "method": judgement.method,
                "p_a": judgement.p_a,
                "p_a_straight": judgement.p_a_straight,
                "p_a_swapped": judgement.p_a_swapped,
                "confidence": judgement.confidence,
                "p_a_calibrated": p_a,
                "may_label_alone": threshold is not None and max(p_a, 1 - p_a) >= threshold,
                "consistent": judgement.consistent,
                "order_shown": "both",
                "votes_a": judgement.votes_a,
                "votes_b": judgement.votes_b,
                "samples": judgement.samples,
                "unparsed": judgement.unparsed,
                "created_at": judgement.created_at.isoformat(),
            },
        )


def _consensus(project: Project) -> Iterator[Labelled]:
    found = Consensus.objects.select_related("pair", "judge").filter(pair__project=project).order_by("pk")
    for consensus in found.iterator(chunk_size=_CHUNK):
        yield (
            consensus.pair,
            consensus.choice,
            {
                "method": consensus.method,
                "confidence": consensus.confidence,
                "labels": consensus.labels,
                "judge": consensus.judge.name if consensus.judge else None,
                "created_at": consensus.updated_at.isoformat(),
            },
        )


def _strict(pair: Pair, choice: str) -> dict[str, Any]:
    chosen, rejected = (pair.response_a, pair.response_b) if choice == "a" else (pair.response_b, pair.response_a)
    return {
        "prompt": pair.prompt,
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def _full(pair: Pair, choice: str, provenance: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": pair.external_id,
        "prompt": pair.prompt,
        "response_a": pair.response_a,
        "response_b": pair.response_b,
        "model_a": pair.model_a,
        "model_b": pair.model_b,
        "choice": choice,
        "group": pair.group_key,
        "part": pair.part or "train",
        "audit": pair.audit,
        "gold": pair.gold or None,
        "meta": pair.meta,
        "provenance": provenance,
    }
