"""Draft trees: a chain with its second choices beside it, or a beam that follows several hypotheses at once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cospec.engine.blocks import Part
from cospec.engine.decoding import Step, by_row
from cospec.engine.forward import Block
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch, confidences, noisy_scores
from cospec.speculation.types import NO_PARENT, DraftTree


def chains(steps: Sequence[Step], num_rows: int, branching: int) -> list[DraftTree]:
    """What `decode` chose, and beside it the next best choices: `branching` nodes a depth, the chain's own first."""
    if not steps:
        return [DraftTree()] * num_rows
    scores = torch.cat([step.scores for step in steps])
    tokens = torch.cat([step.tokens for step in steps])[:, None]
    if branching > 1:
        others = scores.scatter(1, tokens, -torch.inf).topk(branching - 1).indices
        tokens = torch.cat([tokens, others], dim=1)
    chosen, trusted = by_row(steps, tokens, num_rows), by_row(steps, confidences(scores, tokens), num_rows)
    return [_caterpillar(guesses, probable) for guesses, probable in zip(chosen, trusted, strict=True)]


def _caterpillar(tokens: Sequence[Sequence[int]], confidences: Sequence[Sequence[float]]) -> DraftTree:
    """`tokens` [depth, branching]; the first of each depth is the parent of all of the next."""
    branching = len(tokens[0]) if tokens else 1
    parents = [NO_PARENT if depth == 0 else (depth - 1) * branching for depth in range(len(tokens))]
    return DraftTree(
        tuple(token for depth in tokens for token in depth),
        tuple(parent for parent in parents for _ in range(branching)),
        tuple(confidence for depth in confidences for confidence in depth),
    )


@torch.inference_mode()
def beams(
    model: LanguageModel,
    parts: Sequence[Part],
    logits: Tensor,
    depth: int,
    width: int,
    branching: int,
    sampling: SamplingBatch,
) -> list[DraftTree]:
    """Trees of `depth` behind `parts`, which have been read and gave `logits` [parts, vocab].

    At each depth the `width` nodes of the most probable paths are read in one forward, and each gets `branching`
    children (EAGLE-2's expansion). Their entries stand behind the part's, `width` a depth.
    """
    beam = _Beam(model, parts, width, branching, sampling)
    beam.add(noisy_scores(logits, beam.ends, sampling, model.end_tokens)[:, None], max(width, branching))
    for _ in range(1, depth):
        beam.add(beam.read(), branching)
    return beam.trees()


class _Beam:
    """The nodes so far, and which of them stand in the frontier: those to be read next."""

    def __init__(
        self, model: LanguageModel, parts: Sequence[Part], width: int, branching: int, sampling: SamplingBatch
    ) -> None:
        self._model = model
        self._width = width
        rows = len(parts)
        self._slots = model.tensor(np.asarray([part.slot for part in parts]))
        self.ends = model.tensor(np.asarray([part.end for part in parts]))
        self._longest = max(part.end for part in parts)
        self._sampling = SamplingBatch(*(None if t is None else t.repeat_interleave(width) for t in sampling))
        self._wanted = torch.arange(rows * width, device=model.device)
        self._self_seen = torch.eye(width, dtype=torch.bool, device=model.device).expand(rows, -1, -1)
        self._layers: list[tuple[Tensor, Tensor, Tensor]] = []  # per depth: tokens, confidences, parents [rows, nodes]
        self._num_nodes = 0
        self._depth = 0
        # Of the frontier, all [rows, width]; before the first depth it is the context's end alone.
        self._tokens = self._nodes = torch.full((rows, 1), NO_PARENT, device=model.device)
        self._paths = torch.zeros((rows, 1), device=model.device)  # log probability
        self._seen = torch.zeros((rows, 1, 0), dtype=torch.bool, device=model.device)  # [rows, width, entries read]

    def add(self, scores: Tensor, branching: int) -> None:
        """Give every node of the frontier its best children, then choose the next frontier among them.

        `scores` [rows, frontier, vocab].
        """
        tokens = scores.topk(branching).indices
        confident = confidences(scores.flatten(0, 1), tokens.flatten(0, 1)).view_as(tokens)
        parents = self._nodes[:, :, None].expand_as(tokens)
        paths = (self._paths[:, :, None] + confident.log()).flatten(1)
        self._layers.append((tokens.flatten(1), confident.flatten(1), parents.flatten(1)))
        self._paths, best = paths.topk(self._width)
        self._tokens = tokens.flatten(1).gather(1, best)
        self._nodes = best + self._num_nodes
        ancestry = self._seen.gather(1, (best // branching)[:, :, None].expand(-1, -1, self._seen.shape[2]))
        self._seen = torch.cat([ancestry, self._self_seen], dim=2)
        self._num_nodes += paths.shape[1]
        self._depth += 1

    def read(self) -> Tensor:
        """Noisy scores behind the frontier [rows, width, vocab]."""
        rows, width = self._tokens.shape
        span = self._depth * width
        entries = self.ends[:, None] + torch.arange(span - width, span, device=self._model.device)
        positions = (self.ends + self._depth - 1)[:, None].expand(rows, width).contiguous()
        columns = self._model.cache.columns(self._longest + span)
        block = Block(self._tokens, positions, entries, self._slots, self.ends, self._seen, columns, self._wanted)
        chosen_at = positions.flatten() + 1
        scores = noisy_scores(self._model.logits(block), chosen_at, self._sampling, self._model.end_tokens)
        return scores.unflatten(0, (rows, width))

    def trees(self) -> list[DraftTree]:
        tokens, confident, parents = (torch.cat(column, dim=1).tolist() for column in zip(*self._layers, strict=True))
        return [DraftTree(tuple(t), tuple(p), tuple(c)) for t, c, p in zip(tokens, confident, parents, strict=True)]
