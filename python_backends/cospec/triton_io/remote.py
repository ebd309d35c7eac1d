"""A drafter on other machines: the same rows and answers as through BLS, spread over its replicas.

A session stays with one replica, which holds its KV cache. When that is lost, the session's next rows get
`UNKNOWN_STATE`, as from any callee that has forgotten it, and the caller sends all tokens to the next replica. Nothing
that a replica answers is trusted: a broken one must cost its drafts, never the verifier's forward.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import DraftResult, DraftRow, DraftTree, Status
from cospec.triton_io import rows as codec
from cospec.triton_io.replica import Replica

Headers = Callable[[Iterable[int]], dict[str, str]]  # sessions of a call -> what stands above it
FORGOTTEN = DraftResult(Status.UNKNOWN_STATE)


def no_headers(session_ids: Iterable[int]) -> dict[str, str]:
    return {}


class RemoteDrafter:
    def __init__(
        self, name: str, replicas: Sequence[Replica], vocabulary_size: int, headers: Headers = no_headers
    ) -> None:
        self._name = name
        self._headers = headers
        self._replicas = replicas
        self._vocabulary_size = vocabulary_size
        self._homes: dict[int, Replica] = {}  # session -> who holds it

    @property
    def num_replicas_up(self) -> int:
        return sum(replica.is_up for replica in self._replicas)

    async def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        """Raises `CalleeError` where no replica has answered."""
        shares: dict[Replica, list[int]] = {}
        for index, row in enumerate(rows):
            replica = self._place(row)
            if replica is not None:
                shares.setdefault(replica, []).append(index)
        answers = await asyncio.gather(*(self._ask(one, [rows[i] for i in share]) for one, share in shares.items()))
        failures = [answer for answer in answers if isinstance(answer, CalleeError)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        results = [FORGOTTEN] * len(rows)
        for share, answer in zip(shares.values(), answers, strict=True):
            if not isinstance(answer, CalleeError):
                for index, result in zip(share, answer, strict=True):
                    results[index] = result
        return results

    async def release(self, session_ids: Sequence[int]) -> None:
        shares: dict[Replica, list[int]] = {}
        for session_id in session_ids:
            replica = self._homes.pop(session_id, None)
            if replica is not None and replica.is_up:  # of one that is down, the lease ends
                shares.setdefault(replica, []).append(session_id)
        await asyncio.gather(
            *(replica.call(codec.encode_release(share, with_nodes=False)) for replica, share in shares.items())
        )

    async def close(self) -> None:
        await asyncio.gather(*(replica.close() for replica in self._replicas))

    def _place(self, row: DraftRow) -> Replica | None:
        """Where to send a row; None: its session has lost its replica, and must be sent anew to another."""
        if row.score_context:  # a session that ends with the answer
            return self._least_loaded()
        home = self._homes.get(row.session_id)
        if home is not None and home.is_up:
            return home
        self._homes[row.session_id] = self._least_loaded()
        return None if row.committed_length else self._homes[row.session_id]

    def _least_loaded(self) -> Replica:
        loads = Counter(self._homes.values())
        up = [replica for replica in self._replicas if replica.is_up]
        if not up:
            raise CalleeError(f"drafter {self._name}: none of its {len(self._replicas)} replicas can be reached")
        return min(up, key=lambda replica: loads[replica])

    async def _ask(self, replica: Replica, rows: Sequence[DraftRow]) -> list[DraftResult] | CalleeError:
        try:
            arrays = await replica.call(codec.encode_draft(rows), self._headers(row.session_id for row in rows))
        except CalleeError as error:
            return error
        try:
            results = codec.decode_draft_results(arrays)
            self._check(results, rows)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return replica.fail(f"its answer makes no sense: {error}")
        return results

    def _check(self, results: Sequence[DraftResult], rows: Sequence[DraftRow]) -> None:
        if len(results) != len(rows):
            raise ValueError(f"{len(results)} results for {len(rows)} rows")
        for result, row in zip(results, rows, strict=True):
            check_tree(result.tree, row, self._vocabulary_size)


def check_tree(tree: DraftTree, row: DraftRow, vocabulary_size: int) -> None:
    """Raises ValueError unless it is a tree that `row` may be answered with."""
    if not len(tree.tokens) == len(tree.parents) == len(tree.margins):
        raise ValueError("its columns differ in length")
    if not tree.is_ordered():
        raise ValueError("a node stands before its parent")
    if any(not 0 <= token < vocabulary_size for token in tree.tokens):
        raise ValueError(f"a token is not one of the verifier's {vocabulary_size}")
    if any(map(math.isnan, tree.margins)):  # infinite where there was no choice
        raise ValueError("a margin is not a number")
    if tree.depth() > row.num_draft_tokens:
        raise ValueError(f"{tree.depth()} tokens deep, {row.num_draft_tokens} were asked for")
