"""What the comparison with other engines measures: contenders, how long, and which of them go on after the scan."""

from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.bench_plan import Mode
from loadtests.workload import DOMAINS

COSPEC = "CoSpec"
OPENVINO = "OpenVINO GenAI"
OPENVINO_INT8 = "OpenVINO GenAI, int8 verifier"
AUTO = "auto"
OWN = "own"  # each prompt has the drafter of its own domain, as if the engine could route and never erred


@dataclass(frozen=True)
class Contender:
    """One engine's way to answer. `drafter`: a domain, "" for none, AUTO or OWN."""

    system: str
    drafter: str = ""
    num_draft_tokens: int = 0

    @property
    def name(self) -> str:
        if self.num_draft_tokens:
            return f"{self.drafter} drafter, k={self.num_draft_tokens}"
        return self.drafter or "no drafter"

    @property
    def mode(self) -> Mode:
        """As CoSpec is asked for it."""
        fixed = f"fixed:{self.drafter}:{self.num_draft_tokens}"
        return Mode(self.name, fixed if self.num_draft_tokens else self.drafter or "off")


@dataclass(frozen=True)
class PeerPlan:
    """`num_prompts`, `num_scanned`: concurrency -> prompts of a measurement, and of a look for the best k."""

    repeats: int
    max_tokens: int
    draft_lengths: tuple[int, ...]
    num_prompts: dict[int, int]
    num_scanned: dict[int, int]

    def scanned(self, system: str, concurrency: int) -> list[Contender]:
        """Every drafter at every draft length, and where the engine can be told each prompt's own, that too."""
        told = (OWN,) if system == OPENVINO and concurrency == 1 else ()
        return [Contender(system, drafter, length) for drafter in (*DOMAINS, *told) for length in self.draft_lengths]


FULL = PeerPlan(3, 64, (2, 3, 5, 8), {1: 10, 8: 24}, {1: 5, 8: 8})
QUICK = PeerPlan(1, 32, (2, 5), {1: 5, 8: 8}, {1: 5, 8: 8})


def best_of(rates: Mapping[Contender, float]) -> Contender:
    """The fastest."""
    return max(rates, key=lambda contender: rates[contender])


def best_of_each_drafter(rates: Mapping[Contender, float]) -> list[Contender]:
    """Each drafter at its best draft length."""
    by_drafter: dict[str, dict[Contender, float]] = {}
    for contender, rate in rates.items():
        by_drafter.setdefault(contender.drafter, {})[contender] = rate
    return [best_of(group) for group in by_drafter.values()]


def finalists(system: str, rates: Mapping[Contender, float]) -> list[Contender]:
    """What is measured in every repeat, given tokens per second of the scan."""
    plain = Contender(system)
    if system == COSPEC:
        return [plain, best_of(rates), Contender(COSPEC, AUTO)]
    return [plain, *best_of_each_drafter(rates)]
