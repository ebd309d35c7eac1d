"""The stages of training, each from files to files, so that one can be run again without the others."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cospec.config import drafter_model, load_settings
from cospec.engine.building import build_drafter, build_verifier
from cospec.engine.in_process import InProcessDrafter, InProcessVerifier
from cospec.engine.routing_prior import routing_prior_path, vocabulary_size, write_routing_prior
from cospec.engine.vocabulary import load_vocabulary
from cospec.training.acceptance import AcceptanceMatrix, Prompts, measure_acceptance
from cospec.training.architectures import new_drafter, new_verifier
from cospec.training.continuations import generate_continuations
from cospec.training.corpus import CorpusError, Example, MixedBatches, PackedStream, by_domain, encode, read_corpus
from cospec.training.distill import DistillRecipe, distill
from cospec.training.pretrain import PretrainRecipe, pretrain
from cospec.training.routing_prior import accuracy, train_routing_prior
from cospec.training.tokenizer import train_tokenizer
from cospec.training.windows import after_prompts, tokenize

ROW_LENGTH = 1024
PRETRAIN_ROWS, DISTILL_ROWS = 8, 4
CONTINUATION_TOKENS, CONTINUATION_BATCH = 160, 64
MATRIX_PROMPTS, MATRIX_TOKENS = 16, 96


class StageError(ValueError):
    """What a stage begins with is not there; the message names it and the stage that makes it."""


@dataclass(frozen=True)
class TrainingPlan:
    """What `cospec-server train` was asked to do."""

    corpus: Path
    validation: Path
    work: Path
    model_repository: Path
    domains: list[str] | None
    seed: int
    vocab_size: int
    pretrain_steps: int
    pretrain_minutes: float
    distill_steps: int
    distill_minutes: float
    continuations: int
    further: bool


def train_tokenizer_stage(plan: TrainingPlan) -> None:
    texts = (text for example in read_corpus(plan.corpus) for text in (example.prompt, example.response))
    train_tokenizer(texts, plan.vocab_size).save_pretrained(plan.work / "tokenizer")


def pretrain_stage(plan: TrainingPlan) -> None:
    torch.manual_seed(plan.seed)
    tokenizer = _load_tokenizer(plan)
    verifier, drafter = new_verifier(tokenizer), new_drafter(tokenizer)
    streams = {
        domain: PackedStream(encode(group, tokenizer), ROW_LENGTH, plan.seed)
        for domain, group in sorted(by_domain(read_corpus(plan.corpus)).items())
    }
    batches = MixedBatches(streams, PRETRAIN_ROWS, plan.seed)

    def save() -> None:
        _save(verifier, tokenizer, plan.work / "verifier")
        _save(drafter, tokenizer, plan.work / "drafter_common")

    pretrain(verifier, drafter, batches, PretrainRecipe(plan.pretrain_steps, plan.pretrain_minutes), save)


def distill_stage(plan: TrainingPlan) -> None:
    groups = by_domain(read_corpus(plan.corpus))
    if unknown := sorted(set(plan.domains or ()) - groups.keys()):
        raise CorpusError(f"--domains names {unknown[0]!r}; domains of {plan.corpus}: {', '.join(sorted(groups))}")
    for domain in plan.domains or sorted(groups):
        _distill_domain(plan, domain, groups[domain])


def publish_stage(plan: TrainingPlan) -> None:
    """Copy the weights into the model repository and measure the acceptance matrix on held-out prompts."""
    domains = sorted(by_domain(read_corpus(plan.validation)))
    trained = {} if plan.further else {"verifier": _made_by("pretrain", plan.work / "verifier")}
    trained |= {name: _made_by("distill", plan.work / name) for name in map(drafter_model, domains)}
    for model, checkpoint in trained.items():
        target = _published(plan, model)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(checkpoint, target)
    matrices = measure_matrices(plan.model_repository, read_corpus(plan.validation))
    report = {f"{matrix.temperature:g}": matrix.mean_acceptance_length for matrix in matrices}
    (plan.work / "acceptance.json").write_text(json.dumps(report, indent=2))
    for matrix in matrices:
        print(matrix.as_markdown(), f"\ndiagonal mean {matrix.diagonal_mean():.2f}; lost: {matrix.domains_lost()}\n")


def routing_prior_stage(plan: TrainingPlan) -> None:
    """Into the model repository, by the tokenizer that it serves; needs no other stage's checkpoints."""
    weights = _published(plan, "verifier")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(weights)
    documents = tokenize(read_corpus(plan.corpus), tokenizer)
    size = vocabulary_size(weights) or len(tokenizer)
    prior = train_routing_prior(documents, size, tokenizer.all_special_ids, plan.seed)
    share = accuracy(prior, after_prompts(tokenize(read_corpus(plan.validation), tokenizer)))
    write_routing_prior(prior, routing_prior_path(plan.model_repository))
    print(f"routing prior: the right domain first on {share:.1%} of the validation prompts")


def measure_matrices(repository: Path, examples: list[Example]) -> list[AcceptanceMatrix]:
    """Greedy and T = 1, with the engine and settings that the server would use."""
    engine = load_settings().engine
    weights = repository / "verifier" / "1" / "weights"
    vocabulary = load_vocabulary(weights)
    groups = by_domain(examples)
    prompts: Prompts = {
        domain: [tuple(vocabulary.encode(example.prompt)) for example in group[:MATRIX_PROMPTS]]
        for domain, group in sorted(groups.items())
    }
    verifier = InProcessVerifier(build_verifier(engine, weights))
    drafters = {
        domain: InProcessDrafter(build_drafter(engine, repository / drafter_model(domain) / "1" / "weights"))
        for domain in prompts
    }
    return [
        measure_acceptance(verifier, drafters, vocabulary.end_tokens, prompts, temperature, MATRIX_TOKENS)
        for temperature in (0.0, 1.0)
    ]


def _distill_domain(plan: TrainingPlan, domain: str, examples: list[Example]) -> None:
    teacher, beginning = _origins(plan, domain)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(teacher)
    verifier, drafter = _load(teacher).eval(), _load(beginning)
    continuations = generate_continuations(
        verifier, tokenizer, examples, plan.continuations, CONTINUATION_TOKENS, CONTINUATION_BATCH, plan.seed
    )
    corpus_steps = plan.distill_steps // 2
    recipe = DistillRecipe(corpus_steps, plan.distill_steps - corpus_steps, plan.distill_minutes)
    distill(
        verifier,
        drafter,
        _batches(encode(examples, tokenizer), plan.seed),
        _batches(continuations, plan.seed),
        recipe,
        domain,
    )
    _save(drafter, tokenizer, plan.work / drafter_model(domain))


def _origins(plan: TrainingPlan, domain: str) -> tuple[Path, Path]:
    """Checkpoints of the verifier, and of what becomes the domain's drafter."""
    if not plan.further:
        return _made_by("pretrain", plan.work / "verifier"), _made_by("pretrain", plan.work / "drafter_common")
    teacher, beginning = _published(plan, "verifier"), _published(plan, drafter_model(domain))
    return _made_by("publish", teacher), _made_by("publish", beginning)


def _published(plan: TrainingPlan, model: str) -> Path:
    return plan.model_repository / model / "1" / "weights"


def _batches(documents: list[NDArray[np.int64]], seed: int) -> Callable[[], Tensor]:
    stream = PackedStream(documents, ROW_LENGTH, seed)
    return lambda: torch.from_numpy(np.stack([stream.next_row() for _ in range(DISTILL_ROWS)]))


def _load_tokenizer(plan: TrainingPlan) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(_made_by("tokenizer", plan.work / "tokenizer"))


def _made_by(stage: str, directory: Path) -> Path:
    """Raises `StageError`."""
    if not directory.is_dir():
        raise StageError(f"{directory} is missing; the stage {stage!r} makes it")
    return directory


def _load(directory: Path) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """bf16 safetensors in Hugging Face format; the model in training keeps its own precision."""
    state = {name: tensor.detach().to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.config.dtype = "bfloat16"
    model.save_pretrained(directory, state_dict=state)
    tokenizer.save_pretrained(directory)
