import copy
import math

import pytest
import torch
from torch.nn import functional as F
from window_runs import window_models, windows_of

from galley.artifact import GalleyError
from galley.models.likelihood import final_states, load_windows, save_windows, score_windows


@pytest.fixture(scope="module")
def models():
    return window_models()


def test_bits_per_byte_is_the_plain_cross_entropy(models):
    windows = windows_of(600)  # longer than two chunks of logits
    got = score_windows(models[0], windows, batch_size=2)
    assert list(got["item_id"]) == ["w0", "w1", "w2"]
    for i, row in enumerate(got.itertuples()):
        with torch.no_grad():
            logits = models[0](windows.ids[i : i + 1]).logits[0, :-1]
        nll = F.cross_entropy(logits.double(), windows.ids[i, 1:], reduction="sum")
        size = float(windows.token_bytes[i, 1:].sum())
        assert row.weight == pytest.approx(size)
        assert row.score == pytest.approx(float(nll) / math.log(2) / size, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_error_and_no_row(models, value):
    windows, broken = windows_of(60), copy.deepcopy(models[0])
    with torch.no_grad():
        broken.lm_head.weight[3] = value
    with pytest.raises(GalleyError, match=r"bits_per_byte of heldout 'w0' is nan: .*; take weights and a config\.json that work together"):
        score_windows(broken, windows)
    with pytest.raises(GalleyError, match="kl_to_original of heldout 'w0' is nan"):
        score_windows(models[0], windows, reference=broken)


def test_kl_to_the_original_against_its_definition_and_from_kept_states(models):
    windows = windows_of(300)
    got = score_windows(models[1], windows, reference=models[0])
    kept = score_windows(models[1], windows, reference=models[0], reference_states=final_states(models[0], windows, batch_size=2))
    assert kept["score"].tolist() == pytest.approx(got["score"].tolist(), rel=1e-5)
    for i, row in enumerate(got[got["metric"] == "kl_to_original"].itertuples()):
        with torch.no_grad():
            p, q = (m(windows.ids[i : i + 1]).logits[0, :-1].double().log_softmax(-1) for m in models)
        assert row.score == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)
        assert row.score > 0.01
    assert (score_windows(models[0], windows, reference=models[0]).query("metric == 'kl_to_original'")["score"] == 0).all()


def test_windows_come_back_from_their_file(tmp_path):
    windows = windows_of(20)
    save_windows(windows, tmp_path / "w.safetensors")
    back = load_windows(tmp_path / "w.safetensors")
    assert torch.equal(back.ids, windows.ids) and torch.equal(back.token_bytes, windows.token_bytes) and back.names == windows.names
