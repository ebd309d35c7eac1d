"""Brings models back whose process has died: Triton refuses their calls and does not start them again."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

INTERVAL = 0.5  # seconds between two looks
FIRST_PATIENCE, MOST_PATIENCE = 2, 64  # looks that a reloaded model may take to be seen alive, before the next reload


@dataclass
class _Reloaded:
    """A model that has not been seen alive since."""

    looks: int = 0
    patience: int = FIRST_PATIENCE


class Supervisor(threading.Thread):
    """Looks at the model processes of a running Triton until `end`."""

    def __init__(self, triton: psutil.Process, reload: Callable[[str], None]) -> None:
        """`reload` gets the name of a model, again and again at growing intervals until its process is seen."""
        super().__init__(name="supervisor", daemon=True)
        self._triton = triton
        self._reload = reload
        self._models: dict[int, str] = {}  # process -> model
        self._suspects: set[int] = set()
        self._reloaded: dict[str, _Reloaded] = {}
        self._ending = threading.Event()
        self.look()

    def run(self) -> None:
        while not self._ending.wait(INTERVAL):
            for model in self.look():
                if self._ending.is_set():
                    return
                self._reload(model)

    def end(self) -> None:
        """Nothing is reloaded any more; one that is under way ends with Triton."""
        self._ending.set()

    def look(self) -> list[str]:
        """Models to reload: those that are dead, seen twice, since one that is unloaded in good order is dead for a
        moment too; and those whose reload has brought no living process."""
        try:
            children = self._triton.children()
        except psutil.NoSuchProcess:
            return []
        dead = {child.pid for child in children if self._is_dead(child)}
        confirmed = dead & self._suspects
        self._suspects = dead - confirmed
        died = [self._models.pop(pid) for pid in sorted(confirmed) if pid in self._models]
        missing = [model for model in self._reloaded if self._is_missing(model)]
        self._reloaded |= {model: _Reloaded() for model in died}
        return [*died, *(model for model in missing if model not in died)]

    def _is_dead(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return process.pid in self._models
            model = self._models.setdefault(process.pid, model_of(process.cmdline()))
        except psutil.NoSuchProcess:
            return False
        self._reloaded.pop(model, None)
        return False

    def _is_missing(self, model: str) -> bool:
        """Whether its latest reload was long enough ago."""
        awaited = self._reloaded[model]
        awaited.looks += 1
        if awaited.looks < awaited.patience:
            return False
        self._reloaded[model] = _Reloaded(0, min(2 * awaited.patience, MOST_PATIENCE))
        return True


def model_of(command: list[str]) -> str:
    """Of a Python backend's process: its second argument is <repository>/<model>/<version>/<file>."""
    return Path(command[1]).parent.parent.name if len(command) > 1 else ""
