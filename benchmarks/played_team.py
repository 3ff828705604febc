"""People played through the running product: sessions that send its forms, and the product they work in."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "a-password-of-a-played-person"


class Person:
    """Somebody at a browser: a session, and forms sent with their token."""

    def __init__(self, url: str, name: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=120, follow_redirects=True)
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
