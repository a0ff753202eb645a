"""The authors' published ranks of the rotary pairs, where a mirror has them (source mha2mla_ranks)."""

import os
from pathlib import Path

import pytest
import torch

from galley.data.fetch import check
from galley.data.sources import load_sources
from galley.papers.mha2mla.partial_rope import select_pairs

FOLDER = Path(os.environ.get("GALLEY_MIRROR", "/no/mirror")) / "mha2mla_ranks"
SHAPES = {"135M": (30, 3, 64), "360M": (32, 5, 64), "1B7": (24, 32, 64)}
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the mirror has no mha2mla_ranks (galley fetch mha2mla_ranks)")


def ranks(name):
    file = f"smollm1_{name}-2_norm_rank.pth"
    check(FOLDER / file, load_sources(Path("recipes/sources.yaml"))["mha2mla_ranks"].files[file], what=file)
    return torch.load(FOLDER / file, weights_only=True)


@pytest.mark.parametrize("name", SHAPES)
def test_a_rank_tensor_is_a_permutation_of_the_pairs_given_for_both_halves(name):
    rank = ranks(name)
    assert rank.dtype == torch.uint8 and tuple(rank.shape) == SHAPES[name]
    first, second = rank.long().chunk(2, dim=-1)
    assert torch.equal(first, second)  # pair k is dims k and k + d_h/2, as in our layout
    assert torch.equal(first.sort(dim=-1).values, torch.arange(32).expand_as(first))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("r", [2, 4, 8])
def test_our_selection_keeps_the_pairs_that_the_authors_mask_keeps(name, r):
    rank = ranks(name).long()[..., :32]
    layers, heads, _ = rank.shape
    ours = select_pairs("2-norm", r=r, d_h=64, n_kv=heads, n_layers=layers, scores=-rank.float())
    kept = torch.zeros_like(rank, dtype=torch.bool).scatter(-1, ours, True)
    assert torch.equal(kept, rank < r)


def test_the_kept_pairs_of_the_135m_model_are_low_to_middle_frequencies():
    rank = ranks("135M").long()[..., :32]
    pairs = (rank < 4).nonzero()[:, -1]
    assert 0.80 < (pairs >= 16).float().mean() < 0.92  # not what S_high keeps (0 to 3), nor an even spread (0.5)
    assert (pairs < 4).float().mean() < 0.05
