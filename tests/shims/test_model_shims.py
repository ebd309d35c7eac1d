"""Verifier and drafters as Triton runs them: their `model.py`, the bundle's weights, tensors in and out."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import triton_python_backend_utils as pb_utils
from cospec.config import DEFAULT_REPOSITORY, DEFAULT_SETTINGS, SETTINGS_VARIABLE
from cospec.speculation.types import DraftRow, DraftTree, SamplingParameters, Status, VerifyRow
from cospec.triton_io import rows as codec
from cospec.triton_io.tensors import Arrays, as_tensors, read_outputs

PROMPT = np.arange(40, 52, dtype=np.int32)
GREEDY = SamplingParameters()


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Metrics, by name, of models that load at once: few slots, no compiled forwards."""
    settings = tmp_path / "cospec.yaml"
    text = DEFAULT_SETTINGS.read_text(encoding="utf-8")
    settings.write_text(text.replace("compile: auto", "compile: never").replace("num_slots: 64", "num_slots: 4"))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(settings))
    families: dict[str, list[Any]] = {}
    monkeypatch.setattr(pb_utils.MetricFamily, "published", families)
    return families


def loaded(name: str) -> Iterator[Any]:
    """As Triton does it: the file is imported, its class is made without arguments."""
    spec = importlib.util.spec_from_file_location("model", DEFAULT_REPOSITORY / name / "1" / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize({"model_name": name, "model_version": "1", "model_repository": str(DEFAULT_REPOSITORY / name)})
    yield model
    model.finalize()


@pytest.fixture
def verifier() -> Iterator[Any]:
    yield from loaded("verifier")


@pytest.fixture(params=["chat", "math"])
def drafter(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from loaded(f"drafter_{request.param}")


def answer_of(model: Any, inputs: Arrays) -> Any:
    [response] = model.execute([pb_utils.InferenceRequest(inputs=as_tensors(inputs))])
    return response


def test_a_verifier_accepts_its_own_words(verifier: Any, published: dict[str, list[Any]]) -> None:
    plain = VerifyRow(1, 0, PROMPT, DraftTree(), GREEDY, num_tokens=4)
    [said] = codec.decode_verify_results(read_outputs(answer_of(verifier, codec.encode_verify([plain]))))
    drafted = VerifyRow(2, 0, PROMPT, DraftTree.chain(said.tokens[:3], [0.0] * 3), GREEDY)
    [checked] = codec.decode_verify_results(read_outputs(answer_of(verifier, codec.encode_verify([drafted]))))
    assert (checked.status, checked.path, checked.tokens) == (Status.OK, (0, 1, 2), said.tokens)
    assert any(metric.labels.get("model") == "verifier" for family in published.values() for metric in family)


def test_a_drafter_drafts(drafter: Any) -> None:
    row = DraftRow(1, 0, PROMPT, 4, GREEDY)
    [drafted] = codec.decode_draft_results(read_outputs(answer_of(drafter, codec.encode_draft([row]))))
    assert drafted.status is Status.OK and len(drafted.tree) == 4 and drafted.tree.is_chain()


def test_a_call_without_its_tensors_is_answered_with_an_error(drafter: Any) -> None:
    inputs = codec.encode_release([1], with_nodes=False)
    del inputs["row"]
    assert answer_of(drafter, inputs).error().message() == "INVALID_ARGUMENT: tensor 'row' is missing"


def test_a_token_that_is_none_fails_its_own_call_alone(verifier: Any) -> None:
    def call(tokens: list[int], tree: DraftTree, session_id: int) -> Any:
        row = VerifyRow(session_id, 0, np.asarray(tokens, dtype=np.int32), tree, GREEDY)
        return pb_utils.InferenceRequest(inputs=as_tensors(codec.encode_verify([row])))

    calls = [call([5], DraftTree(), 1), call([2**30], DraftTree(), 2), call([5], DraftTree.chain((-7,), (0.0,)), 3)]
    good, *broken = verifier.execute(calls)
    assert not good.has_error()
    assert [response.error().message() for response in broken] == [
        f"INVALID_ARGUMENT: {name} must hold token ids from 0 to 4095" for name in ("context", "node_tokens")
    ]
