"""The text classifier: what it says of a text, its file, and the first round that it routes."""

import json
from collections.abc import Sequence as Tokens
from pathlib import Path

import numpy as np
import pytest
from cospec.config import DEFAULT_REPOSITORY, Settings
from cospec.engine.routing_prior import (
    RoutingPriorError,
    load_routing_prior,
    read_routing_prior,
    routing_prior_path,
    vocabulary_size,
    write_routing_prior,
)
from cospec.preflight import check_routing_prior
from cospec.speculation.routing_prior import RoutingPrior
from cospec.training.routing_prior import accuracy, token_weights, train_routing_prior
from cospec.training.windows import Document, Documents, Window, after_prompts, after_switches, within_responses
from cospec.triton_installation import ServeError
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import counting, expected, generate, make_loop, make_request, output, routed, wrong
from tokenizers import Tokenizer

PROMPTS = Path(__file__).parent.parent.parent / "loadtests" / "prompts"
WEIGHTS = DEFAULT_REPOSITORY / "verifier" / "1" / "weights"
VOCABULARY, START, SEPARATOR = 100, 98, 99


def make_prior(change: float = 0.01) -> RoutingPrior:
    """Even tokens speak for `even`, odd ones for `odd`."""
    return RoutingPrior(("even", "odd"), np.asarray([[0.5, -0.5], [-0.5, 0.5]] * 50, dtype=np.float32), change)


def make_documents(domains: Tokens[str] = ("low", "high"), count: int = 40) -> Documents:
    """Each domain has twenty tokens of its own and shares twenty with all others."""
    rng = np.random.default_rng(0)

    def text(domain: int, length: int) -> list[int]:
        own, shared = rng.integers(20, size=length) + 20 * (domain + 1), rng.integers(20, size=length)
        return [int(token) for token in np.where(rng.random(length) < 0.5, own, shared)]

    return {
        name: [Document([START, *text(number, 12), SEPARATOR], text(number, 60)) for _ in range(count)]
        for number, name in enumerate(domains)
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With a verifier of 100 tokens and a classifier of the same."""
    for directory in ("verifier/1/weights", "orchestrator/1"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "verifier/1/weights/config.json").write_text('{"vocab_size": 100}')
    write_routing_prior(make_prior(), routing_prior_path(tmp_path))
    return tmp_path


def refusal(repository: Path) -> str:
    """Of the server, before anything starts; the orchestrator's own is the same sentence."""
    settings = Settings(drafters=("even",))
    with pytest.raises(ServeError) as early:
        check_routing_prior(settings, repository)
    with pytest.raises(RoutingPriorError) as late:
        load_routing_prior(settings, repository)
    assert str(early.value) == str(late.value) and "\n" not in str(early.value)
    return str(early.value)


def test_probabilities_follow_the_words_and_add_up_to_one() -> None:
    [probabilities] = make_prior().probabilities([[2, 4, 6, 8, 3]])
    assert probabilities["even"] > 0.8
    assert sum(probabilities.values()) == pytest.approx(1)


def test_one_token_is_a_text_too() -> None:
    [probabilities] = make_prior().probabilities([[3]])
    assert probabilities["odd"] == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_change_of_subject_shows_long_before_it_fills_half_of_the_window() -> None:
    text = [2] * 36 + [3] * 12
    [heeded], [unheeded] = (make_prior(change).probabilities([text]) for change in (0.01, 1e-12))
    assert heeded["odd"] > 0.9
    assert unheeded["odd"] < 0.1


def test_texts_of_any_lengths_are_judged_as_each_alone() -> None:
    prior, texts = make_prior(), ([3], [2, 4, 6, 8, 3], [2] * 36 + [3] * 12)
    for together, text in zip(prior.probabilities(texts), texts, strict=True):
        assert together == pytest.approx(prior.probabilities([text])[0], rel=1e-5)


def test_scores_are_the_sum_over_all_places_of_the_change() -> None:
    prior = RoutingPrior(
        ("a", "b", "c"), np.random.default_rng(1).normal(size=(VOCABULARY, 3)).astype(np.float32), 0.05
    )
    tokens = [5, 17, 3, 80, 41]
    evidence = np.exp(prior.weights[tokens].astype(np.float64))
    chances = evidence.prod(0)
    for place in range(1, len(tokens)):
        chances += prior.change * evidence[:place].prod(0).mean() * evidence[place:].prod(0)
    expected_ = dict(zip(prior.domains, chances / chances.sum(), strict=True))
    assert prior.probabilities([tokens])[0] == pytest.approx(expected_, rel=1e-4)


def test_the_file_keeps_what_was_written(repository: Path) -> None:
    prior = load_routing_prior(Settings(drafters=("even", "new")), repository)
    assert prior is not None and prior.domains == ("even", "odd")
    np.testing.assert_array_equal(prior.weights, make_prior().weights)
    check_routing_prior(Settings(drafters=("even",)), repository)


def test_without_a_file_or_without_a_known_drafter_there_is_no_prior(repository: Path) -> None:
    assert load_routing_prior(Settings(drafters=("new",)), repository) is None
    routing_prior_path(repository).unlink()
    assert load_routing_prior(Settings(drafters=("even",)), repository) is None


def test_a_file_for_another_vocabulary_is_refused(repository: Path) -> None:
    (repository / "verifier/1/weights/config.json").write_text('{"vocab_size": 32000}')
    assert "routing_prior.npz is for a vocabulary of 100 tokens, the verifier's has 32000; remove it" in refusal(
        repository
    )


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"\x93NUMPY", b"no archive at all"])
def test_a_damaged_file_is_named(repository: Path, damage: bytes) -> None:
    routing_prior_path(repository).write_bytes(damage)
    assert "orchestrator/1/routing_prior.npz is damaged: it cannot be read" in refusal(repository)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_cut_or_altered_file_is_named(repository: Path, place: float) -> None:
    path = routing_prior_path(repository)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * place)])
    assert "damaged" in refusal(repository)
    path.write_bytes(content.replace(make_prior().weights.astype(np.float16).tobytes(), b"\x01" * 400))
    assert "damaged" in refusal(repository)


@pytest.mark.parametrize(
    ("domains", "weights", "change"),
    [
        (("a", "b"), np.zeros((100, 3)), 0.01),
        (("a", "b"), np.zeros(100), 0.01),
        ((), np.zeros((100, 0)), 0.01),
        (("a",), np.full((100, 1), np.nan), 0.01),
        (("a",), np.zeros((100, 1)), 0.0),
        (("a",), np.zeros((100, 1)), float("nan")),
    ],
)
def test_contents_that_make_no_sense_are_refused(
    repository: Path,
    domains: tuple[str, ...],
    weights: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]",
    change: float,
) -> None:
    write_routing_prior(RoutingPrior(domains, weights, change), routing_prior_path(repository))
    assert "damaged: its weights do not fit" in refusal(repository)


def test_training_finds_each_domains_words_and_ignores_special_tokens() -> None:
    weights = token_weights(make_documents(), VOCABULARY, [START, SEPARATOR])
    assert (weights[20:40, 0] > 1).all() and (weights[40:60, 1] > 1).all()
    assert np.abs(weights[:20]).max() < 0.5
    assert not weights[[START, SEPARATOR]].any() and not weights[60:98].any()


def test_a_trained_prior_knows_prompts_answers_and_switches() -> None:
    documents = make_documents(("low", "high", "top"))
    prior = train_routing_prior(documents, VOCABULARY, [START, SEPARATOR], seed=0)
    rng = np.random.default_rng(3)
    assert accuracy(prior, after_prompts(documents)) > 0.95
    assert accuracy(prior, within_responses(documents, rng)) > 0.95
    assert accuracy(prior, after_switches(documents, 12, rng)) > 0.9


def test_windows_hold_what_they_say() -> None:
    documents = make_documents(count=3)
    prompts, switches = after_prompts(documents), after_switches(documents, 10, np.random.default_rng(0))
    first = documents["low"][0]
    assert prompts[0] == Window("low", [*first.prompt, first.response[0]])
    assert [len(window.tokens) for window in switches] == [48] * 6
    assert switches[0].domain == "low" and switches[0].tokens[-10:] == first.response[:10]
    assert any(
        window.tokens[:38] == documents["high"][i].response[-48:][10:] for i in range(3) for window in switches[:1]
    )


def test_the_shipped_file_knows_the_repositorys_own_prompts() -> None:
    prior = load_routing_prior(Settings(), DEFAULT_REPOSITORY)
    assert prior is not None and prior.domains == Settings().drafters
    tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))
    lines = [json.loads(line) for path in sorted(PROMPTS.glob("*.jsonl")) for line in path.read_text().splitlines()]
    windows = [Window(line["domain"], tokenizer.encode(line["prompt"]).ids) for line in lines]
    assert len(windows) >= 50
    assert accuracy(prior, windows) >= 0.85


def test_the_shipped_file_is_small_and_of_the_shipped_vocabulary() -> None:
    path = routing_prior_path(DEFAULT_REPOSITORY)
    assert path.stat().st_size <= 500_000
    assert len(read_routing_prior(path).weights) == vocabulary_size(WEIGHTS)


@pytest.mark.parametrize(("prompt", "chosen"), [((2, 4, 6, 8, 10, 12), "even"), ((3, 5, 7, 9, 11, 13), "odd")])
def test_the_first_round_is_drafted_by_the_drafter_of_the_prompts_domain(prompt: tuple[int, ...], chosen: str) -> None:
    drafters = {name: ScriptedDrafter(counting) for name in ("even", "odd")}
    loop = make_loop(ScriptedVerifier(counting), drafters, prior=make_prior())
    [sequence] = generate(loop, make_request(prompt, max_tokens=5, mode=routed(3)))
    assert output(sequence) == expected(prompt, 5)
    assert {name: drafter.num_calls for name, drafter in drafters.items()} == {
        name: int(name == chosen) for name in drafters
    }


def test_a_drafter_that_the_prior_does_not_know_serves_where_no_other_domain_fits() -> None:
    """It shares the mean: behind a domain that fits, before one that does not."""
    drafters = {"odd": ScriptedDrafter(wrong), "new": ScriptedDrafter(counting)}
    loop = make_loop(ScriptedVerifier(counting), drafters, prior=make_prior())
    [sequence] = generate(loop, make_request((2, 4, 6, 8, 10, 12), max_tokens=5, mode=routed(3)))
    assert output(sequence) == expected(sequence.request.prompt, 5)
    assert (drafters["odd"].num_calls, drafters["new"].num_calls) == (0, 1)


def test_a_switch_needs_two_domains() -> None:
    assert after_switches(make_documents(("low",)), 8, np.random.default_rng(0)) == []
