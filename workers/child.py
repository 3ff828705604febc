"""Start the engine's command line so that it dies with the worker that started it. Imports no Django and no Celery.

`python -m workers.child PARENT_PID train …` is `python -m genrm_engine train …`, tied to its parent's life.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie_to(parent: int) -> None:
    """Ask the kernel (on Linux) to kill this process when its parent dies; exit at once if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the worker that started this process is gone")


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    sys.argv = ["genrm_engine", *sys.argv[2:]]
    runpy.run_module("genrm_engine", run_name="__main__", alter_sys=True)
