"""Verifier and drafter engines: losslessness, sessions, and rows that cannot be served."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cospec.engine.checkpoints import load_weights
from cospec.engine.drafter import DrafterEngine
from cospec.engine.verifier import VerifierEngine, match
from cospec.engine.weights import WeightsError
from cospec.speculation.types import DraftRow, DraftTree, SamplingParameters, Status, StopRule, VerifyRow
from tiny import Clock, Directory, drafter_engine, random_tokens, verifier_engine
from transformers import AutoModelForCausalLM

PROMPT = random_tokens(40, 9)
GREEDY = SamplingParameters()
NO_TREE = DraftTree()


def verify_row(session: int, held: int, tokens: np.ndarray, tree: DraftTree = NO_TREE, sampling=GREEDY) -> VerifyRow:  # type: ignore[no-untyped-def]
    return VerifyRow(session, held, tokens[held:], tree, sampling)


def generate(
    verifier: VerifierEngine,
    sampling: SamplingParameters,
    count: int = 40,
    drafter: DrafterEngine | None = None,
    length: int = 4,
) -> list[int]:
    """As the orchestrator does it, with one sequence."""
    tokens, held, drafted = PROMPT.tolist(), 0, 0
    while len(tokens) < len(PROMPT) + count:
        tree = DraftTree()
        if drafter and held:
            context = np.asarray(tokens[drafted:], dtype=np.int32)
            [draft] = drafter.draft([DraftRow(1, drafted, context, length, sampling)])
            tree = draft.tree
        [result] = verifier.verify([verify_row(1, held, np.asarray(tokens, dtype=np.int32), tree, sampling)])
        assert result.status is Status.OK
        if len(tree):
            drafted = len(tokens) + min(len(result.path), length - 1)
        tokens += result.tokens
        held = result.committed_length
    verifier.release([1])
    return tokens[len(PROMPT) : len(PROMPT) + count]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_speculation_changes_no_token(checkpoint: Directory, family: str, temperature: float) -> None:
    verifier = verifier_engine(checkpoint(family))
    sampling = SamplingParameters(temperature, seed=2**63 + 5)
    plain = generate(verifier, sampling)
    for drafter_family in (family, "qwen2"):  # one that is always right, one that hardly ever is
        for length in (1, 3, 8):
            drafter = drafter_engine(checkpoint(drafter_family))
            assert generate(verifier, sampling, drafter=drafter, length=length) == plain


def test_a_drafter_with_the_verifiers_weights_is_always_accepted_even_when_sampling(checkpoint: Directory) -> None:
    verifier, drafter = verifier_engine(checkpoint("llama")), drafter_engine(checkpoint("llama"))
    sampling = SamplingParameters(1.0, seed=4)
    [first] = verifier.verify([verify_row(1, 0, PROMPT, sampling=sampling)])
    tokens = np.append(PROMPT, first.tokens).astype(np.int32)
    [draft] = drafter.draft([DraftRow(1, 0, tokens, 5, sampling)])
    [result] = verifier.verify([verify_row(1, first.committed_length, tokens, draft.tree, sampling)])
    assert result.path == (0, 1, 2, 3, 4)


def test_a_tree_finds_the_verifiers_path_and_the_cache_follows_it(checkpoint: Directory) -> None:
    verifier = verifier_engine(checkpoint("llama"))
    plain = generate(verifier, GREEDY, 12)
    [first] = verifier.verify([verify_row(1, 0, PROMPT)])
    tokens = np.append(PROMPT, plain[:1]).astype(np.int32)
    wrong = (plain[1] + 1) % 90
    tree = DraftTree((wrong, plain[1], wrong, plain[2], plain[3]), (-1, -1, 0, 1, 3))
    [result] = verifier.verify([verify_row(1, first.committed_length, tokens, tree)])
    assert result.path == (1, 3, 4) and list(result.tokens) == plain[1:5]
    tokens = np.append(tokens, result.tokens).astype(np.int32)
    [after] = verifier.verify([verify_row(1, result.committed_length, tokens)])
    assert list(after.tokens) == plain[5:6]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_several_tokens_a_call_are_those_of_several_calls(checkpoint: Directory, temperature: float) -> None:
    verifier = verifier_engine(checkpoint("llama"))
    sampling = SamplingParameters(temperature, seed=7)
    plain = generate(verifier, sampling, 9)
    tree = DraftTree.chain(plain[:2], [])
    lengths = {1: 4, 2: 1, 3: 6}
    rows = [VerifyRow(n, 0, PROMPT, NO_TREE, sampling, length) for n, length in lengths.items()]
    together = verifier.verify([*rows, verify_row(4, 0, PROMPT, tree, sampling)])
    assert [list(result.tokens) for result in together] == [plain[:4], plain[:1], plain[:6], plain[:3]]
    tokens = np.append(PROMPT, plain[:4]).astype(np.int32)
    [after] = verifier.verify([VerifyRow(1, together[0].committed_length, tokens[43:], NO_TREE, sampling, 5)])
    assert list(after.tokens) == plain[4:9]


def test_a_call_for_several_tokens_ends_where_all_rows_end_their_text(checkpoint: Directory) -> None:
    verifier = verifier_engine(checkpoint("llama"))
    plain = generate(verifier, GREEDY, 9)
    ends_early, model = plain.index(plain[3]) + 1, verifier._model
    model.architecture = replace(model.architecture, end_tokens=(plain[3],))
    [alone] = verifier.verify([VerifyRow(1, 0, PROMPT, NO_TREE, GREEDY, 9)])
    assert list(alone.tokens) == plain[:ends_early] and alone.committed_length == len(PROMPT) + ends_early - 1
    goes_on = VerifyRow(2, 0, PROMPT[:20], NO_TREE, GREEDY, 9)
    together = verifier.verify([VerifyRow(3, 0, PROMPT, NO_TREE, GREEDY, 9), goes_on])
    [other] = verifier.verify([replace(goes_on, session_id=4)])
    assert together[1].tokens == other.tokens
    assert len(together[0].tokens) == max(ends_early, len(other.tokens))


def test_rows_together_get_what_each_gets_alone(checkpoint: Directory) -> None:
    verifier = verifier_engine(checkpoint("mistral"))
    prompts = [random_tokens(length, length) for length in (1, 5, 33, 60, 90)]
    sampling = [SamplingParameters(temperature, seed=n) for n, temperature in enumerate((0.0, 1.0, 0.5, 0.0, 2.0))]
    rows = [verify_row(n, 0, prompt, sampling=sampling[n]) for n, prompt in enumerate(prompts)]
    together = verifier.verify(rows)
    verifier.release(range(5))
    assert [verifier.verify([row])[0] for row in rows] == together


def test_drafts_of_unequal_length_together_are_what_each_is_alone(checkpoint: Directory) -> None:
    drafter = drafter_engine(checkpoint("llama"))
    lengths = [0, 1, 6, 3]
    rows = [DraftRow(n, 0, random_tokens(5 + 20 * n, n), length, GREEDY) for n, length in enumerate(lengths)]
    together = drafter.draft(rows)
    assert [len(result.tree) for result in together] == lengths
    for row, result in zip(rows, together, strict=True):
        drafter.release([row.session_id])
        [alone] = drafter.draft([row])
        assert alone.tree.tokens == result.tree.tokens
        assert alone.tree.margins == pytest.approx(result.tree.margins, abs=1e-3)


def test_a_draft_ends_where_going_on_does_not_pay_and_the_session_stands_there(checkpoint: Directory) -> None:
    drafter = drafter_engine(checkpoint("llama"))
    hopeless, hopeful = StopRule(0.1, 0.0, -5.0), StopRule(0.1, 0.0, 5.0)
    [whole] = drafter.draft([DraftRow(1, 0, PROMPT, 6, GREEDY, stop=hopeful)])
    assert len(whole.tree) == 6
    [short] = drafter.draft([DraftRow(2, 0, PROMPT, 6, GREEDY, stop=hopeless)])
    assert short.tree.tokens == whole.tree.tokens[:1]
    both = drafter.draft([DraftRow(n, 0, PROMPT, 6, GREEDY, stop=rule) for n, rule in ((3, hopeless), (4, hopeful))])
    assert [result.tree.tokens for result in both] == [whole.tree.tokens] * 2
    go_on = np.asarray(short.tree.tokens, dtype=np.int32)
    [after] = drafter.draft([DraftRow(2, len(PROMPT), go_on, 5, GREEDY)])
    assert after.tree.tokens == whole.tree.tokens[1:]


def test_a_score_is_the_mean_log_likelihood_and_keeps_no_session(checkpoint: Directory) -> None:
    drafter = drafter_engine(checkpoint("llama"))
    beside = DraftRow(2, 0, PROMPT, 3, GREEDY)
    scored, drafted = drafter.draft([DraftRow(1, 0, PROMPT, 0, GREEDY, score_context=True), beside])
    model = AutoModelForCausalLM.from_pretrained(checkpoint("llama"), dtype=torch.float32)
    tokens = torch.from_numpy(PROMPT.astype(np.int64))
    with torch.inference_mode():
        expected = -torch.nn.functional.cross_entropy(model(tokens[None]).logits[0, :-1], tokens[1:])
    assert scored.context_log_likelihood == pytest.approx(float(expected), rel=1e-3)
    assert drafted.context_log_likelihood == 0 and len(drafted.tree) == 3
    assert drafter.draft([DraftRow(1, 5, PROMPT, 1, GREEDY)])[0].status is Status.UNKNOWN_STATE
    assert drafter.draft([DraftRow(3, 0, PROMPT[:1], 0, GREEDY, score_context=True)])[0].context_log_likelihood == 0


def test_a_state_that_is_not_there_is_said_so_and_resending_mends_it(checkpoint: Directory) -> None:
    verifier = verifier_engine(checkpoint("llama"))
    [lost] = verifier.verify([verify_row(1, 30, PROMPT)])
    assert (lost.status, lost.committed_length) == (Status.UNKNOWN_STATE, 0)
    [first] = verifier.verify([verify_row(1, 0, PROMPT)])
    [stale] = verifier.verify([verify_row(1, 12, PROMPT)])
    assert (stale.status, stale.committed_length) == (Status.UNKNOWN_STATE, first.committed_length)
    [again] = verifier.verify([verify_row(1, 0, PROMPT)])
    assert again == first


def test_the_same_session_twice_in_a_call_is_served_once(checkpoint: Directory) -> None:
    row = verify_row(1, 0, PROMPT)
    first, second = verifier_engine(checkpoint("llama")).verify([row, row])
    assert (first.status, second.status) == (Status.OK, Status.UNKNOWN_STATE)


def test_a_full_cache_is_an_answer_and_a_lease_that_ends_makes_room(checkpoint: Directory) -> None:
    clock = Clock()
    verifier = verifier_engine(checkpoint("llama"), num_slots=2, clock=clock)
    results = verifier.verify([verify_row(n, 0, PROMPT) for n in range(3)])
    assert [result.status for result in results] == [Status.OK, Status.OK, Status.NO_SLOT]
    clock.now = 5.0
    verifier.verify([verify_row(1, 0, PROMPT)])  # renews its lease
    clock.now = 11.0
    assert verifier.verify([verify_row(3, 0, PROMPT)])[0].status is Status.OK
    assert verifier.verify([verify_row(0, 40, PROMPT)])[0].status is Status.UNKNOWN_STATE
    verifier.release([1, 1, 77])
    assert verifier.verify([verify_row(4, 0, PROMPT)])[0].status is Status.OK


def test_what_does_not_fit_is_too_long_beside_rows_that_do(checkpoint: Directory) -> None:
    long, short = verifier_engine(checkpoint("llama")).verify(
        [verify_row(1, 0, random_tokens(198), DraftTree.chain([1, 2, 3], [])), verify_row(2, 0, PROMPT)]
    )
    assert (long.status, short.status) == (Status.TOO_LONG, Status.OK)


def test_the_walk_stops_where_no_child_holds_the_verifiers_token() -> None:
    tree = DraftTree((5, 6, 7), (-1, 0, 1))
    assert match(tree, [5, 6, 9, 3]) == ([0, 1], [5, 6, 9])
    assert match(tree, [4, 6, 7, 3]) == ([], [4])
    assert match(DraftTree(), [4]) == ([], [4])


def test_weights_that_are_missing_damaged_or_foreign_are_named(tmp_path, checkpoint: Directory) -> None:  # type: ignore[no-untyped-def]
    def refusal() -> str:
        with pytest.raises(WeightsError) as error:
            load_weights(tmp_path, torch.float32, torch.device("cpu"), 64)
        return str(error.value)

    assert str(tmp_path) in refusal() and "missing" in refusal()
    (tmp_path / "config.json").write_text((checkpoint("llama") / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    assert "cannot be loaded" in refusal()
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "'gpt2' is not one of llama" in refusal()
