"""People played through the running product: sessions that send its forms, a team of them, the product they work in."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from labeling.models import Deployment

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "a-password-of-a-played-person"
MIRROR = {"a": "b", "b": "a"}
SHOWN = {"a": "left", "b": "right"}

Row = dict[str, Any]


class Person:
    """Somebody at a browser: a session, and forms sent with their token."""

    def __init__(self, url: str, name: str) -> None:
        kept = httpx2.Limits(keepalive_expiry=1)  # for less long than the server keeps an idle connection
        self.http = httpx2.Client(base_url=url, timeout=120, follow_redirects=True, limits=kept)
        self.get("/login/")
        self.post("/login/", username=name, password=PASSWORD)

    def get(self, path: str) -> str:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.text

    def post(self, path: str, *, file: bytes = b"", **fields: str) -> str:
        headers = {"X-CSRFToken": self.http.cookies.get("csrftoken") or "", "Referer": str(self.http.base_url)}
        files = {"file": ("pairs.jsonl", file)} if file else None
        answer = self.http.post(path, data=fields, files=files, headers=headers)
        answer.raise_for_status()
        return answer.text

    def next_claim(self, project: str) -> int | None:
        """The claim on the label screen; None when there is nothing to label."""
        found = re.search(r'action="/claims/(\d+)/label/"', self.get(f"/p/{project}/label/"))
        return int(found[1]) if found else None


class Product:
    """`run_tandem` in a data folder of its own, and a record of what was done in it and how long it took."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "run.log"
        self.steps: dict[str, dict[str, Any]] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run_tandem"],
                cwd=ROOT,
                env={**os.environ, "PORT": str(self.port)},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            self.wait(lambda: f"Tandem is ready: {self.url}" in self.log.read_text(), "the product to start", 300)
            yield
        finally:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def shell(self, code: str) -> None:
        """Run code in the product's own environment: what it changes is followed up by the product's workers."""
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", code], cwd=ROOT, check=True
        )

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a step and keep what is said about it."""
        start = time.monotonic()
        said: dict[str, Any] = {}
        print(f"{name} …", flush=True)
        yield said
        self.steps[name] = {**said, "seconds": round(time.monotonic() - start, 1)}
        print(f"  {json.dumps(self.steps[name], default=str)[:400]}", flush=True)

    def wait(self, done: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process is not None, "it was started"
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"waited in vain for {what}:\n{self.log.read_text()[-3000:]}")
            time.sleep(1)


class Team:
    """Annotators who say what a file says, an adjudicator who knows its consensus and a manager, in one project."""

    def __init__(self, product: Product, slug: str, annotators: Sequence[str], rows: list[Row]) -> None:
        """``rows`` hold the ``labels`` of each annotator and the consensus ``gold`` beside their ``id``."""
        self.product, self.slug, self.annotators = product, slug, annotators
        self.said = {str(row["id"]): {one["annotator"]: one["choice"] for one in row["labels"]} for row in rows}
        self.gold = {str(row["id"]): str(row["gold"]) for row in rows}

    def found(self, **settings: Any) -> None:
        """The team's members and its project, with these settings."""
        from django.contrib.auth.models import User

        from labeling.models import Member, Project

        self.project = Project.objects.create(
            slug=self.slug, name="A team", overlap=len(self.annotators), reveal=Project.Reveal.NEVER, **settings
        )
        roles = {"manager": "manager", "adjudicator": "adjudicator", **dict.fromkeys(self.annotators, "annotator")}
        for name, role in roles.items():
            user = User.objects.create_user(name, password=PASSWORD)
            Member.objects.create(project=self.project, user=user, role=role)
        self.people = {name: Person(self.product.url, name) for name in roles}

    def import_pairs(self, rows: list[Row]) -> dict[str, int]:
        """Import what is to be labelled, as a file; how many pairs were drawn for what."""
        from labeling.models import Pair

        lines = "\n".join(json.dumps(row) for row in rows)
        self.people["manager"].post(f"/p/{self.slug}/import/", file=lines.encode())
        pairs = Pair.objects.filter(project=self.project)
        assert pairs.count() == len(rows), "every row is a pair"
        drawn = pairs.values_list("part", "audit")
        return dict(Counter((part or "training") + (", audit" if audit else "") for part, audit in drawn))

    def wait_until_judged(self) -> "Deployment":
        """The champion, once it has judged every pair, and its figures are of all hold-out labels."""
        from labeling.models import Judgement, Pair
        from labeling.services import trust
        from labeling.services.judging import champion_of

        champion = champion_of(self.project)
        assert champion is not None, "the import made one"
        judged = Judgement.objects.filter(judge=champion.judge, pair__project=self.project, method=champion.counts)
        pairs = Pair.objects.filter(project=self.project).count()
        self.product.wait(lambda: judged.count() >= pairs, "the judge's labels", 3600)

        def measured() -> bool:
            champion.refresh_from_db()
            return not trust.is_stale(champion)

        self.product.wait(measured, "the judge's figures", 300)
        return champion

    def label_next(self, name: str) -> str | None:
        """The annotator labels the next pair as the file says; why it came, or None if nothing is left for them."""
        from labeling.models import Claim

        claim_id = self.people[name].next_claim(self.slug)
        if claim_id is None:
            return None
        claim = Claim.objects.select_related("pair").get(pk=claim_id)
        choice = self.said[claim.pair.external_id][name]
        stored = MIRROR.get(choice, choice) if claim.swapped else choice
        verdict = SHOWN.get(stored, stored)
        self.people[name].post(f"/claims/{claim_id}/label/", verdict=verdict, seconds="12")
        return str(claim.reason)

    def wait_for_consensus(self) -> None:
        """Every labelled pair has its consensus."""
        from labeling.models import Pair

        labelled = Pair.objects.filter(project=self.project, labels__isnull=False)
        waiting = labelled.filter(consensus__isnull=True)
        self.product.wait(lambda: not waiting.exists(), "every consensus", 600)

    def token(self, *, scope: str) -> str:
        """A new API token of the manager."""
        from django.contrib.auth.models import User

        from labeling.services import tokens

        return tokens.create_token(User.objects.get(username="manager"), name="played team", scope=scope)

    def exported(self, source: str, *, token: str) -> list[Row]:
        """The labels of a source as they leave through REST."""
        path = f"/api/v1/projects/{self.slug}/labels?source={source}&profile=full"
        answer = self.people["manager"].http.get(path, headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]


def standing(champion: "Deployment") -> dict[str, Any]:
    """What is known of a judge, in short."""
    from labeling.models import Consensus

    measured, thresholds = champion.measured, champion.thresholds
    names = ("n", "accuracy", "accuracy_low", "accuracy_high", "consistency", "longer_wins", "ece")
    return {
        "judge": champion.judge.name,
        "trusted": champion.trusted,
        **{name: measured.get(name) for name in names},
        "temperature": champion.calibration.get("temperature"),
        "selection": {name: value for name, value in thresholds.items() if name != "tested"},
        "labels_of_the_judge_alone": Consensus.objects.filter(judge=champion.judge).count(),
    }
