"""Loading Hugging Face directories: whole, safetensors only, never code of their own.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError
from galley.models.checkpoint import check_finite, check_names, check_weights, loading, read_config, whole_json
from galley.models.device import need_gpu

TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")


def load_model(path: Path, *, dtype: torch.dtype, device: str | torch.device = "cpu", attn: str = "sdpa") -> PreTrainedModel:
    """Return a causal LM from a local directory, in eval mode; GalleyError, by name, when it is not whole (galley.models.checkpoint)."""
    path, on_gpu = Path(path), torch.device(device).type == "cuda"
    if on_gpu:
        need_gpu(f"--device is {str(device)!r}")
    check_weights(path, read_config(path))
    # Straight onto a GPU: the processes of a launch would otherwise all hold a copy in the machine's memory at once.
    there = {"device_map": {"": device}} if on_gpu else {}
    with loading(path):
        model, found = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            attn_implementation=attn,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **there,
        )
        model = model.to(device).eval()
    check_names(found, path=path, kind=type(model).__name__)
    check_finite(model.named_parameters(), where=f"the model at {path}")
    _tell_ties(model)
    return model


def _tell_ties(model: PreTrainedModel) -> None:
    """Let the configuration say whether the head is the embedding: a checkpoint that holds both, unlike, is not tied whatever it says."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if getattr(model.config, "tie_word_embeddings", False) and head is not None and head.weight is not embedding.weight:
        model.config.tie_word_embeddings = False


def weight_bytes(model: PreTrainedModel) -> int:
    """Return the bytes that a model's weights take, tied ones once."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a local directory; GalleyError when there is none, or a file of it is missing or broken."""
    path = Path(path)
    if not (path / "tokenizer_config.json").exists():
        raise GalleyError(f"no tokenizer at {path}: it has no tokenizer_config.json; copy the tokenizer's files there")
    if not any(p.name in VOCABULARIES or p.suffix in (".model", ".tiktoken") for p in path.iterdir()):
        raise GalleyError(f"the tokenizer at {path} has no vocabulary, such as tokenizer.json; copy the tokenizer's files there")
    for name in TOKENIZER_FILES:
        if (path / name).exists():
            whole_json(path / name)
    with loading(path, what="tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    names = tokenizer.vocab_files_names
    needs = {names.get("vocab_file", "tokenizer.json"), "tokenizer.json"}
    if not any((path / name).is_file() for name in needs):  # transformers then makes one that knows no words
        raise GalleyError(f"the tokenizer at {path} has no vocabulary ({' or '.join(sorted(needs))}); copy the tokenizer's files there")
    return tokenizer
