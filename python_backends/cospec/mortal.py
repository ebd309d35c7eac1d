"""Becomes a command that gets SIGTERM when the process that started it ends: mortal.py <its pid> <command> ..."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> None:
    """This process gets the signal when the one that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
