"""What a model's folder must be before it is loaded: whole files, no code of its own, and the very weights that its architecture has.

transformers fills what a checkpoint lacks with random numbers, drops what it does not know, and says so in a warning. Here a first
pass without memory (the model on torch's meta device) finds each such name, and a folder that has one is refused.

Source: ours, on transformers and safetensors.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from galley import inputs
from galley.artifact import GalleyError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
STORED = ("F64", "F32", "F16", "BF16")  # how safetensors calls the numbers that a float weight may be kept in
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
AGAIN = "fetch the model again, or save it whole with `save_pretrained`"
ABOVE_0 = (lambda x: 0 < x < math.inf, "a finite number above 0")
FROM_0 = (lambda x: 0 <= x < math.inf, "a finite number from 0")
NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "rope_theta": ABOVE_0, "rope_local_base_freq": ABOVE_0, "factor": ABOVE_0, "rms_norm_eps": FROM_0, "layer_norm_eps": FROM_0,
    "layer_norm_epsilon": FROM_0, "max_position_embeddings": (lambda x: x >= 1, "a whole number from 1"),
}  # fmt: skip
ONE_PLACE = "take the weights and config.json from one place"


def check_model(path: Path) -> None:
    """Refuse a model's folder that `load_model` would, a tensor at a time: for programs that load it themselves."""
    config = read_config(path)
    check_weights(path, config)
    for file in weight_files(path):
        with safe_open(file, framework="pt") as stored:
            check_finite(((name, stored.get_tensor(name)) for name in stored.keys()), where=str(file))  # noqa: SIM118


def read_config(path: Path) -> PreTrainedConfig:
    """Return the configuration in a model's folder; GalleyError when it is none, wants its own code or a quantisation nobody knows."""
    file = path / "config.json"
    if not file.is_file():
        raise GalleyError(
            f"no model at {path}: it has no config.json; name a Hugging Face directory, as `galley prepare-model` and `convert-mla` make"
        )
    whole_json(file)
    if (path / "generation_config.json").exists():  # transformers passes a broken one over, and with it the model's end tokens
        whole_json(path / "generation_config.json")
    raw = json.loads(file.read_bytes())
    kind, quantised = raw.get("model_type"), raw.get("quantization_config")
    if kind not in CONFIG_MAPPING:
        if raw.get("auto_map"):
            raise own_code(path)
        raise GalleyError(
            f"model_type in {file} is {kind!r}, which transformers {transformers.__version__} does not know; take a model that it does"
        )
    if isinstance(quantised, dict):
        method = quantised.get("quant_method")
        known = {*AUTO_QUANTIZATION_CONFIG_MAPPING, "bitsandbytes", None}  # older bitsandbytes models name no method
        if method not in known:
            raise GalleyError(
                f"quantization_config in {file} has quant_method {method!r}, which transformers {transformers.__version__} does not know: "
                "the weights would be read as if they were plain; take the unquantised model"
            )
    _check_numbers(raw, file=file)
    with loading(path):
        return AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)


def _check_numbers(raw: dict[str, Any], *, file: Path) -> None:
    """Refuse a configuration's numbers with which no model computes, at any depth: transformers takes them, and scores would be NaN."""
    for name, value in raw.items():
        if isinstance(value, dict):
            _check_numbers(value, file=file)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        fine, takes = NUMBERS.get(name, (lambda x: not math.isnan(x), "a number"))
        if not fine(value):
            raise GalleyError(f"{name} in {file} is {value}; it takes {takes}: {ONE_PLACE}")


def weight_files(path: Path) -> list[Path]:
    """Return the safetensors files that hold a model's weights; GalleyError when there are none, or one is missing or not whole."""
    files = [path / WEIGHTS]
    if not files[0].is_file():
        if not (path / INDEX).is_file():
            raise _no_weights(path)
        whole_json(path / INDEX)
        shards = json.loads((path / INDEX).read_bytes()).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(s, str) and Path(s).name == s for s in shards.values()):
            raise GalleyError(f"{path / INDEX} has no weight_map of tensors to files beside it; {AGAIN}")
        files = [path / name for name in sorted(set(shards.values()))]
    wrong = inputs.first_wrong(files, [inputs.tensors()])
    if wrong:
        raise GalleyError(f"{wrong[0]}, which holds weights of the model, {wrong[1]}; {AGAIN}")
    return files


def _no_weights(path: Path) -> GalleyError:
    """Return the error for a folder without the files that weights are read from, by what it has in their place."""
    others = {p.suffix: p.name for p in sorted(path.iterdir()) if p.is_file()}
    if ".safetensors" in others:
        return GalleyError(f"the model at {path} has {others['.safetensors']}, but neither {WEIGHTS} nor {INDEX}; {AGAIN}")
    pickled = next((others[suffix] for suffix in (".bin", ".pt", ".pth") if suffix in others), None)
    if pickled:
        return GalleyError(
            f"the model at {path} has {pickled} but no safetensors; pickled weights can run code and are not loaded: "
            "save it again with `save_pretrained`, or take a revision with safetensors"
        )
    return GalleyError(f"the model at {path} has no weights: neither {WEIGHTS} nor {INDEX}; {AGAIN}")


def check_weights(path: Path, config: PreTrainedConfig) -> None:
    """Refuse a folder whose weights are not those of its configuration, by name; quantised ones are compared when they are loaded."""
    files = weight_files(path)
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise GalleyError(f"the model at {path} is of type {config.model_type!r}, which is no causal language model; give one that is")
    if getattr(config, "quantization_config", None) is not None:
        return
    with loading(path), _quiet():
        model, found = AutoModelForCausalLM.from_pretrained(
            path, device_map={"": "meta"}, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True,
            trust_remote_code=False, use_safetensors=True,
        )  # fmt: skip
    check_names(found, path=path, kind=type(model).__name__)
    floats = {name for name, p in model.named_parameters() if p.is_floating_point()}
    for file in files:
        with safe_open(file, framework="pt") as stored:
            for name in floats.intersection(stored.keys()):
                dtype = stored.get_slice(name).get_dtype()
                if dtype not in STORED:
                    raise GalleyError(f"{name} in {file} is kept as {dtype}, and config.json says of no quantisation; {ONE_PLACE}")


def check_names(found: dict[str, Any], *, path: Path, kind: str) -> None:
    """Refuse what transformers says of a load (its loading info) where a tensor was missing, left over or of another shape."""
    wrong = sorted(found["mismatched_keys"])
    if wrong:
        name, here, wanted = wrong[0]
        raise GalleyError(f"{name}{_more(wrong)} of the model at {path} has shape {tuple(here)}, but its config.json asks for "
                          f"{tuple(wanted)}; {ONE_PLACE}")  # fmt: skip
    missing = sorted(found["missing_keys"])
    if missing:
        raise GalleyError(f"the model at {path} lacks {missing[0]}{_more(missing)}, which a {kind} has: it would be random; {AGAIN}")
    left = sorted(found["unexpected_keys"])
    if left:
        raise GalleyError(f"the model at {path} has {left[0]}{_more(left)}, which a {kind} has not: it would be dropped; {ONE_PLACE}")


def check_finite(named: Iterable[tuple[str, torch.Tensor]], *, where: str) -> None:
    """Refuse tensors with NaN or infinity, by name: the least and the greatest of each say so, 10 times faster than asking every number."""
    with torch.no_grad():
        ends = {name: torch.stack(torch.aminmax(x)).isfinite().all() for name, x in named if x.dtype in FLOATS and x.numel()}
    if not ends or torch.stack(list(ends.values())).all():  # one answer to wait for on a GPU
        return
    bad = [name for name, fine in ends.items() if not fine]
    raise GalleyError(
        f"{bad[0]}{_more(bad)} in {where} has NaN or infinite values: its training diverged, or the file is damaged; "
        "fetch it again, or take an earlier checkpoint"
    )


def load_tensors(path: Path, *names: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file; GalleyError when it is not whole, lacks one of these names, or is not finite."""
    wrong = inputs.first_wrong([path], [inputs.tensors(*names)])
    if wrong:
        raise GalleyError(f"{wrong[0]} {wrong[1]}; run the stage that makes it again")
    tensors = load_file(path)
    check_finite(tensors.items(), where=str(path))
    return tensors


def whole_json(file: Path) -> None:
    """Refuse a file of a model's folder that is not one JSON object."""
    wrong = inputs.first_wrong([file], [inputs.json_object])
    if wrong:
        raise GalleyError(f"{file} {wrong[1]}; fetch the file again")


def own_code(path: Path, *, what: str = "model") -> GalleyError:
    """Return the error for a folder that transformers would load with code of its own."""
    return GalleyError(
        f"the {what} at {path} wants code of its own (auto_map in its JSON files), which is never run; "
        "take a version of it that transformers loads without"
    )


@contextlib.contextmanager
def loading(path: Path, *, what: str = "model") -> Iterator[None]:
    """Turn what transformers raises over a folder's files, which can be any error, into one line for the user."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise GalleyError(f"the {what} at {path} does not fit into memory; take a smaller one, or bfloat16") from None
    except ImportError as error:  # of quantisation, or a tokenizer's library
        raise GalleyError(
            f"the {what} at {path} needs a package that is not here: {_first(error)}; install it, or take the plain weights"
        ) from None
    except GalleyError:
        raise
    except Exception as error:
        if "can't allocate memory" in str(error):  # torch's own way to say it on a CPU
            raise GalleyError(f"the {what} at {path} does not fit into memory; take a smaller one, or bfloat16") from None
        if "trust_remote_code" in str(error):
            raise own_code(path, what=what) from None
        raise GalleyError(f"the {what} at {path} cannot be loaded: {_first(error)}; {AGAIN}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within, transformers says nothing below an error and shows no bar: what it found is said in our one line."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()


def _more(names: Sequence[Any]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _first(error: BaseException) -> str:
    """Return the last sentence-like line of an error that says something, cut to a readable length, with the error's kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__
