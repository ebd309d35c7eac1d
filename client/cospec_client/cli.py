"""`cospec`: the server from a terminal. Text goes to stdout, statistics to stderr, so that both can be piped."""

import argparse
import sys
from typing import Any

from cospec_client.client import DEFAULT_URL, Client
from cospec_client.errors import CospecError, InvalidRequest
from cospec_client.recording import Recorder
from cospec_client.types import Generation

EXAMPLES = """examples:
  cospec generate "def fib(n):" --max-tokens 48 --temperature 0
  cospec stream "What are the symptoms of asthma ?" --speculation off
  echo "Write a letter to a friend." | cospec generate -
  cospec health

exit codes:
  0  fine
  1  the server failed, is full, or is not there
  2  a value must change
  130  Ctrl-C; the request is cancelled on the server"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cospec",
        description="Ask a CoSpec server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", default=DEFAULT_URL, help="gRPC address (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_request(commands.add_parser("generate", help="the whole answer at once, statistics after it"))
    _add_request(commands.add_parser("stream", help="the answer as it comes"))
    commands.add_parser("health", help="exit 0 if the server is ready, else 1")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: fine; 1: the server failed or is not there; 2: a value must change."""
    options = build_parser().parse_args(arguments)
    try:
        with Client(options.url, options.timeout) as client:
            return _run(client, options)
    except InvalidRequest as error:
        print(f"cospec: {error}", file=sys.stderr)
        return 2
    except CospecError as error:
        print(f"cospec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(client: Client, options: argparse.Namespace) -> int:
    if options.command == "health":
        ready = client.is_ready()
        print("ready" if ready else "not ready")
        return 0 if ready else 1
    prompt = sys.stdin.read().removesuffix("\n") if options.prompt == "-" else options.prompt
    request = {name: getattr(options, name) for name in _REQUEST_OPTIONS}
    if options.command == "stream":
        generation = _show(client, prompt, request)
    else:
        generation = client.generate(prompt, **request)
        print(generation.text)
    print(_summary(generation), file=sys.stderr)
    return 0


def _show(client: Client, prompt: str, request: dict[str, Any]) -> Generation:
    recorder = Recorder()
    for chunk in client.stream(prompt, **request):
        print(chunk.text, end="", flush=True)
        recorder.add(chunk)
    print()
    return recorder.generation()


_REQUEST_OPTIONS = (
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "seed",
    "stop_words",
    "ignore_eos",
    "speculation",
    "slo_class",
    "slo_ttft_ms",
    "slo_tpot_ms",
)


def _add_request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="the prompt; - reads it from stdin")
    parser.add_argument("--max-tokens", type=int, help="end after so many tokens")
    parser.add_argument("--min-tokens", type=int, help="do not end before so many tokens")
    parser.add_argument("--temperature", type=float, help="0: always the most probable token (default: 1)")
    parser.add_argument("--top-k", type=int, help="only the k most probable tokens")
    parser.add_argument("--top-p", type=float, help="only the most probable tokens that make up this probability")
    parser.add_argument("--seed", type=int, help="same seed, same text")
    parser.add_argument("--stop", dest="stop_words", action="append", help="end before this text; may be given again")
    parser.add_argument("--ignore-eos", action="store_true", help="go on past the model's own end, to --max-tokens")
    parser.add_argument("--speculation", help="auto, off or fixed:<drafter>:<k> (default: auto)")
    parser.add_argument("--slo-class", help="a class of the server's slo_classes, such as interactive")
    parser.add_argument("--slo-ttft-ms", type=float, help="the first token should come within so many milliseconds")
    parser.add_argument("--slo-tpot-ms", type=float, help="further tokens should take so many milliseconds each")


def _summary(generation: Generation) -> str:
    metrics = generation.perf_metrics
    drafters = ", ".join(f"{name} {share:.0%}" for name, share in metrics.drafter_shares.items()) or "none"
    return (
        f"[{generation.num_output_tokens} tokens in {generation.latency:.2f} s,"
        f" first after {generation.ttft * 1e3:.0f} ms, {generation.tpot * 1e3:.1f} ms a token;"
        f" mean acceptance length {metrics.mean_acceptance_length:.2f};"
        f" drafters: {drafters}; {generation.finish_reason}]"
    )


if __name__ == "__main__":
    raise SystemExit(main())
