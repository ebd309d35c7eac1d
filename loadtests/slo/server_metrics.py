"""The server's own figures, before and after: whatever `/metrics` holds, by name. Prometheus's text format."""

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

PATIENCE = 5.0  # seconds
PREFIXES = ("cospec:", "nv_inference_")
_LINE = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)(?P<labels>\{.*\})?\s+(?P<value>\S+)")
_GROWING = ("counter", "histogram", "summary")


@dataclass(frozen=True)
class Scrape:
    """`values`: series -> value; `kinds`: name -> Prometheus's type. Empty where nothing could be read."""

    values: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)


def scrape(address: str) -> Scrape:
    """Never raises: a run is a run without it."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
            return parse_metrics(answer.read().decode("utf-8", "replace"))
    except (OSError, ValueError):
        return Scrape()


def parse_metrics(text: str) -> Scrape:
    """Of all series, those of the models."""
    values, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()[:4]
            kinds[name] = kind
        elif (match := _LINE.match(line)) and match["name"].startswith(PREFIXES):
            values[match["name"] + (match["labels"] or "")] = float(match["value"])
    return Scrape(values, kinds)


def changes(before: Scrape, after: Scrape) -> dict[str, float]:
    """What counters grew by, and what gauges show at the end; what stayed 0 and histograms' buckets are left out."""
    found = {}
    for series, value in after.values.items():
        name = series.partition("{")[0]
        change = value - before.values.get(series, 0.0) if _grows(name, after) else value
        if change and not name.endswith("_bucket"):
            found[series] = round(change, 6)
    return found


def _grows(name: str, scrape: Scrape) -> bool:
    base = re.sub(r"_(sum|count|bucket|total)$", "", name)
    return scrape.kinds.get(name, scrape.kinds.get(base, "")) in _GROWING
