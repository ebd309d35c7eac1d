"""Expertise routing: which drafter serves a request (CoSine, section on request-to-drafter routing).

The prior is the drafters' own likelihood of the prompt: an expert finds the texts of its domain the least surprising.
"""

from collections.abc import Mapping


def best_drafter(log_likelihoods: Mapping[str, float]) -> str | None:
    """The drafter with the highest mean log-likelihood; None when none could be asked. Ties go to the first name."""
    return max(sorted(log_likelihoods), key=log_likelihoods.__getitem__, default=None)
