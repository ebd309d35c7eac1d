"""How much of what drafted rounds promised has come true, for groups of about the same size.

The model of acceptance is simple, and what it leaves out is not the same at every load. Where drafts keep less than
they promise, they promise less the next time; where nobody drafts, the record fades, so that it is tried again.
"""

MEMORY = 0.95  # of earlier rounds, a drafted round later
FADING = 0.998  # ... a round without drafts later
UNPROVEN = 24.0  # rounds of one sequence that the belief in promises counts
MOST = 3.0  # times the promise that one round may count


class TrackRecord:
    def __init__(self) -> None:
        self._rounds: dict[int, float] = {}
        self._kept: dict[int, float] = {}

    def factor(self, rows: int) -> float:
        """What came true of a promised token per second."""
        size = _size(rows)
        return (UNPROVEN + self._kept.get(size, 0.0)) / (UNPROVEN + self._rounds.get(size, 0.0))

    def observe(self, rows: int, promised: float, found: float) -> None:
        """Tokens per second."""
        size = _size(rows)
        self._rounds[size] = MEMORY * self._rounds.get(size, 0.0) + rows
        self._kept[size] = MEMORY * self._kept.get(size, 0.0) + rows * min(found / promised, MOST)

    def forget(self, rows: int) -> None:
        """A round without drafts."""
        size = _size(rows)
        self._rounds[size] = FADING * self._rounds.get(size, 0.0)
        self._kept[size] = FADING * self._kept.get(size, 0.0)


def _size(rows: int) -> int:
    """The same for groups that differ by less than a factor of two."""
    return rows.bit_length()
