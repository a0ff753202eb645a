"""The lists of compressed channels that the authors ship, counted: their shares by layer and by rotary pair, and which lists are one.

arXiv:2506.11886, section 3.3; `compressed_dims_file/` of the authors' repository (no licence: read here, never copied). A list names, by
layer and projection, flat channels of all key-value heads in half-split layout, as the model library lays them out.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from galley.artifact import GalleyError
from galley.data.fetched import present
from galley.papers.fourier_attention.selection import compressed_shares
from galley.tables.items import Rows, absent, scored, unreached

SOURCE = "fourier_channel_lists"
HEADS, WIDTH = 8, 128  # key-value heads of both models, and their dims
SIDES = ("self_attn.k_proj", "self_attn.v_proj")
# File, its model, and the scheme that its ratios should be.
LISTS = (
    ("llama3.1-8b-fourier/compressed_dims_32k_1024states.json", "Llama-3.1-8B", "pyramid"),
    ("llama3.2-3b-fourier/compressed_dims_32k_1024states.json", "Llama-3.2-3B", "pyramid"),
    ("llama3.2-3b-fourier/compressed_dims_4k_fourier.json", "Llama-3.2-3B", "pyramid"),
    ("llama3.2-3b-fourier/compressed_dims_4k_legT.json", "Llama-3.2-3B", "pyramid"),
    ("llama3.2-3b-fourier/compressed_dims_4k_kv-inverse.json", "Llama-3.2-3B", "kv_inverse"),
    ("llama3.2-3b-fourier/compressed_dims_4k_layer-inverse.json", "Llama-3.2-3B", "layer_inverse"),
    ("llama3.2-3b-fourier/compressed_dims_4k_uniform.json", "Llama-3.2-3B", "uniform"),
)
CHOSEN = LISTS[:2]  # the lists of the main results
BY_HEAD = "llama3.2-3b-fourier/compressed_dims_32k_{states}states_splithead.json"  # what the authors' cache reads
Chosen = list[tuple[list[int], list[int]]]  # of keys and values, by layer


def list_rows(sources: Path) -> Rows:
    """Return what the shipped lists say; without them, rows that say so."""
    if not present(sources / SOURCE):
        why = unreached(SOURCE)
        measured = (("shipped", "list", "count_gap"), ("shipped", "list", "compressed_share"), ("fast_pairs", "list", "compressed_share"),
                    ("512 and 2048 states", "list", "differs"))  # fmt: skip
        return [absent(method, benchmark, metric, why) for method, benchmark, metric in measured]
    folder = sources / SOURCE
    return [*count_rows(folder), *pair_rows(folder), *same_rows(folder)]


def read_list(path: Path) -> Chosen:
    """Return a shipped list; GalleyError when it is not of the shape described above."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        chosen = [tuple([int(i) for i in raw[f"Layer_{layer}"][side]] for side in SIDES) for layer in range(len(raw))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GalleyError(f"{path} is no list of channels by layer ({error}); delete its folder and run again") from None
    wrong = [ids for pair in chosen for ids in pair if len(set(ids)) < len(ids) or not set(ids) <= set(range(HEADS * WIDTH))]
    if wrong:
        raise GalleyError(f"{path} has a channel twice or beyond {HEADS * WIDTH - 1}: {wrong[0][:5]}; delete its folder and run again")
    return chosen  # type: ignore[return-value]


def count_rows(folder: Path) -> Rows:
    """Return the channels that each list has more than its scheme's ratios give, and the share of the main results' lists."""
    rows: Rows = []
    total = HEADS * WIDTH
    for file, model, scheme in LISTS:
        chosen, name = read_list(folder / file), Path(file).stem.removeprefix("compressed_dims_")
        for control, ratios in (("shipped", scheme), ("control:other_scheme", "pyramid" if scheme != "pyramid" else "layer_inverse")):
            for layer, (pair, shares) in enumerate(zip(chosen, compressed_shares(len(chosen), scheme=ratios), strict=True)):
                rows += [scored(control, "list", "count_gap", len(ids) - int(share * total), unit="channels", model=model,
                                setting=name, item_id=f"layer={layer},{side}")
                         for ids, share, side in zip(pair, shares, "kv", strict=True)]  # fmt: skip
        if (file, model, scheme) in CHOSEN:
            share = sum(len(ids) for pair in chosen for ids in pair) / (2 * len(chosen) * total)
            first = sum(len(ids) for ids in chosen[0]) / (2 * total)
            rows += [scored(method, "list", "compressed_share", value, unit="fraction", model=model, setting="all", item_id=model)
                     for method, value in (("shipped", share), ("control:first_layer", first))]  # fmt: skip
    return rows


def pair_rows(folder: Path) -> Rows:
    """Return the share of the fast and of the slow half of the rotary pairs of the keys that is compressed, by layer.

    Beside it the halves by dim number, which is what the paper's "dims 0-69" are in another layout: they hold both kinds of pairs.
    """
    dim = torch.arange(HEADS * WIDTH) % WIDTH
    halves = {"fast_pairs": dim % (WIDTH // 2) < WIDTH // 4, "slow_pairs": dim % (WIDTH // 2) >= WIDTH // 4,
              "control:first_dims": dim < WIDTH // 2, "control:last_dims": dim >= WIDTH // 2}  # fmt: skip
    rows: Rows = []
    for file, model, _ in CHOSEN:
        for layer, (keys, _values) in enumerate(read_list(folder / file)):
            taken = torch.zeros(HEADS * WIDTH)
            taken[keys] = 1
            rows += [scored(name, "list", "compressed_share", float(taken[half].mean()), unit="fraction", model=model,
                            setting="keys", item_id=f"layer={layer}")
                     for name, half in halves.items()]  # fmt: skip
    return rows


def same_rows(folder: Path) -> Rows:
    """Return whether the lists by head of the state-count ablation differ, and beside them that of the main results."""
    few, many, usual = ((folder / BY_HEAD.format(states=states)).read_bytes() for states in (512, 2048, 1024))
    return [scored(method, "list", "differs", other != few, unit="count", model="Llama-3.2-3B")
            for method, other in (("512 and 2048 states", many), ("control:512 and 1024 states", usual))]  # fmt: skip
