"""Routing vectors, and the policies that choose drafters by them."""

import pytest
from cospec.speculation.routing import Route, RoutingVector, Switching, Ucb, trust

NAMES = ("chat", "code", "math")


def observed(name: str, agreed: bool, times: int = 5) -> list[dict[str, bool]]:
    return [{name: agreed}] * times


def test_the_text_decides_until_something_is_verified() -> None:
    vector = RoutingVector(NAMES)
    vector.expect({"chat": 0.1, "code": 0.8, "math": 0.1})
    assert Switching(2.0, 1).choose(vector, NAMES, 1) == Route(("code",))


def test_drafters_that_the_classifier_does_not_know_share_the_mean() -> None:
    vector = RoutingVector((*NAMES, "new"))
    vector.expect({"chat": 0.0, "code": 0.9, "math": 0.0})
    assert vector.agreement("chat") < vector.agreement("new") < vector.agreement("code")


def test_verified_agreement_outweighs_what_was_expected() -> None:
    vector = RoutingVector(NAMES)
    vector.expect({"chat": 1.0, "code": 0.0, "math": 0.0})
    for _ in range(3):
        vector.observe([{"chat": False, "math": True}] * 4, 5)
    assert Switching(2.0, 1).choose(vector, NAMES, 1).leaders == ("math",)


def test_evidence_fades_so_that_a_change_of_subject_is_noticed() -> None:
    vector = RoutingVector(NAMES)
    for _ in range(20):
        vector.observe(observed("chat", True), 5)
    before = vector.agreement("chat")
    for _ in range(3):
        vector.observe(observed("chat", False, 2), 1)
    assert vector.agreement("chat") < 0.75 * before


def test_a_drafter_far_behind_the_best_is_no_partner() -> None:
    vector = RoutingVector(NAMES)
    vector.expect({"chat": 0.5, "code": 0.5, "math": 0.0})
    assert set(Switching(2.0, 1).choose(vector, NAMES, 3).leaders) == {"chat", "code"}


def test_when_drafts_are_rejected_those_not_tried_lately_join() -> None:
    vector, policy = RoutingVector(NAMES), Switching(2.0, 1)
    vector.expect({"chat": 1.0, "code": 0.0, "math": 0.0})
    vector.observe(observed("chat", True), 6)
    assert policy.choose(vector, NAMES, 1) == Route(("chat",))
    for _ in range(4):
        vector.observe(observed("chat", False, 1) + observed("code", False, 1), 1)
    assert policy.choose(vector, NAMES, 1).explorers == ("math",)


def test_a_bandit_tries_what_it_does_not_know_and_settles_on_the_best() -> None:
    vector, policy, chosen = RoutingVector(NAMES), Ucb(0.5), []
    for _ in range(60):
        [name] = policy.choose(vector, NAMES, 1).leaders
        chosen.append(name)
        vector.observe([{name: name == "math" or position % 3 == 0} for position in range(4)], 3)
    assert set(chosen[:10]) == set(NAMES)
    assert chosen[-20:].count("math") >= 12


def test_trust_is_agreement_beside_the_best_drafters() -> None:
    vector = RoutingVector(NAMES)
    vector.expect({"chat": 1.0, "code": 0.0, "math": 0.0})
    assert trust(vector, "chat", NAMES) == 1.0
    assert trust(vector, "code", NAMES) == pytest.approx(0.3 / 0.85)
    assert set(vector.as_dict()) == set(NAMES)
