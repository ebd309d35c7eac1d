"""A round loop over scripted verifier and drafters, and requests to it."""

import asyncio
import itertools
from collections.abc import Sequence as Tokens
from functools import partial

from cospec.config import EngineSettings, ModelSettings, ServingSettings, Settings, SpeculationSettings
from cospec.speculation.observer import Observer
from cospec.speculation.request import GenerationRequest, Method, SpeculationMode
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.router import TextPrior
from cospec.speculation.sequence import Sequence
from cospec.speculation.types import SamplingParameters
from scripted import ScriptedDrafter, ScriptedVerifier

END = 99
AUTO, OFF = SpeculationMode(), SpeculationMode(Method.OFF)


def routed(length: int) -> SpeculationMode:
    return SpeculationMode(Method.ROUTED, None, length)


def counting(tokens: Tokens[int]) -> int:
    """The verifier's script: never repeats within a test, and depends on everything before."""
    return (sum(tokens) * 31 + len(tokens)) % 97


def wrong(tokens: Tokens[int]) -> int:
    return 98


def often_right(tokens: Tokens[int]) -> int:
    return counting(tokens) if len(tokens) % 3 else 98


def decode(tokens: Tokens[int]) -> str:
    return "".join(chr(0x4E00 + token) for token in tokens)


def make_request(
    prompt: tuple[int, ...] = (1, 2, 3), max_tokens: int = 20, mode: SpeculationMode = AUTO, **others: object
):
    return GenerationRequest(prompt, max_tokens, SamplingParameters(), mode, **others)  # type: ignore[arg-type]


def make_loop(
    verifier: ScriptedVerifier,
    drafters: dict[str, ScriptedDrafter],
    prior: TextPrior | None = None,
    patience: float = 1.0,
    warnings: list[str] | None = None,
    observer: Observer | None = None,
    controller: str = "adaptive",
    max_length: int = 1024,
    **serving: object,
) -> RoundLoop:
    speculation = SpeculationSettings(draft_patience_seconds=patience, controller=controller)
    settings = Settings(
        tuple(drafters),
        engine=EngineSettings(verifier=ModelSettings(max_length=max_length)),
        speculation=speculation,
        serving=ServingSettings(**serving),  # type: ignore[arg-type]
    )
    log = [].append if warnings is None else warnings.append
    clock = partial(next, itertools.count(step=1e-3))  # what costs no time here must not seem to, now and then
    return RoundLoop(verifier, drafters, {END: "</s>"}, settings, clock, log, prior, observer=observer)


def generate(loop: RoundLoop, *requests: GenerationRequest, cancel: int | None = None) -> list[Sequence]:
    """Run every request to its end and let the releases finish."""

    async def run() -> list[Sequence]:
        task = asyncio.create_task(loop.run())
        sequences = [loop.submit(number, request, decode) for number, request in enumerate(requests)]
        for sequence in sequences:
            while not sequence.done:
                await sequence.progress.wait()
                sequence.progress.clear()
                if sequence.session_id == cancel:
                    sequence.cancelled = True
        await loop.drain()
        task.cancel()
        return sequences

    return asyncio.run(asyncio.wait_for(run(), 20))


def output(sequence: Sequence) -> list[int]:
    return sequence.tokens[len(sequence.request.prompt) :]


def expected(prompt: Tokens[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(counting(tokens))
    return tokens[len(prompt) :]
