"""Becomes the given command, which ends when the process that started it does. Standard library only, run by path.

`child.py [--nice N] -- COMMAND …`: on Linux the kernel sends SIGTERM when the parent is gone, however it went.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel for a SIGTERM at the parent's end; elsewhere than on Linux the next start cleans up."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


def main(arguments: list[str]) -> None:
    options, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    if options[:1] == ["--nice"]:
        os.nice(int(options[1]))
    die_with_parent()
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
