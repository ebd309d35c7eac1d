"""`cospec-server train`: tokenizer, verifier, drafters and acceptance matrix, from corpora to a model repository."""

import argparse
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cospec.training.architectures import new_drafter, new_verifier
from cospec.training.corpus import Example, MixedBatches, PackedStream, by_domain, encode, read_corpus
from cospec.training.pretrain import PretrainRecipe, pretrain
from cospec.training.tokenizer import train_tokenizer

ROW_LENGTH = 1024


def weights_directory(repository: Path, model_name: str) -> Path:
    return repository / model_name / "1" / "weights"


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """bf16 safetensors in Hugging Face format; the model in training keeps its own precision."""
    state = {name: tensor.detach().to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.config.dtype = "bfloat16"
    model.save_pretrained(directory, state_dict=state)
    tokenizer.save_pretrained(directory)


def domain_streams(examples: list[Example], tokenizer: PreTrainedTokenizerBase, seed: int) -> dict[str, PackedStream]:
    return {
        domain: PackedStream(encode(group, tokenizer), ROW_LENGTH, seed)
        for domain, group in sorted(by_domain(examples).items())
    }


def run_tokenizer(arguments: argparse.Namespace) -> PreTrainedTokenizerFast:
    texts = (text for example in read_corpus(arguments.corpus) for text in (example.prompt, example.response))
    tokenizer = train_tokenizer(texts, arguments.vocab_size)
    tokenizer.save_pretrained(arguments.work / "tokenizer")
    return tokenizer


def load_tokenizer(arguments: argparse.Namespace) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(arguments.work / "tokenizer")


def run_pretrain(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    tokenizer = load_tokenizer(arguments)
    verifier, drafter = new_verifier(tokenizer), new_drafter(tokenizer)
    streams = domain_streams(read_corpus(arguments.corpus), tokenizer, arguments.seed)
    batches = MixedBatches(streams, arguments.rows, arguments.seed)
    recipe = PretrainRecipe(num_steps=arguments.steps, minutes=arguments.minutes)

    def save() -> None:
        save_model(verifier, tokenizer, arguments.work / "verifier")
        save_model(drafter, tokenizer, arguments.work / "drafter_common")

    pretrain(verifier, drafter, batches, recipe, save)
