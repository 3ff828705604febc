"""The curves of a run in TensorBoard or MLflow, by Transformers' own callbacks; a resumed run goes on in its curves.

A training run is one run there, under its name, with its configuration. Where a method trains more than once (STaR's
iterations, a warm-up before them), each stage is told apart: a folder below the run's in TensorBoard, a prefix of the
curves' names in MLflow. What decides a run's result is not known here: a tracked run computes what any other does.
"""

import importlib.util
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import MLflowCallback, TensorBoardCallback

from genrm_engine.errors import Cancelled, EngineError
from genrm_engine.files import write_json
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.loop import is_main
from genrm_engine.training.tracking import Tracking

EXPERIMENT = "tandem"
LONG = ("rubric",)
"""Fields of a configuration that are texts, not figures to compare runs by."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}

Listening = Callable[[str], Any]
"""A trainer's callback for a stage, by the stage's name."""

log = logging.getLogger(__name__)


@contextmanager
def tracked(tracking: Tracking | None, config: TrainConfig, out: Path, progress: Progress) -> Iterator[None]:
    """While the block runs, each trainer's steps go to the tracker too; of several processes by the main one.

    Raises EngineError, before anything is trained, where the tracker cannot be written to.
    """
    if tracking is None or not is_main():
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    opened = _tensorboard if tracking.library == "tensorboard" else _mlflow
    with opened(tracking, config.resolved(), out) as listening:
        progress.listening = listening
        try:
            yield
        finally:
            progress.listening = None


class StageInTensorBoard(TensorBoardCallback):
    """Writes a stage's curves; the points of a killed run behind its last checkpoint give way to the new ones."""

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        super().__init__()
        self.folder = folder
        self.config = config

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        from torch.utils.tensorboard.summary import hparams

        self.tb_writer = self._SummaryWriter(log_dir=str(self.folder), purge_step=state.global_step + 1)
        compared = {name: value for name, value in _figures(self.config).items() if value is not None}
        for summary in hparams(compared, {"train/loss": 0.0}):  # names the curve to compare by, and writes no point
            self.tb_writer.file_writer.add_summary(summary)
        self.tb_writer.add_text("config", f"```json\n{json.dumps(self.config.to_json(), indent=2)}\n```")
        super().on_train_begin(args, state, control, **known)


class StageInMLflow(MLflowCallback):
    """Adds a stage's curves to the run that is open; steps that it holds already are not written again."""

    def __init__(self, stage: str, known: Callable[[str], int]) -> None:
        super().__init__()
        self.prefix = f"{stage}/" if stage else ""
        self.written = known(f"{self.prefix}loss")

    def setup(self, args: Any, state: Any, model: Any) -> None:  # noqa: ARG002
        """The run is open and has its parameters: those of each trainer would contradict one another."""
        self._async_log = True
        self._initialized = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **known: Any) -> None:
        if logs and state.global_step > self.written:
            named = {f"{self.prefix}{name}": value for name, value in logs.items()}
            super().on_log(args, state, control, named, model=model, **known)


@contextmanager
def _tensorboard(tracking: Tracking, config: TrainConfig, out: Path) -> Iterator[Listening]:
    folder = Path(tracking.where, _remembered(out) or _unused(Path(tracking.where), tracking.name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"track: the folder {folder} cannot be written: {error.strerror}") from error
    _remember(out, folder.name)
    yield lambda stage: StageInTensorBoard(folder / _told_apart(stage, config), config)


@contextmanager
def _mlflow(tracking: Tracking, config: TrainConfig, out: Path) -> Iterator[Listening]:
    for name, value in {**PATIENCE, **QUIET}.items():
        os.environ.setdefault(name, value)
    import mlflow

    failures = _failures()
    try:
        client = _connected(tracking)
        _begun(client, tracking, config, out)
    except failures as error:
        reason = re.sub(r"//[^@/\s]*@", "//", str(error)).strip().splitlines()[0]  # an address may hold a password
        raise EngineError(f"track: MLflow cannot be used: {reason}", permanent=False) from error

    def written(name: str) -> int:
        points = client.get_metric_history(mlflow.active_run().info.run_id, name)
        return max((point.step for point in points), default=0)

    status = "FAILED"
    try:
        yield lambda stage: StageInMLflow(_told_apart(stage, config), written)
        status = "FINISHED"
    except Cancelled:
        status = "KILLED"
        raise
    finally:
        try:
            mlflow.end_run(status)
        except failures as error:  # the judge is trained: a tracker that went away takes nothing from it
            log.warning("MLflow did not hear of the run's end: %s", error)


def _failures() -> tuple[type[Exception], ...]:
    """What MLflow raises where it cannot write: its own errors, the network's and, with a store of its own, those."""
    from mlflow.exceptions import MlflowException

    if importlib.util.find_spec("sqlalchemy") is None:
        return MlflowException, OSError
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, OSError, SQLAlchemyError


def _connected(tracking: Tracking) -> Any:
    """MLflow's client for the tracker's place, its experiment chosen and made where it is new."""
    import mlflow

    where, files = tracking.where, None
    if tracking.folder is not None:
        tracking.folder.mkdir(parents=True, exist_ok=True)
        where, files = (
            f"sqlite:///{tracking.folder.resolve()}/mlflow.db",
            (tracking.folder.resolve() / "files").as_uri(),
        )
    mlflow.set_tracking_uri(where)
    client = mlflow.MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    if client.get_experiment_by_name(name) is None:
        client.create_experiment(name, artifact_location=files)
    mlflow.set_experiment(name)
    return client


def _begun(client: Any, tracking: Tracking, config: TrainConfig, out: Path) -> None:
    """Open the run that ``out`` began before, or a new one with the configuration as its parameters."""
    import mlflow
    from mlflow.exceptions import MlflowException

    known = _remembered(out)
    if known:
        try:
            client.get_run(known)
        except MlflowException:  # another tracker than before, or somebody deleted it
            known = ""
    if known:
        mlflow.start_run(run_id=known)
        return
    run = mlflow.start_run(run_name=tracking.name)
    mlflow.log_params(_figures(config))
    _remember(out, run.info.run_id)


def _told_apart(stage: str, config: TrainConfig) -> str:
    """The stage's name where the method has several; empty for the only one of a method."""
    return "" if stage == config.method else stage


def _figures(config: TrainConfig) -> Mapping[str, Any]:
    return {name: value for name, value in config.to_json().items() if name not in LONG}


def _unused(parent: Path, name: str) -> str:
    """The run's name as a folder's, with a number if another run has it already."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
    names = [plain, *(f"{plain}-{number}" for number in range(2, 1000))]
    return next((one for one in names if not (parent / one).exists()), plain)


def _remembered(out: Path) -> str:
    """How the tracker calls the run that is in ``out``; empty for a new one."""
    try:
        return str(json.loads((out / "tracking.json").read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError):
        return ""


def _remember(out: Path, run: str) -> None:
    write_json(out / "tracking.json", {"run": run})
