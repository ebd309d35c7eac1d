"""What the verifier checks of many trees."""

import numpy as np
from cospec.speculation.fusion import FusedTree
from cospec.speculation.selection import Claim, select
from cospec.speculation.types import NO_PARENT
from hypothesis import given
from hypothesis import strategies as st


def chain(*chances: float) -> FusedTree:
    tree, parent = FusedTree(), NO_PARENT
    for number, chance in enumerate(chances):
        parent = tree.add(parent, number, "a", 0.0, chance)
    return tree


trees = st.lists(st.lists(st.floats(0.05, 0.99), max_size=8).map(lambda values: chain(*values)), max_size=6)


@given(trees, st.integers(0, 20), st.booleans())
def test_every_choice_is_a_tree_within_its_bounds(forest: list[FusedTree], total: int, priced: bool) -> None:
    claims = [Claim(tree, 5, whole=not priced) for tree in forest]
    rates = (lambda certain, hoped: hoped / (3.0 + certain + np.arange(len(hoped)))) if priced else None
    chosen = select(claims, total, rates)
    assert sum(map(len, chosen)) <= total
    for nodes in chosen:
        assert nodes == list(range(len(nodes))) and len(nodes) <= 5  # of a chain, a prefix


def test_the_most_probable_of_all_requests_come_first() -> None:
    claims = [Claim(chain(0.9, 0.9, 0.9), 9), Claim(chain(0.3, 0.9), 9)]
    assert select(claims, 3) == [[0, 1, 2], []]


def test_verification_ends_where_another_node_is_not_worth_its_time() -> None:
    """A node costs a tenth of a round: worth it above a tenth of the tokens that the round brings."""
    claims = [Claim(chain(0.9, 0.9, 0.2, 0.9), 9, whole=False), Claim(chain(0.1), 9, whole=False)]
    chosen = select(claims, 99, lambda certain, hoped: (2 + hoped) / (10 + certain + np.arange(len(hoped))))
    assert chosen == [[0, 1], []]


def test_a_promise_is_served_before_what_is_more_probable() -> None:
    claims = [Claim(chain(0.9, 0.9), 9, whole=False), Claim(chain(0.4, 0.4), 9, whole=False, needed=1.3)]
    never = lambda certain, hoped: -np.arange(len(hoped))  # noqa: E731
    assert select(claims, 99, never) == [[], [0]]


def test_a_promise_that_cannot_be_kept_is_not_paid_for() -> None:
    hopeless = Claim(chain(0.4, 0.4), 9, whole=False, needed=5.0)
    assert select([hopeless], 99, lambda certain, hoped: -np.arange(len(hoped))) == [[]]
