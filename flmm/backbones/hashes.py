"""What a model and its processor are, as one sum each."""

import hashlib
import json
from typing import Any

import torch


def weights_hash(model: Any) -> str:
    """SHA-256 over all weights and buffers (names, dtypes, bytes)."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def processor_hash(processor: Any) -> str:
    """SHA-256 over a processor's settings and its tokenizer."""
    tokenizer = processor.tokenizer
    words = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else json.dumps(tokenizer.get_vocab())
    return hashlib.sha256(f"{processor.to_json_string()}\n{words}".encode()).hexdigest()
