"""Brings models back whose process has died: Triton refuses their calls and does not start them again."""

import threading
from collections.abc import Callable
from pathlib import Path

import psutil

INTERVAL = 0.5  # seconds between two looks


class Supervisor(threading.Thread):
    """Looks at the model processes of a running Triton until `end`."""

    def __init__(self, triton_pid: int, reload: Callable[[str], None]) -> None:
        """`reload` gets the name of a model."""
        super().__init__(name="supervisor", daemon=True)
        self._triton = psutil.Process(triton_pid)
        self._reload = reload
        self._models: dict[int, str] = {}  # process -> model
        self._suspects: set[int] = set()
        self._ending = threading.Event()
        self.look()

    def run(self) -> None:
        while not self._ending.wait(INTERVAL):
            for model in self.look():
                self._reload(model)

    def end(self) -> None:
        self._ending.set()
        if self.is_alive():
            self.join()

    def look(self) -> list[str]:
        """Models that are dead. Seen twice: one that is unloaded in good order is dead for a moment too."""
        try:
            children = self._triton.children()
        except psutil.NoSuchProcess:
            return []
        dead = {child.pid for child in children if self._is_dead(child)}
        confirmed = dead & self._suspects
        self._suspects = dead - confirmed
        return [self._models.pop(pid) for pid in sorted(confirmed) if pid in self._models]

    def _is_dead(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return process.pid in self._models
            self._models.setdefault(process.pid, model_of(process.cmdline()))
        except psutil.NoSuchProcess:
            return False
        return False


def model_of(command: list[str]) -> str:
    """Of a Python backend's process: its second argument is <repository>/<model>/<version>/<file>."""
    return Path(command[1]).parent.parent.name if len(command) > 1 else ""
