"""Draft trees: a chain with its second choices beside it, or a beam that follows several hypotheses at once."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cospec.engine.blocks import Part
from cospec.engine.decoding import Step, by_row
from cospec.engine.forward import Block
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch, margins, noisy_scores
from cospec.speculation.types import NO_PARENT, DraftTree

TRUST = 2.0  # log-odds that the verifier agrees, per nat of margin: only to choose which nodes to read


def chains(steps: Sequence[Step], num_rows: int, branching: int) -> list[DraftTree]:
    """What `decode` chose, and beside it the next best choices: `branching` nodes a depth, the chain's own first."""
    if not steps:
        return [DraftTree()] * num_rows
    scores, chosen = torch.cat([step.scores for step in steps]), torch.cat([step.tokens for step in steps])
    best = scores.topk(max(2, branching))
    ahead, tokens = margins(best.values)[:, :branching].tolist(), best.indices.tolist()
    guesses = [_from(own, others)[:branching] for own, others in zip(chosen.tolist(), tokens, strict=True)]
    by_rows = zip(by_row(steps, guesses, num_rows), by_row(steps, ahead, num_rows), strict=True)
    return [_caterpillar(*row, branching) for row in by_rows]


def _from(own: int, best: list[int]) -> list[int]:
    """`best`, the chain's own token first: among equal scores another may stand there, and they change places."""
    if best[0] != own:
        best = [best[0] if token == own else token for token in best]
    return [own, *best[1:]]


def _caterpillar(tokens: Sequence[Sequence[int]], margins: Sequence[Sequence[float]], branching: int) -> DraftTree:
    """Both [depth, branching]; the first of each depth is the parent of all of the next."""
    parents = [NO_PARENT if depth == 0 else (depth - 1) * branching for depth in range(len(tokens))]
    return DraftTree(
        tuple(token for depth in tokens for token in depth),
        tuple(parent for parent in parents for _ in range(branching)),
        tuple(margin for depth in margins for margin in depth),
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
    beam = _Beam(model, parts, width, sampling)
    beam.add(noisy_scores(logits, beam.ends, sampling, model.end_tokens)[:, None], max(width, branching))
    for _ in range(1, depth):
        beam.add(beam.read(), branching)
    return beam.trees()


class _Beam:
    """The nodes so far, and which of them stand in the frontier: those to be read next."""

    def __init__(self, model: LanguageModel, parts: Sequence[Part], width: int, sampling: SamplingBatch) -> None:
        self._model = model
        self._width = width
        rows = len(parts)
        self._slots = model.tensor(np.asarray([part.slot for part in parts]))
        self.ends = model.tensor(np.asarray([part.end for part in parts]))
        self._longest = max(part.end for part in parts)
        self._sampling = SamplingBatch(*(None if t is None else t.repeat_interleave(width) for t in sampling))
        self._everything = torch.arange(rows * width, device=model.device)
        self._itself = torch.eye(width, dtype=torch.bool, device=model.device).expand(rows, -1, -1)
        self._depths: list[tuple[Tensor, Tensor, Tensor]] = []  # tokens, parents, margins, each [rows, nodes]
        self._num_nodes = 0
        # Of the frontier, [rows, width]; before the first depth it is the context's end alone.
        self._tokens = self._nodes = torch.full((rows, 1), NO_PARENT, device=model.device)
        self._paths = torch.zeros((rows, 1), device=model.device)  # log probability
        self._seen = torch.zeros((rows, 1, 0), dtype=torch.bool, device=model.device)  # [rows, width, entries read]

    def add(self, scores: Tensor, branching: int) -> None:
        """Give every node of the frontier its best children, then choose the next frontier among all of them.

        `scores` [rows, frontier, vocab].
        """
        best = scores.topk(max(2, branching))
        tokens, ahead = best.indices[..., :branching], margins(best.values)[..., :branching]
        parents = self._nodes[:, :, None].expand_as(tokens)
        self._depths.append((tokens.flatten(1), parents.flatten(1), ahead.flatten(1)))
        self._paths, leading = (self._paths[:, :, None] + F.logsigmoid(TRUST * ahead)).flatten(1).topk(self._width)
        self._tokens = tokens.flatten(1).gather(1, leading)
        self._nodes = leading + self._num_nodes
        ancestry = self._seen.gather(1, (leading // branching)[:, :, None].expand(-1, -1, self._seen.shape[2]))
        self._seen = torch.cat([ancestry, self._itself], dim=2)
        self._num_nodes += tokens.shape[1] * branching

    def read(self) -> Tensor:
        """Noisy scores behind the frontier [rows, width, vocab]."""
        shape = self._tokens.shape
        span = len(self._depths) * self._width
        entries = self.ends[:, None] + torch.arange(span - self._width, span, device=self._model.device)
        positions = (self.ends + len(self._depths) - 1)[:, None].expand(shape).contiguous()
        columns = self._model.cache.columns(self._longest + span)
        tokens, everything = self._tokens.flatten(), self._everything
        places = everything.unflatten(0, shape)
        block = Block(
            tokens,
            positions.flatten(),
            entries.flatten(),
            everything,
            places,
            self._slots,
            self.ends,
            self._seen,
            columns,
            everything,
        )
        logits = self._model.logits(block)
        scores = noisy_scores(logits, positions.flatten() + 1, self._sampling, self._model.end_tokens)
        return scores.unflatten(0, shape)

    def trees(self) -> list[DraftTree]:
        columns = [torch.cat(column, dim=1).tolist() for column in zip(*self._depths, strict=True)]
        return [DraftTree(*map(tuple, row)) for row in zip(*columns, strict=True)]
