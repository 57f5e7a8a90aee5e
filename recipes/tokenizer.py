"""The tiny LMMs' tokenizer: byte-level BPE whose words of the grammar are single tokens."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.narratives import PLURALS
from flmm.shapes.world.questions import CATEGORIES
from flmm.shapes.world.scenes import COLOURS, TEXTURES
from recipes.language import CELLS, corpus_text

SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
_MAX_VOCABULARY = 1024


def train_tokenizer(scenes: int = 3000, **named: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE learnt from the grammar's own words: no unknown tokens, the same merges on every call.

    A space is put before every text, so that a phrase alone gives the same tokens as inside a sentence. `named`
    tokens become attributes of the tokenizer, as some processors want (`image_token="<image>"`). The grid's cells are
    the vocabulary's last tokens.
    """
    learnt = Tokenizer.from_str(_learnt(scenes))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=learnt,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=2048,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=named,
    )
    fast.add_special_tokens(
        {
            "additional_special_tokens": [
                AddedToken(token, special=True, normalized=False) for token in ("<image>", *CELLS)
            ]
        }
    )
    return fast


@cache
def _learnt(scenes: int) -> str:
    """The tokenizer that is learnt from some scenes, as JSON; learning takes tens of seconds, so it is done once."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Rare words (a colour, a plural) count as much as common ones: every one must become a single token.
    words = [*COLOURS, *SHAPES, *PLURALS.values(), *TEXTURES, *CATEGORIES, "Yes", "No", "USER:", "ASSISTANT:"]
    words += ["two three four five", "A B C D", "a an the", "large small"]
    tokenizer.train_from_iterator([*corpus_text(scenes), *(words * 50)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return str(tokenizer.to_str())
