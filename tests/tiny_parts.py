"""What the tiny random models have in common: tokenizer, language models, catalogue entry."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from flmm.params import BackboneEntry

SIDE, PATCH = 48, 8
_TEXT = [
    "the red circle left of the star.",
    "a café, two naïve dogs. the dog",
    "USER: ASSISTANT:",
    "Please give me",
]


def tiny_tokenizer(special: tuple[str, ...] = (), **named: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE with BOS; every text is possible, most words are several tokens.

    `special`: more special tokens, from id 4 on; `named`: those that are attributes too (`image_token="<image>"`).
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special_tokens = ["<pad>", "<s>", "</s>", "<image>", "<video>", *special]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        _TEXT * 4,
        trainers.BpeTrainer(
            vocab_size=300 + len(special),
            special_tokens=special_tokens,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=special_tokens[3:],
        extra_special_tokens=named,
        padding_side="left",
    )


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
# Qwen's words around a turn, and what several families took over from them.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def llama(tokenizer: PreTrainedTokenizerFast, key_heads: int) -> LlamaConfig:
    """LLaMA of 3 layers x 4 heads, 32 wide."""
    return LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=key_heads, **SIZES)


def qwen2(tokenizer: PreTrainedTokenizerFast, key_heads: int) -> Qwen2Config:
    """Qwen2 of 3 layers x 4 heads, 32 wide."""
    return Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=key_heads, **SIZES)


def entry(out: Path, family: str) -> BackboneEntry:
    """The catalogue entry of a directory."""
    return BackboneEntry(
        suite="shapes", family=family, model=str(out), revision=None, trust_remote_code=False
    )
