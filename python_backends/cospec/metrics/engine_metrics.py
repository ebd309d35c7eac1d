"""What a verifier's or a drafter's process tells of its engine: batches, and how full its KV cache is."""

from collections.abc import Sequence
from typing import Protocol

from cospec.config import ModelSettings
from cospec.metrics import catalogue as m
from cospec.metrics.recorder import Recorder
from cospec.speculation.types import VerifyResult, VerifyRow


class Cache(Protocol):
    """A table of sessions, each in a slot."""

    def __len__(self) -> int: ...

    @property
    def num_tokens(self) -> int:
        """Of all sessions."""


class Verifier(Protocol):
    def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]: ...

    def release(self, session_ids: Sequence[int]) -> None: ...


def watch_cache(recorder: Recorder, model: str, cache: Cache, settings: ModelSettings) -> None:
    recorder.watch(m.KV_SLOTS, lambda: settings.num_slots, model)
    recorder.watch(m.KV_TOKENS, lambda: settings.num_slots * settings.max_length, model)
    recorder.watch(m.KV_SLOTS_USED, lambda: len(cache), model)
    recorder.watch(m.KV_TOKENS_USED, lambda: cache.num_tokens, model)


class CountedVerifier:
    """A verifier's engine whose batches are counted."""

    def __init__(self, engine: Verifier, recorder: Recorder, num_slots: int) -> None:
        self._engine = engine
        self._sequences, self._tokens = recorder.counter(m.VERIFY_SEQUENCES), recorder.counter(m.VERIFY_TOKENS)
        self._batches = recorder.counters(m.VERIFY_BATCHES, map(size_range, range(1, num_slots + 1)))

    def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        if rows:
            self._batches[size_range(len(rows))].value += 1
            self._sequences.value += len(rows)
            self._tokens.value += sum(len(row.context) + len(row.tree) for row in rows)
        return self._engine.verify(rows)

    def release(self, session_ids: Sequence[int]) -> None:
        self._engine.release(session_ids)


def size_range(size: int) -> str:
    """A label of which few are needed: 1, 2, 3-4, 5-8 and so on, up to the next power of two."""
    top = 1 << (size - 1).bit_length()
    return str(top) if top <= 2 else f"{top // 2 + 1}-{top}"
