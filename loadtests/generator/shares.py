"""Which part of the schedule is whose, and how Locust's master tells its workers.

A worker reports ready before its locustfile is set up, and loses what reaches it in between, the order to start users
included. So the master asks until every worker has confirmed its share, and only then lets Locust go on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gevent.event import Event
from locust.runners import MasterRunner, WorkerRunner

from loadtests.bad_input import BadInput

SHARE, TAKEN = "cospec_share", "cospec_share_taken"
ASK_AGAIN = 0.2  # seconds
PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class Share:
    """Of the schedule: every `workers`-th request, from `index` on."""

    index: int = 0
    workers: int = 1


class ShareGiver:
    """The master's side."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._untaken: dict[str, Share] = {}  # worker -> what it has not confirmed
        self._all_taken = Event()
        runner.register_message(TAKEN, self._on_taken)

    def give(self) -> int:
        """To how many workers; each has confirmed. Raises `BadInput` if one has no user, or does not answer."""
        workers = [worker.id for worker in self._runner.clients.ready]
        if self._runner.target_user_count < len(workers):
            raise BadInput(f"--users must be at least the number of workers, {len(workers)}: each needs one")
        self._untaken = {worker: Share(index, len(workers)) for index, worker in enumerate(workers)}
        self._all_taken.clear()
        for _ in range(round(PATIENCE / ASK_AGAIN)):
            self._ask(dict(self._untaken))
            if self._all_taken.wait(ASK_AGAIN):
                return len(workers)
        raise BadInput(f"{len(self._untaken)} of {len(workers)} workers did not answer within {PATIENCE:g} s")

    def _ask(self, shares: Mapping[str, Share]) -> None:
        for worker, share in shares.items():
            self._runner.send_message(SHARE, asdict(share), worker)

    def _on_taken(self, msg: Any, **_: Any) -> None:
        if self._untaken.get(msg.node_id) == Share(**msg.data):  # not one of an earlier run
            del self._untaken[msg.node_id]
        if not self._untaken:
            self._all_taken.set()


class ShareTaker:
    """A worker's side; `share` is all of the schedule until the master says otherwise."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self.share = Share()
        runner.register_message(SHARE, self._on_share)

    def _on_share(self, msg: Any, **_: Any) -> None:
        self.share = Share(**msg.data)
        self._runner.send_message(TAKEN, msg.data)
