"""`cospec-server`: serve the model repository, render its configuration, compile, train and expand its models."""

import argparse
import contextlib
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from cospec.config import (
    DEFAULT_REPOSITORY,
    DEFAULT_SETTINGS,
    Settings,
    SettingsError,
    as_yaml,
    load_settings,
    with_verifier,
)
from cospec.preflight import check_checkpoint, check_weights
from cospec.server_tls import ServerTls
from cospec.triton_installation import ServeError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cospec-server",
        description="Lossless speculative decoding on NVIDIA Triton: drafters guess, the verifier checks.",
        epilog="`cospec-server COMMAND --help` tells the options of a command.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="start Triton and serve until Ctrl-C"))
    _add_show(commands.add_parser("settings", help="show all settings, as they are on this machine"))
    _add_render(commands.add_parser("render", help="write every model's config.pbtxt from cospec.yaml"))
    _add_compile(commands.add_parser("compile", help="compile the models for this CPU; `serve` does so where needed"))
    _add_expand(commands.add_parser("expand", help="make a verifier that says the same at the cost of a larger model"))
    _add_profile(commands.add_parser("profile", help="measure what calls cost here, and how well that is predicted"))
    _add_plan(commands.add_parser("plan", help="simulate a load: what it would get, and how many replicas it needs"))
    commands.add_parser("train", help="train tokenizer, verifier and drafters from corpora", add_help=False)
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "train":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _run(options, rest)
    except (ServeError, SettingsError) as error:
        print(f"cospec-server: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    # Imported here: training and rendering need packages that serving does not, and the other way round.
    if options.command == "serve":
        from cospec.serve import ServeOptions, serve

        values = {name: value for name, value in vars(options).items() if name != "command" and "tls" not in name}
        return serve(ServeOptions(**values, tls=_tls(options)))
    if options.command == "settings":
        settings = load_settings(options.settings)
        print(json.dumps(asdict(settings)) if options.json else as_yaml(settings).rstrip())
        return 0
    if options.command == "render":
        from cospec.render import main as render

        return render(options)
    if options.command == "compile":
        settings = with_verifier(load_settings(options.settings), options.verifier_weights)
        return _compile(settings, options.model_repository) or _copy_compiled(settings, options)
    if options.command == "expand":
        return _expand(options)
    if options.command == "profile":
        from cospec.profile_command import run as profile

        return profile(options)
    if options.command == "plan":
        from cospec.plan_command import run as plan

        return plan(options)
    from cospec.training.cli import main as train

    return train(rest)


def _tls(options: argparse.Namespace) -> ServerTls | None:
    certificate, key, clients = options.tls_certificate, options.tls_key, options.tls_client_authorities
    if certificate is None and key is None and clients is None:
        return None
    if certificate is None or key is None:
        raise ServeError("TLS needs --tls-certificate and --tls-key")
    return ServerTls(certificate, key, clients)


def _compile(settings: Settings, repository: Path) -> int:
    from cospec.engine.artefacts import all_compiled, compiler

    check_weights(settings, repository)
    if all_compiled(settings, repository):
        return 0
    if compiler() is None:
        print("no C++ compiler (g++) is here: models run uncompiled, at about half the speed", file=sys.stderr)
        return 1
    from cospec.engine.compiling import compile_missing

    try:
        compile_missing(settings, repository)
    except Exception as error:  # torch, the compiler, the disk: none of them is a reason not to serve
        sentence = " ".join(str(error).split())[:300]
        print(f"compiling failed ({sentence}): models run uncompiled, at about half the speed", file=sys.stderr)
        return 1
    return 0


def _copy_compiled(settings: Settings, options: argparse.Namespace) -> int:
    from cospec.engine.artefacts import wanted_artefacts

    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        for artefact in wanted_artefacts(settings, options.model_repository):
            shutil.copy(artefact.path, options.out)
    return 0


def _expand(options: argparse.Namespace) -> int:
    check_checkpoint(options.verifier)
    from cospec.engine.expansion import expand
    from cospec.engine.weights import WeightsError

    try:
        count = expand(options.verifier, options.parameters, options.out)
    except WeightsError as error:
        print(f"cospec-server: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {count:,} parameters; serve it with `cospec-server serve --verifier-weights {options.out}`")
    return 0


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_paths(parser)
    _add_verifier_weights(parser)
    parser.add_argument("--http-port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--grpc-port", type=int, default=8001, help="default: %(default)s")
    parser.add_argument("--metrics-port", type=int, default=8002, help="default: %(default)s")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--drain-seconds",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="that SIGTERM leaves to requests that are being answered; no more are taken in (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="show Triton's own log")
    parser.add_argument(
        "--models",
        nargs="+",
        default=(),
        metavar="MODEL",
        help="serve these alone, such as drafter_math on a machine for drafters (default: all but remote drafters)",
    )
    for name, what in (
        ("certificate", "the gRPC port speaks TLS and shows this certificate"),
        ("key", "of the certificate"),
        ("client-authorities", "whose signature clients' certificates must have (default: clients need none)"),
    ):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="PEM", help=what)


def _add_compile(parser: argparse.ArgumentParser) -> None:
    _add_paths(parser)
    _add_verifier_weights(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="also copy what these settings need to this folder")


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows the cost profile that the orchestrator measured at its first start here (and keeps in the cache), each "
        "measurement beside what the cost model predicts from the others."
    )
    _add_paths(parser)
    _add_verifier_weights(parser)
    parser.add_argument("--again", action="store_true", help="measure anew, which takes seconds, and keep that")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw prediction against measurement (PNG, SVG)")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    from cospec.plan_command import add_options

    _add_paths(parser)
    _add_verifier_weights(parser)
    add_options(parser)


def _add_expand(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Pads a verifier's MLPs and inserts blocks that add zero: the same text, at the cost of a model of the chosen "
        "size. For measuring what speculation brings where a verifier costs what real ones cost."
    )
    parser.add_argument(
        "--parameters", type=_count, required=True, metavar="N", help="about how many it shall have, such as 0.3e9"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write it: new, or empty")
    parser.add_argument(
        "--verifier",
        type=Path,
        default=DEFAULT_REPOSITORY / "verifier" / "1" / "weights",
        metavar="DIR",
        help="the checkpoint to start from (default: the bundled verifier)",
    )


def _count(text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"must be a number such as 0.3e9, got {text!r}") from None


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) <= 86400:
            return seconds
    raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 to 86400, got {text!r}")


def _add_render(parser: argparse.ArgumentParser) -> None:
    _add_paths(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, default=DEFAULT_SETTINGS, help="settings file (default: %(default)s)")


def _add_show(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, not YAML")


def _add_paths(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    parser.add_argument(
        "--model-repository", type=Path, default=DEFAULT_REPOSITORY, help="Triton models (default: %(default)s)"
    )


def _add_verifier_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verifier-weights",
        type=Path,
        metavar="DIR",
        help="checkpoint of the verifier, instead of the settings' own (such as one of `expand`)",
    )


if __name__ == "__main__":
    raise SystemExit(main())
