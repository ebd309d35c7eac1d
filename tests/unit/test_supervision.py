"""Which models the supervisor wants back, on processes that are told what to be."""

from dataclasses import dataclass, field
from itertools import pairwise

import psutil
from cospec.supervision import MOST_PATIENCE, Supervisor


@dataclass
class Child:
    pid: int
    model: str
    alive: bool = True

    def status(self) -> str:
        return psutil.STATUS_SLEEPING if self.alive else psutil.STATUS_ZOMBIE

    def cmdline(self) -> list[str]:
        return ["stub", f"/models/{self.model}/1/model.py"]


@dataclass
class Triton:
    living: list[Child] = field(default_factory=list)

    def children(self) -> list[Child]:
        return self.living


def supervised(*children: Child) -> tuple[Triton, Supervisor]:
    triton = Triton(list(children))
    return triton, Supervisor(triton, lambda model: None)  # type: ignore[arg-type]


def looks(supervisor: Supervisor, count: int) -> list[list[str]]:
    return [supervisor.look() for _ in range(count)]


def test_a_model_is_dead_when_it_is_so_twice() -> None:
    triton, supervisor = supervised(Child(1, "verifier"), Child(2, "drafter_math"))
    triton.living[0].alive = False
    assert looks(supervisor, 2) == [[], ["verifier"]]
    triton.living[0] = Child(3, "verifier")
    assert looks(supervisor, 20) == [[]] * 20


def test_a_model_that_is_unloaded_in_good_order_stays_away() -> None:
    triton, supervisor = supervised(Child(1, "verifier"), Child(2, "drafter_math"))
    triton.living[1].alive = False
    assert supervisor.look() == []
    del triton.living[1]
    assert looks(supervisor, 20) == [[]] * 20


def test_a_reload_that_brings_nothing_is_tried_again_ever_less_often() -> None:
    triton, supervisor = supervised(Child(1, "verifier"))
    triton.living[0].alive = False
    supervisor.look()
    found = looks(supervisor, 300)
    times = [number for number, models in enumerate(found) if models]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[:5] == [2, 4, 8, 16, 32] and max(gaps) == MOST_PATIENCE
    triton.living.append(Child(9, "verifier"))
    assert looks(supervisor, 200) == [[]] * 200


def test_a_process_that_dies_before_it_was_ever_seen_is_missed() -> None:
    triton, supervisor = supervised(Child(1, "verifier"))
    triton.living[0].alive = False
    supervisor.look()
    assert supervisor.look() == ["verifier"]
    triton.living[0] = Child(5, "verifier", alive=False)
    assert looks(supervisor, 2)[-1] == ["verifier"]
