"""The typed environment of Tandem: every setting a person may change, checked by name. Knows nothing of Django."""

import importlib.util
import os
import secrets
from pathlib import Path

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from genrm_engine.training import tracking as trackers


class Env(BaseSettings):
    """Settings read from `TANDEM_*` variables (and the few conventional names without the prefix)."""

    model_config = SettingsConfigDict(env_prefix="TANDEM_", extra="ignore", populate_by_name=True)

    home: Path = Field(default=Path(".tandem"), description="data folder: database, judges, runs, keys")
    debug: bool = Field(default=False, description="Django's debug pages; never on a server others can reach")
    secret_key: str = Field(default="", description="signing key; generated and kept in the data folder if empty")
    allowed_hosts: str = Field(default="127.0.0.1,localhost,[::1]", description="comma-separated host names")
    csrf_trusted_origins: str = Field(default="", description="comma-separated origins behind a TLS proxy")
    secure_cookies: bool = Field(default=False, description="cookies over HTTPS only; set behind a TLS proxy")
    proxies: int = Field(
        default=0, ge=0, description="proxies before Tandem; `X-Forwarded-For` is believed as far as they wrote it"
    )
    database_url: str = Field(
        default="", validation_alias="DATABASE_URL", description="postgresql://…; SQLite if empty"
    )
    redis_url: str = Field(default="", validation_alias="REDIS_URL", description="redis://…; embedded Valkey if empty")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")

    judge_backend: str = Field(
        default="transformers", description="backend of the resident judge: transformers or scripted"
    )
    judge_model: str = Field(
        default="embedded",
        description="first judge: embedded (the starter), embedded-base (the bare model), a folder or a scripted name",
    )
    judge_servers: str = Field(
        default="", description="comma-separated hosts on which managers may connect a judge; empty: any"
    )
    demo: str = Field(
        default="demo/pairs.jsonl",
        description="pairs of the demo project that the first start loads, from Tandem's folder; empty: no demo",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    judge_threads: int = Field(
        default=0, ge=0, description="CPU threads of the judge; 0 leaves one core to the web server"
    )
    prompt_tokens: int = Field(
        default=1536, ge=256, description="tokens of a prompt for a judge that runs here; longer texts are shortened"
    )
    server_prompt_tokens: int = Field(
        default=6144, ge=256, description="the same for a judge on a server, counted as three bytes a token"
    )
    training_tokens: int = Field(
        default=1024, ge=256, description="pairs whose prompt is longer than so many tokens train no judge"
    )
    train_threads: int = Field(
        default=0, ge=0, description="CPU threads of a training run; 0 uses every core (`make run`: at low priority)"
    )
    learning_rate: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="peak learning rate of training runs; 0: the method's, refused above a billion parameters",
    )
    least_steps: int = Field(default=200, ge=1, description="steps of a GenRM run on few labels, at most three passes")
    tracking: str = Field(
        default="", description="tensorboard or mlflow: where the curves of training runs go too; empty: nowhere"
    )
    tracking_uri: str = Field(
        default="",
        validate_default=True,
        description="folder, or address of an MLflow server; the data folder's `tracking/` if empty",
    )
    datasets_folder: str = Field(
        default="", description="folder on this server from which managers import data sets; empty: none"
    )
    hub_datasets: bool = Field(default=False, description="managers may import data sets by their name on the hub")
    upload_gib: float = Field(default=10.0, gt=0, description="GiB that one upload of pairs may have")
    unpacked_gib: float = Field(default=20.0, gt=0, description="GiB that an uploaded file may hold when unpacked")
    api_requests: int = Field(default=12_000, ge=1, description="requests a minute that a token of the API may make")
    lease_seconds: int = Field(default=600, ge=5, description="how long a pair stays with an annotator unrenewed")
    reserve_seconds: int = Field(default=120, ge=5, description="how long a pair waits in a browser, not yet shown")
    judge_lease_seconds: int = Field(default=120, ge=2, description="how long a chunk stays with a judge worker")
    run_lease_seconds: int = Field(default=60, ge=2, description="how long a training run stays with a silent worker")
    sweep_seconds: float = Field(default=10.0, gt=0, description="interval of the sweep that re-sends waiting work")
    policy_seconds: float = Field(default=30.0, gt=0, description="interval of the retraining policy's check")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("judge_backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        if value not in {"transformers", "scripted"}:
            raise ValueError("must be transformers or scripted")
        return value

    @field_validator("tracking")
    @classmethod
    def _known_tracker(cls, value: str) -> str:
        if problem := value and (trackers.unknown(value) or _missing(value, ANYWHERE)):
            raise ValueError(problem)
        return value

    @field_validator("tracking_uri")
    @classmethod
    def _fits_the_tracker(cls, value: str, info: ValidationInfo) -> str:
        library = info.data.get("tracking", "")
        if problem := library and (trackers.misplaced(library, value or "tracking") or _missing(library, value)):
            raise ValueError(problem)
        return value

    @property
    def track(self) -> str:
        """What the engine's `--track` takes; empty where curves go nowhere else."""
        where = self.tracking_uri or str(self.home / "tracking")
        place = where if trackers.is_address(where) else str(Path(where).resolve())
        return f"{self.tracking}:{place}" if self.tracking else ""


ANYWHERE = "any://address"


def _missing(library: str, where: str) -> str:
    """Which of the tracker's libraries is missing, on a machine that trains: a web server alone needs none."""
    return trackers.missing(library, where) if importlib.util.find_spec("trl") is not None else ""


def read_env() -> Env:
    """The environment, or an exit with one line for each bad setting, named."""
    try:
        return Env()
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][0])
            alias = Env.model_fields[name].validation_alias if name in Env.model_fields else name
            shown = alias or f"TANDEM_{name.upper()}"
            lines.append(f"{shown}: {problem['msg']} (got {problem['input']!r})")
        raise SystemExit("Tandem's settings are not usable:\n  " + "\n  ".join(lines)) from None


def secret_key(env: Env) -> str:
    """The signing key: from the environment, or generated once and kept in the data folder (mode 0600)."""
    if env.secret_key:
        return env.secret_key
    path = env.home / "secret_key"
    try:
        if not path.exists():
            env.home.mkdir(parents=True, exist_ok=True)
            write_private(path, secrets.token_urlsafe(50))
        return path.read_text().strip()
    except OSError as error:
        raise SystemExit(f"TANDEM_HOME: the data folder {env.home} is not usable: {error.strerror}") from None


def uploads_folder(env: Env) -> Path:
    """Where uploaded files lie from their first byte on: `/tmp` is often memory, and smaller than one upload may be."""
    folder = env.home.resolve() / "imports"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"TANDEM_HOME: the data folder {env.home} is not usable: {error.strerror}") from None
    return folder


def redis_url(env: Env) -> str:
    """The broker's address: from the environment, or where `make run` said that its embedded Valkey listens."""
    if env.redis_url:
        return env.redis_url
    path = env.home / "redis_url"
    return path.read_text().strip() if path.exists() else "redis://127.0.0.1:6379/0"


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read; the name appears only once the content is complete."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
