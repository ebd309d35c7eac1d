"""The shapes of the bundled models. Wide and shallow: on a CPU the time goes into matrices, not into dispatch."""

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

CONTEXT_LENGTH = 2048


def new_verifier(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """23M parameters."""
    return _llama(
        tokenizer,
        hidden_size=768,
        num_hidden_layers=3,
        intermediate_size=2048,
        num_attention_heads=12,
        num_key_value_heads=6,
    )


def new_drafter(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """2.5M parameters."""
    return _llama(
        tokenizer,
        hidden_size=256,
        num_hidden_layers=2,
        intermediate_size=704,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


def _llama(tokenizer: PreTrainedTokenizerBase, **shape: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **shape,
    )
    return LlamaForCausalLM(config)
