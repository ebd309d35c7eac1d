"""`make demo`: a real server answers five prompts, one a domain; then the same with speculation off, side by side."""

import argparse
import sys
from dataclasses import dataclass
from statistics import median

from cospec_client import Client, CospecError, Generation

from loadtests.server_process import ServerFailed, running_server
from loadtests.workload import DOMAINS, Prompt, load_prompts

MAX_TOKENS = 96
REPEATS = 5


@dataclass(frozen=True)
class Row:
    """A domain's comparison; rates in tokens per second, medians of interleaved repeats."""

    domain: str
    off: float
    on: float
    acceptance_length: float
    drafter: str
    identical: bool


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo", description=__doc__)
    parser.add_argument("--url", help="gRPC address of a running server (default: start one)")
    options = parser.parse_args(arguments)
    try:
        if options.url:
            return run(options.url)
        print("Starting Triton with the verifier, five drafters and the orchestrator ...", flush=True)
        with running_server() as url:
            return run(url)
    except (ServerFailed, CospecError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(url: str) -> int:
    with Client(url) as client:
        prompts = [load_prompts(domain)[0] for domain in DOMAINS]
        for prompt in prompts:
            show(client, prompt)
        rows = [compare(client, prompt) for prompt in prompts]
    print(table(rows))
    return 0 if all(row.identical for row in rows) else 1


def show(client: Client, prompt: Prompt) -> None:
    """The answer, as it comes."""
    print(f"\n── {prompt.domain} " + "─" * (70 - len(prompt.domain)))
    print(f"\033[1m{prompt.text}\033[0m" if sys.stdout.isatty() else prompt.text)
    for chunk in client.stream(prompt.text, max_tokens=MAX_TOKENS, temperature=0):
        print(chunk.text, end="", flush=True)
    print()


def compare(client: Client, prompt: Prompt) -> Row:
    off: list[Generation] = []
    on: list[Generation] = []
    for _ in range(REPEATS):
        off.append(ask(client, prompt, "off"))
        on.append(ask(client, prompt, "auto"))
    metrics = on[0].perf_metrics
    return Row(
        prompt.domain,
        median(rate(generation) for generation in off),
        median(rate(generation) for generation in on),
        metrics.mean_acceptance_length,
        max(metrics.drafter_shares, key=lambda name: metrics.drafter_shares[name], default="-"),
        {generation.text for generation in off} == {generation.text for generation in on},
    )


def ask(client: Client, prompt: Prompt, speculation: str) -> Generation:
    return client.generate(prompt.text, max_tokens=MAX_TOKENS, temperature=0, speculation=speculation, ignore_eos=True)


def rate(generation: Generation) -> float:
    return generation.num_output_tokens / generation.latency


def table(rows: list[Row]) -> str:
    lines = [
        "",
        f"{'domain':12}{'off tok/s':>11}{'on tok/s':>11}{'speed-up':>10}{'accepted':>10}"
        f"  {'drafter':12}{'same text':>9}",
    ]
    for row in rows:
        lines.append(
            f"{row.domain:12}{row.off:11.0f}{row.on:11.0f}{row.on / row.off:9.2f}x{row.acceptance_length:10.2f}"
            f"  {row.drafter:12}{'yes' if row.identical else 'NO':>9}"
        )
    lines.append(f"median speed-up {median(row.on / row.off for row in rows):.2f}x; accepted: tokens gained a round")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
