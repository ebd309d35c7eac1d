"""When requests are sent, whether answers come or not. Pure: the same random numbers, the same schedule."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from pathlib import Path
from random import Random

from loadtests.bad_input import BadInput

CLOSED, TRACE = "closed", "trace"
# kind -> its options with their defaults
OPTIONS: Mapping[str, Mapping[str, float]] = {
    CLOSED: {},
    "constant": {},
    "poisson": {},
    "soak": {},
    "gamma": {"burstiness": 0.25},
    "diurnal": {"depth": 0.8, "periods": 1},
    "step": {"levels": 4},
    "spike": {"height": 4, "at": 0.5, "width": 0.1},
    TRACE: {"speed": 0, "skip": 0},
}
Shape = Callable[[float], float]  # share of the duration that has passed -> multiple of the rate


@dataclass(frozen=True)
class Arrivals:
    """A kind of schedule, such as `gamma:burstiness=0.5` or `trace:requests.csv,skip=600`."""

    kind: str
    options: Mapping[str, float] = field(default_factory=dict)
    path: Path | None = None


def parse_arrivals(text: str) -> Arrivals:
    """Raises `BadInput`."""
    kind, _, rest = text.partition(":")
    if kind not in OPTIONS:
        raise BadInput(f"arrivals must be one of {', '.join(OPTIONS)}, got {kind!r}")
    words = [word for word in rest.split(",") if word]
    path = Path(words.pop(0)) if kind == TRACE and words and "=" not in Path(words[0]).name else None
    if kind == TRACE and path is None:
        raise BadInput("arrivals trace needs a file, as in trace:requests.csv")
    options = {**OPTIONS[kind], **dict(_option(kind, word) for word in words)}
    _check(kind, options)
    return Arrivals(kind, options, path)


def schedule(arrivals: Arrivals, rate: float, duration: float, random: Random) -> list[float]:
    """Seconds from the start, in order, all below `duration`; `rate`: requests per second. Not for closed and trace."""
    if arrivals.kind == "constant":
        return [number / rate for number in range(math.ceil(rate * duration))]
    if arrivals.kind in ("poisson", "soak"):
        return _renewal(lambda: random.expovariate(rate), duration)
    if arrivals.kind == "gamma":
        shape = arrivals.options["burstiness"]
        return _renewal(lambda: random.gammavariate(shape, 1 / (rate * shape)), duration)
    return _thinned(*_shape(arrivals), rate, duration, random)


def _renewal(gap: Callable[[], float], duration: float) -> list[float]:
    return list(takewhile(lambda at: at < duration, accumulate(iter(gap, None))))


def _thinned(shape: Shape, peak: float, rate: float, duration: float, random: Random) -> list[float]:
    """A Poisson process whose rate changes (Lewis and Shedler 1979): one at the peak rate, of which some are kept."""
    candidates = _renewal(lambda: random.expovariate(rate * peak), duration)
    return [at for at in candidates if random.random() * peak < shape(at / duration)]


def _shape(arrivals: Arrivals) -> tuple[Shape, float]:
    """The shape and its peak."""
    options = arrivals.options
    if arrivals.kind == "diurnal":  # begins and ends in the night
        depth, periods = options["depth"], options["periods"]
        return (lambda share: 1 - depth * math.cos(2 * math.pi * periods * share)), 1 + depth
    if arrivals.kind == "step":
        levels = options["levels"]
        return (lambda share: (math.floor(share * levels) + 1) / levels), 1.0
    height, middle, width = options["height"], options["at"], options["width"]
    return (lambda share: height if abs(share - middle) <= width / 2 else 1.0), max(1.0, height)


def _option(kind: str, word: str) -> tuple[str, float]:
    name, separator, value = word.partition("=")
    if not separator or name not in OPTIONS[kind]:
        allowed = ", ".join(OPTIONS[kind]) or "none"
        raise BadInput(f"arrivals {kind} has the unknown option {word!r}; options, as name=number: {allowed}")
    try:
        return name, float(value)
    except ValueError:
        raise BadInput(f"arrivals {kind}: {name} must be a number, got {value!r}") from None


_LIMITS: Mapping[str, tuple[float, float]] = {
    "burstiness": (0.01, 100),
    "depth": (0, 1),
    "periods": (0.01, 1000),
    "levels": (1, 1000),
    "height": (0, 1000),
    "at": (0, 1),
    "width": (0, 1),
    "speed": (0, 1e6),
    "skip": (0, 1e9),
}


def _check(kind: str, options: Mapping[str, float]) -> None:
    for name, value in options.items():
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise BadInput(f"arrivals {kind}: {name} must be from {low:g} to {high:g}, got {value:g}")
