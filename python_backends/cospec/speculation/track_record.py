"""How much of what rounds of one kind promised has come true, for groups of about the same size.

The models of costs and of acceptance are simple, and what they leave out is not the same at every load. Where drafts
keep less than they promise, they promise less the next time; a kind of round that does not happen is forgotten by and
by, and is due for a try when nothing has been heard of it for long.
"""

MEMORY = 0.95  # of earlier rounds of a kind, a round of it later
FADING = 0.998  # ... a round of the other kind later
STALE, STALE_AT_FIRST = 40, 8  # rounds of the other kind
KNOWN = 8  # rounds after which it is no longer the first
UNPROVEN = 100.0  # tokens that the belief in promises counts
MOST = 3.0  # times what was promised that one round may bring


class TrackRecord:
    def __init__(self, unproven: float = UNPROVEN) -> None:
        """`unproven`: tokens that the belief in promises counts."""
        self._unproven = unproven
        self._promised: dict[int, float] = {}
        self._kept: dict[int, float] = {}
        self._ago: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def factor(self, rows: int) -> float:
        """What came true of a promised token."""
        size = _size(rows)
        return (self._unproven + self._kept.get(size, 0.0)) / (self._unproven + self._promised.get(size, 0.0))

    def observe(self, rows: int, promised: float, found: float) -> None:
        """Tokens: those promised for as long as the round took, and those that it brought.

        Long rounds bring many, so that a mean of rates, a round each, would belittle them all.
        """
        size = _size(rows)
        self._ago[size] = 0
        self._seen[size] = self._seen.get(size, 0) + 1
        self._promised[size] = MEMORY * self._promised.get(size, 0.0) + promised
        self._kept[size] = MEMORY * self._kept.get(size, 0.0) + min(found, MOST * promised)

    def is_stale(self, rows: int) -> bool:
        """Whether nothing has been observed for long."""
        size = _size(rows)
        return self._ago.get(size, 0) >= (STALE if self._seen.get(size, 0) >= KNOWN else STALE_AT_FIRST)

    def forget(self, rows: int) -> None:
        """A round of the other kind."""
        size = _size(rows)
        self._ago[size] = self._ago.get(size, 0) + 1
        self._promised[size] = FADING * self._promised.get(size, 0.0)
        self._kept[size] = FADING * self._kept.get(size, 0.0)


def _size(rows: int) -> int:
    """The same for groups that differ by less than a factor of two."""
    return rows.bit_length()
