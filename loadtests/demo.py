"""`make demo`: a real server answers five prompts, one a domain, with speculation off and on, side by side."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cospec_client import Client, CospecError, Generation, Recorder

from loadtests.server_process import ServerFailed, server_at
from loadtests.workload import DOMAINS, Prompt, load_prompts

MAX_TOKENS = 96
REPEATS = 5
MODES = ("off", "auto")
WIDTH = 72


@dataclass(frozen=True)
class Row:
    """A domain's comparison; rates in tokens per second, medians of interleaved repeats."""

    domain: str
    drafter: str  # the one with the largest share of the draft tokens
    off: float
    on: float
    mean_acceptance_length: float
    identical: bool  # every answer of every repeat, off and on

    @property
    def speedup(self) -> float:
        return self.on / self.off


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 only if there is no server or it fails: texts that differ are said, not failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo", description=__doc__)
    parser.add_argument("--url", help="gRPC address of a running server (default: start one)")
    parser.add_argument("--settings", type=Path, help="settings of the server that is started")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="timed runs of each mode (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.url:
        print("Starting Triton with the verifier, five drafters and the orchestrator ...", flush=True)
    settings = ["--settings", str(options.settings)] if options.settings else []
    try:
        with server_at(options.url, *settings) as url, Client(url) as client:
            print(run(client, [load_prompts(domain)[0] for domain in DOMAINS], options.repeats))
    except (ServerFailed, CospecError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def run(client: Client, prompts: list[Prompt], repeats: int) -> str:
    """Streams every answer, then measures; returns the table."""
    warm_up(client, prompts[0])
    for prompt in prompts:
        show(client, prompt)
    print("\nMeasuring ...", flush=True)
    return table([compare(client, prompt, repeats) for prompt in prompts])


def warm_up(client: Client, prompt: Prompt) -> None:
    for mode in MODES:
        client.generate(prompt.text, max_tokens=16, temperature=0, speculation=mode)


def show(client: Client, prompt: Prompt) -> None:
    """Both answers, as they come."""
    print("\n" + f"── {prompt.domain} ".ljust(WIDTH, "─"))
    print(_styled(prompt.text, "1"))
    for mode in MODES:
        print(_styled(f"[speculation {mode}]", "2"), flush=True)
        generation = _stream(client, prompt, mode, lambda text: print(text, end="", flush=True))
        print("\n" + _styled(f"[{generation.num_output_tokens} tokens, {rate(generation):.0f} tokens/s]", "2"))


def compare(client: Client, prompt: Prompt, repeats: int) -> Row:
    answers: dict[str, list[Generation]] = {mode: [] for mode in MODES}
    for _ in range(repeats):
        for mode in MODES:  # in turn: drift of the machine falls on both alike
            answers[mode].append(_stream(client, prompt, mode))
    metrics = answers["auto"][0].perf_metrics
    return Row(
        domain=prompt.domain,
        drafter=max(metrics.drafter_shares, key=lambda name: metrics.drafter_shares[name], default="-"),
        off=median(map(rate, answers["off"])),
        on=median(map(rate, answers["auto"])),
        mean_acceptance_length=metrics.mean_acceptance_length,
        identical=len({generation.text for mode in MODES for generation in answers[mode]}) == 1,
    )


def rate(generation: Generation) -> float:
    """Tokens per second, the time to the first one included."""
    return generation.num_output_tokens / generation.latency


def table(rows: list[Row]) -> str:
    header = (
        f"{'domain':12}{'drafter':12}{'off tok/s':>11}{'on tok/s':>11}{'speed-up':>10}{'accepted':>10}{'identical':>11}"
    )
    lines = ["", header, "─" * len(header)]
    lines += [
        f"{row.domain:12}{row.drafter:12}{row.off:11.0f}{row.on:11.0f}{row.speedup:9.2f}x"
        f"{row.mean_acceptance_length:10.2f}{'yes' if row.identical else 'NO':>11}"
        for row in rows
    ]
    lines += [f"median speed-up {median(row.speedup for row in rows):.2f}x; accepted: mean tokens gained a round"]
    return "\n".join([*lines, verdict(rows)])


def verdict(rows: list[Row]) -> str:
    differing = [row.domain for row in rows if not row.identical]
    if not differing:
        return f"all {len(rows)} texts are identical with speculation off and on"
    return f"TEXTS DIFFER between speculation off and on: {', '.join(differing)}"


def _stream(
    client: Client, prompt: Prompt, speculation: str, show_text: Callable[[str], None] = lambda text: None
) -> Generation:
    recorder = Recorder()
    for chunk in client.stream(
        prompt.text, max_tokens=MAX_TOKENS, temperature=0, ignore_eos=True, speculation=speculation
    ):
        show_text(chunk.text)
        recorder.add(chunk)
    return recorder.generation()


def _styled(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    raise SystemExit(main())
