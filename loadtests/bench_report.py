"""The benchmark's result as JSON, a table and a plot."""

import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

Result = dict[str, Any]


def write_report(result: Result, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    result = {**result, "ratios": ratios(result)}
    (directory / "bench.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (directory / "bench.md").write_text(as_markdown(result), encoding="utf-8")
    plot(result, directory / "bench.png")


def ratios(result: Result) -> dict[str, float]:
    """The figures that the project promises, each from this one run."""
    rate = {(cell["mode"], cell["concurrency"]): cell["tokens_per_second"] for cell in result["cells"]}
    off = next(cell for cell in result["cells"] if (cell["mode"], cell["concurrency"]) == ("off", 1))
    best = max(rate[mode, 1] for mode, concurrency in rate if concurrency == 1 and mode != "off")
    steps = result["steps_ms"]
    return {
        "speculation (auto) over off, concurrency 1": rate["auto", 1] / rate["off", 1],
        "best speculation over off, concurrency 1": best / rate["off", 1],
        "speculation (auto) over transformers assisted": rate["auto", 1] / result["baselines"]["transformers assisted"],
        "best speculation over transformers assisted": best / result["baselines"]["transformers assisted"],
        "off over transformers generate": rate["off", 1] / result["baselines"]["transformers"],
        "off at concurrency 32 over 1": rate["off", 32] / rate["off", 1],
        "TPOT of off over the bare step": off["tpot_p50"] / steps["verifier_1_token"],
        "step over transformers' step, verifier, 1 token": steps["verifier_1_token"]
        / steps["transformers_verifier_1_token"],
        "step over transformers' step, verifier, 8 tokens": steps["verifier_8_tokens"]
        / steps["transformers_verifier_8_tokens"],
        "step over transformers' step, drafter, 1 token": steps["drafter_1_token"]
        / steps["transformers_drafter_1_token"],
    }


def as_markdown(result: Result) -> str:
    settings, processor = result["settings"], result["machine"]["processor"]
    lines = [
        f"Machine: {processor}; {settings['dtype']}. Greedy, {result['max_tokens']} tokens a request,"
        f" {result['repeats']} interleaved repeats, medians. Settings {settings['sha256'][:12]}; "
        + ", ".join(f"{name} {number}" for name, number in result["versions"].items() if number)
        + ".",
        "",
        "| mode | concurrency | tokens/s | TTFT p50 ms | TPOT p50 ms | TPOT p99 ms "
        "| mean acceptance length | same text as off |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in sorted(result["cells"], key=lambda cell: cell["concurrency"]):
        lines.append(
            f"| {cell['mode']} | {cell['concurrency']} | {cell['tokens_per_second']:.0f} | {cell['ttft_p50']:.1f} "
            f"| {cell['tpot_p50']:.2f} | {cell['tpot_p99']:.2f} "
            f"| {cell['mean_acceptance_length']:.2f} | {cell['identical']:.0%} |"
        )
    lines += [f"| {name} | 1 | {value:.0f} | | | | | |" for name, value in result["baselines"].items()]
    lines += ["", _about_differences(result["gaps"]), "", "| ratio | value |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in result["ratios"].items()]
    return "\n".join(lines) + "\n"


def _about_differences(gaps: list[float]) -> str:
    if not gaps:
        return "Every answer is the text of `off` at concurrency 1."
    return (
        f"{len(gaps)} different answers are not the text of `off` at concurrency 1. Where they part, the verifier's "
        f"two best logits are at most {max(gaps):.4f} apart (median {median(gaps):.4f})."
    )


def plot(result: Result, path: Path) -> None:
    concurrencies = sorted({cell["concurrency"] for cell in result["cells"]})
    figure, axes = plt.subplots(1, len(concurrencies), figsize=(4 * len(concurrencies), 3.2), layout="constrained")
    for axis, concurrency in zip(axes, concurrencies, strict=True):
        cells = [cell for cell in result["cells"] if cell["concurrency"] == concurrency]
        bars = {cell["mode"]: cell["tokens_per_second"] for cell in cells}
        if concurrency == 1:
            bars |= {name.replace(" ", "\n"): value for name, value in result["baselines"].items()}
        drawn = axis.barh(
            list(bars), list(bars.values()), color=["C0" if name in ("off", "auto") else "C7" for name in bars]
        )
        axis.bar_label(drawn, fmt="%.0f", padding=2, fontsize=8)
        axis.set(title=f"concurrency {concurrency}", xlabel="tokens/s")
        axis.invert_yaxis()
        axis.margins(x=0.15)
    figure.savefig(path, dpi=130)
    plt.close(figure)
