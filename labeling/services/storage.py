"""What judges and training runs take on disk, and how it is freed. What was said and measured always stays.

The row comes first, then the deletion: what a crash leaves of a folder is deleted by the sweep, or by asking again.
"""

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from genrm_engine.starter import EMBEDDED, FOLDERS
from genrm_engine.weights import ADAPTER
from labeling.errors import LabelingError
from labeling.models import Deployment, JudgeVersion, Project, PrunedWeights, TrainingRun
from labeling.models.judges import JudgeCall
from labeling.services import audit

State = Deployment.State
SNAPSHOT = frozenset({"train.jsonl", "older.jsonl", "holdout.jsonl", "config.json", "rubric.txt"})
"""What a run's folder keeps: the frozen rows, their hash being the run's, and how they were trained on."""

log = structlog.get_logger(__name__)


class CannotPrune(LabelingError):
    """The version's weights are still needed; the message says for what."""


@dataclass(frozen=True)
class Stored:
    """A version's weights on disk. ``kept`` says why they stay; empty where they may go."""

    judge: JudgeVersion
    bytes: int
    kept: str
    pruned: PrunedWeights | None

    @property
    def may_prune(self) -> bool:
        """Also what a broken-off deletion has left may go."""
        return not self.kept and self.bytes > 0


def stored(judges: Collection[JudgeVersion]) -> list[Stored]:
    """What these versions take, in as many queries for thirty as for one."""
    needed = _needed(judges)
    return [
        Stored(one, _size(folder) if (folder := _folder(one.weights)) else 0, needed.get(one.pk, ""), _pruned(one))
        for one in judges
    ]


def prune(judge: JudgeVersion, *, by: User) -> PrunedWeights:
    """Delete the version's weights for good, also for those that share them by being it begun anew.

    Raises CannotPrune with what still needs them. Asked again for a version that is pruned already it deletes what a
    crash has left.
    """
    with transaction.atomic():
        same = same_model(judge)
        list(Deployment.objects.select_for_update().filter(judge__in=same).order_by("pk"))
        kept = _needed([judge]).get(judge.pk)
        if kept:
            raise CannotPrune(f"The weights of {judge} stay: {kept}")
        folder = _folder(judge.weights)
        assert folder is not None, "what has no folder of its own is kept"
        size = _size(folder)
        if not size and not PrunedWeights.objects.filter(judge=judge).exists():
            raise CannotPrune(f"The weights of {judge} do not lie on this disk.")
        row, created = PrunedWeights.objects.get_or_create(judge=judge, defaults={"by": by, "bytes": size})
        if created:
            others = JudgeVersion.objects.filter(pk__in=same, pruned__isnull=True)
            PrunedWeights.objects.bulk_create(PrunedWeights(judge=each, by=by, bytes=0) for each in others)
            audit.record("judge.prune", judge, by=by, bytes=row.bytes)
        transaction.on_commit(partial(_remove, folder))
    return row


def finish_pruning() -> int:
    """Delete what a crash left of pruned versions' folders; returns how many there were."""
    pruned = JudgeVersion.objects.filter(pruned__isnull=False).exclude(weights="")
    found = {judge.pk: folder for judge in pruned if (folder := _folder(judge.weights)) and folder.exists()}
    if not found:
        return 0
    used = _used_folders()
    left = {folder for folder in found.values() if not any(_overlap(folder, other) for other in used.values())}
    return sum(_remove(folder) for folder in left)


def run_bytes(project: Project) -> int:
    """What the folders of the project's finished runs hold beside the frozen rows."""
    return sum(_size(path) for path in _run_rest(project))


@transaction.atomic
def thin_runs(project: Project, *, by: User) -> int:
    """Free what the folders of finished runs hold beside the frozen rows; returns how many bytes that is."""
    rest = list(_run_rest(project))
    size = sum(_size(path) for path in rest)
    if rest:
        audit.record("runs.thin", project, by=by, bytes=size, runs=sorted({path.parent.name for path in rest}))
        transaction.on_commit(partial(_remove_all, rest))
    return size


def _needed(judges: Collection[JudgeVersion]) -> dict[int, str]:
    """By version: why its weights stay. What needs them for a version needs them for it begun anew, too."""
    families = _families()
    asked = set[int]().union(*(families[one.pk] for one in judges))
    every = {one.pk: one for one in JudgeVersion.objects.filter(pk__in=asked)}
    reasons = _reasons(every.values(), families)
    for one in judges:
        others = (pk for pk in sorted(families[one.pk]) if pk in reasons)
        if one.pk not in reasons and (other := next(others, None)) is not None:
            reasons[one.pk] = f"{every[other]} has the same ones, and {reasons[other]}"
    return reasons


def _reasons(judges: Collection[JudgeVersion], families: Mapping[int, Collection[int]]) -> dict[int, str]:
    """By version: what needs itself. Those of its family are among the judges."""
    ids = [one.pk for one in judges]
    reasons: dict[int, str] = {}

    def say(found: Iterable[int | None], reason: str) -> None:
        for pk in found:
            if pk is not None:
                reasons.setdefault(pk, reason)

    say((one.pk for one in judges if _embedded(one)), "they come with Tandem, and new projects begin with them.")
    say((one.pk for one in judges if _folder(one.weights) is None), "they do not lie in this installation’s folder.")
    at_work = Deployment.objects.filter(judge__in=ids)
    say(at_work.filter(state=State.CHAMPION).values_list("judge", flat=True), "it reigns, here or elsewhere.")
    say(at_work.filter(state=State.SHADOW).values_list("judge", flat=True), "it judges beside a champion.")
    say(_last_former_champions(), "it is a last former champion, to which a roll-back returns.")
    for run in TrainingRun.objects.filter(state__in=TrainingRun.ACTIVE):
        say((run.origin_id, run.start_id, run.candidate_id), "a training run is at work with them.")
    waiting = JudgeCall.objects.filter(judge__in=ids, state__in=[JudgeCall.State.WAITING, JudgeCall.State.RUNNING])
    say(waiting.values_list("judge", flat=True), "a call over the API waits for it.")
    say(_adapted(ids), "an adapter of another version needs them.")
    say(_shared(judges, families), "another version uses the same folder.")
    return reasons


def same_model(judge: JudgeVersion) -> set[int]:
    """The version and all that are the same one begun anew, before it and after, by number."""
    return _families()[judge.pk]


def _families() -> dict[int, set[int]]:
    """By version what `same_model` says of it."""
    first: dict[int, int] = {}
    keys: dict[int, tuple[str, ...]] = {}
    families: dict[int, set[int]] = defaultdict(set)
    for pk, parent, *key in JudgeVersion.objects.order_by("pk").values_list("pk", "parent", *JudgeVersion.MODEL):
        keys[pk] = tuple(key)
        first[pk] = first[parent] if parent is not None and keys[parent] == keys[pk] else pk
        families[first[pk]].add(pk)
    return {pk: families[origin] for pk, origin in first.items()}


def _embedded(judge: JudgeVersion) -> bool:
    return judge.weights in FOLDERS.values() or (judge.method == "base" and judge.base_model in EMBEDDED)


def _last_former_champions() -> set[int]:
    """Of every project the version that a roll-back restores."""
    reigned = Deployment.objects.filter(state=State.RETIRED, promoted_at__isnull=False, judge__pruned__isnull=True)
    last: dict[int, int] = {}
    for project, judge in reigned.order_by("-retired_at", "-pk").values_list("project", "judge"):
        last.setdefault(project, judge)
    return set(last.values())


def _adapted(ids: Collection[int]) -> set[int | None]:
    children = JudgeVersion.objects.select_related("parent").filter(parent__in=ids, pruned__isnull=True)
    folders = ((one.parent_id, _folder(one.weights)) for one in children if not one.renews)
    return {parent for parent, folder in folders if folder is not None and (folder / ADAPTER).is_file()}


def _shared(judges: Collection[JudgeVersion], families: Mapping[int, Collection[int]]) -> set[int]:
    used = _used_folders()
    return {
        one.pk
        for one in judges
        if (own := _folder(one.weights))
        and any(_overlap(own, folder) for pk, folder in used.items() if pk not in families[one.pk])
    }


def _used_folders() -> dict[int, Path]:
    """The folders of all versions that are not pruned."""
    living = JudgeVersion.objects.filter(pruned__isnull=True).exclude(weights="")
    folders = ((pk, _folder(weights)) for pk, weights in living.values_list("pk", "weights"))
    return {pk: folder for pk, folder in folders if folder is not None}


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _pruned(judge: JudgeVersion) -> PrunedWeights | None:
    return getattr(judge, "pruned", None)


def _folder(weights: str) -> Path | None:
    """The folder that may be deleted: below the installation's folder of judges, wherever links lead; else None."""
    if not weights:
        return None
    judges = Path(settings.HOME, "judges").resolve()
    folder = Path(settings.HOME, weights).resolve()
    return folder if judges in folder.parents else None


def _run_rest(project: Project) -> Iterable[Path]:
    """Everything that the folders of finished runs hold beside the frozen rows."""
    runs = Path(settings.HOME, "runs").resolve()
    finished = TrainingRun.objects.filter(project=project).exclude(state__in=TrainingRun.ACTIVE)
    for pk in finished.order_by("pk").values_list("pk", flat=True):
        folder = runs / str(pk)
        if folder.is_dir() and not folder.is_symlink():
            yield from (path for path in sorted(folder.iterdir()) if path.name not in SNAPSHOT)


def _size(path: Path) -> int:
    """Bytes of a file or of all files of a folder; what vanishes meanwhile counts nothing."""
    found = [path] if path.is_symlink() or not path.is_dir() else list(path.rglob("*"))
    total = 0
    for one in found:
        try:
            total += 0 if one.is_dir() and not one.is_symlink() else one.lstat().st_size
        except OSError:
            continue
    return total


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        _remove(path)


def _remove(path: Path) -> bool:
    """Delete a file, a link or a folder; True if it is gone. What stays is logged, and tried again."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("could not be deleted", path=str(path), error=str(error))
            return False
    if path.exists():
        log.warning("could not be deleted as a whole", path=str(path))
    return not path.exists()
