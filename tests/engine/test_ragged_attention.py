"""The operator for CPUs attends as the formula says, whatever lengths, shapes, types and neighbours its rows have."""

import math

import pytest
import torch
from cospec.engine.ragged_attention import ragged_attention
from torch import Tensor

SLOTS, LENGTH = 6, 200
TREE = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)
ROWS = ((4, 17, 4), (1, 0, 150), (5, 170, 1), (0, 33, 40), (2, 9, 130))  # slot, start, tokens: a tree's if four

pytestmark = pytest.mark.usefixtures("loaded_kernels")


class Case:
    """Random rows, and what `ragged_attention` is told of them."""

    def __init__(
        self, rows: tuple[tuple[int, int, int], ...], heads: int, kv_heads: int, dim: int, before: int = 0
    ) -> None:
        """`before`: entries behind each row's start that earlier calls wrote, of which a token sees every other."""
        torch.manual_seed(0)
        self.before = before
        counts = [count for _, _, count in rows]
        self.rows, self.width = rows, max(counts)
        # Queries are a part of a wider tensor, as in the forward.
        self.queries = torch.randn(sum(counts), heads + 3, dim)[:, :heads]
        self.cache = torch.randn(SLOTS, LENGTH, 2 * kv_heads, dim)
        self.slots = torch.tensor([slot for slot, _, _ in rows])
        self.starts = torch.tensor([start for _, start, _ in rows])
        self.positions = torch.cat([torch.arange(start, start + count) for _, start, count in rows])
        self.places = torch.cat([torch.arange(count) + row * self.width for row, count in enumerate(counts)])
        own = torch.tril(torch.ones(len(rows), self.width, self.width)).bool()
        for row, count in enumerate(counts):
            if count == len(TREE):
                own[row, :count, :count] = TREE
        earlier = (torch.arange(before) % 2 == 0).expand(len(rows), self.width, -1)
        self.relatives = torch.cat([earlier, own], dim=2)

    def run(self, dtype: torch.dtype, window: int | None = None) -> Tensor:
        where = (self.slots, self.starts, self.positions, self.places, self.relatives)
        return ragged_attention(self.queries.to(dtype), self.cache.to(dtype), *where, window)

    def formula(self, dtype: torch.dtype, window: int | None = None) -> Tensor:
        """In float64, a token and head at a time."""
        queries, cache = self.queries.to(dtype).double(), self.cache.to(dtype).double()
        kv_heads, heads = cache.shape[2] // 2, queries.shape[1]
        outputs = torch.empty(queries.shape, dtype=torch.float64)
        for token, place in enumerate(self.places.tolist()):
            (slot, start, count), column = self.rows[place // self.width], place % self.width
            end = start + self.before + count
            related = self.relatives[place // self.width, column, : self.before + count]
            seen = torch.cat([torch.ones(start, dtype=torch.bool), related])
            if window is not None:
                seen &= torch.arange(end) > self.positions[token] - window
            for head in range(heads):
                group = head // (heads // kv_heads)
                keys, values = cache[slot, :end, group], cache[slot, :end, kv_heads + group]
                scores = keys[seen] @ queries[token, head] / math.sqrt(queries.shape[2])
                outputs[token, head] = scores.softmax(0) @ values[seen]
        return outputs


@pytest.mark.parametrize("window", [None, 12])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 64), (2, 2, 128), (6, 1, 64), (4, 2, 16)])
def test_rows_of_every_length_attend_as_the_formula_says(
    heads: int, kv_heads: int, dim: int, window: int | None
) -> None:
    case = Case(ROWS, heads, kv_heads, dim)
    torch.testing.assert_close(
        case.run(torch.float32, window).double(), case.formula(torch.float32, window), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("dim", [64, 16])
def test_tokens_see_what_earlier_calls_wrote_behind_the_start(dim: int) -> None:
    case = Case(ROWS, 4, 2, dim, before=12)
    torch.testing.assert_close(case.run(torch.float32).double(), case.formula(torch.float32), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 64), (6, 1, 64), (3, 1, 128)])
def test_short_types_are_added_up_in_float32(heads: int, kv_heads: int, dim: int, dtype: torch.dtype) -> None:
    rows = (*ROWS[:1], *ROWS[2:4], (SLOTS - 1, LENGTH - 7, 7))  # none wide enough for PyTorch's own
    case = Case(rows, heads, kv_heads, dim)
    expected = case.formula(dtype)
    torch.testing.assert_close(case.run(dtype).double(), expected.to(dtype).double(), atol=1e-3, rtol=2**-7)


def test_a_short_row_attends_the_same_to_the_bit_in_every_company() -> None:
    """What a batch holds besides must not move a logit."""
    company = Case(ROWS, 4, 2, 64)
    together = company.run(torch.bfloat16)
    for row in (0, 2, 3):
        tokens = (company.places // company.width == row).nonzero().flatten()
        alone = Case((ROWS[row],), 4, 2, 64)
        alone.queries, alone.cache = company.queries[tokens], company.cache
        assert torch.equal(alone.run(torch.bfloat16), together[tokens])


def test_a_prompt_attends_the_same_to_the_bit_in_one_piece_and_in_two() -> None:
    whole, later = Case(((1, 0, 60),), 4, 2, 64), Case(((1, 20, 40),), 4, 2, 64)
    later.queries, later.cache = whole.queries[20:], whole.cache
    assert torch.equal(later.run(torch.bfloat16), whole.run(torch.bfloat16)[20:])


def test_a_node_attends_the_same_to_the_bit_beside_siblings_and_without() -> None:
    """Entries of siblings stand between it and what it sees."""
    alone, beside = Case(((4, 100, 2),), 4, 2, 64), Case(((4, 100, 3),), 4, 2, 64)
    for mine, place in ((0, 0), (1, 2)):
        beside.queries[place] = alone.queries[mine]
        beside.cache[4, 100 + place] = alone.cache[4, 100 + mine]
    beside.cache[:, :100] = alone.cache[:, :100]
    beside.relatives[0] = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    assert torch.equal(beside.run(torch.float32)[[0, 2]], alone.run(torch.float32))


def test_a_token_that_keeps_another_company_sees_what_that_one_sees() -> None:
    """Padding (`compiled.in_company`) stands at its neighbour's place."""
    case = Case(((3, 20, 1),), 4, 2, 64)
    alone = case.run(torch.float32)
    case.queries, case.places = case.queries.repeat(2, 1, 1), case.places.repeat(2)
    case.positions = case.positions.repeat(2)
    torch.testing.assert_close(case.run(torch.float32), alone.repeat(2, 1, 1))
