"""What the load tests say beside their results: sentences on stderr, among which other programs may write."""

import sys

SAYS = "loadtest: "


def tell(sentence: str) -> None:
    print(f"{SAYS}{sentence}", file=sys.stderr, flush=True)


def told(errors: str) -> list[str]:
    """Our sentences in what another process wrote on its stderr."""
    return [line.removeprefix(SAYS) for line in errors.splitlines() if line.startswith(SAYS)]
