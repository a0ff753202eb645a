"""Loading Hugging Face directories: safetensors only, never remote code.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError


def load_model(path: Path, *, dtype: torch.dtype, device: str = "cpu", attn: str = "sdpa") -> PreTrainedModel:
    """Return a causal LM from a local directory, in eval mode; GalleyError when there is none."""
    if not (Path(path) / "config.json").exists():
        raise GalleyError(f"no model at {path}: it has no config.json; make it with `galley prepare-model` or `convert-mla`")
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation=attn,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
    )
    return model.to(device).eval()


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a local directory; GalleyError when there is none."""
    if not (Path(path) / "tokenizer_config.json").exists():
        raise GalleyError(f"no tokenizer at {path}: it has no tokenizer_config.json")
    return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
