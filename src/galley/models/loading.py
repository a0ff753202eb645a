"""Loading Hugging Face directories: safetensors only, never remote code.

Source: ours.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from galley.artifact import GalleyError


def load_model(path: Path, *, dtype: torch.dtype, device: str | torch.device = "cpu", attn: str = "sdpa") -> PreTrainedModel:
    """Return a causal LM from a local directory, in eval mode; GalleyError when there is none, or only pickled weights."""
    if not (Path(path) / "config.json").exists():
        raise GalleyError(f"no model at {path}: it has no config.json; make it with `galley prepare-model` or `convert-mla`")
    if not list(Path(path).glob("*.safetensors")):
        pickled = sorted(p.name for p in Path(path).glob("*.bin")) or ["no weights"]
        raise GalleyError(
            f"the model at {path} has {pickled[0]} but no safetensors; pickled weights can run code and are not loaded: "
            "save it again with `save_pretrained`, or take a revision with safetensors"
        )
    # Straight onto a GPU: the processes of a launch would otherwise all hold a copy in the machine's memory at once.
    there = {"device_map": {"": device}} if torch.device(device).type == "cuda" else {}
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation=attn,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        **there,
    )
    return model.to(device).eval()


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a local directory; GalleyError when there is none."""
    if not (Path(path) / "tokenizer_config.json").exists():
        raise GalleyError(f"no tokenizer at {path}: it has no tokenizer_config.json; copy the tokenizer's files there")
    return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
