import math

import pytest
from pydantic import ValidationError

from galley.models.spec import CorpusPlan, Model, ScratchModel

SHAPE = {"vocab_size": 300, "d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48, "context": 128, "steps": 1,
         "batch_size": 1, "lr": 1e-3}  # fmt: skip
HUB = {"kind": "hub", "repo": "owner/name", "params_m": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_heads": 5}, "d_model is 64; it must be an even multiple of n_heads, 5"),
        ({"d_model": 12}, "d_model is 12; it must be an even multiple of n_heads, 4"),  # heads of size 3 have no pairs
        ({"n_kv_heads": 3}, "n_heads is 4; it must be a multiple of n_kv_heads, 3"),
        ({"n_kv_heads": 8}, "n_heads is 4; it must be a multiple of n_kv_heads, 8"),
        ({"n_kv_heads": 0}, "greater than 0"),
        ({"lr": math.inf}, "finite"),
    ],
)
def test_a_shape_that_is_no_model_is_refused(change, message):
    assert ScratchModel(**SHAPE).n_heads == 4
    with pytest.raises(ValidationError, match=message):
        ScratchModel(**SHAPE | change)


@pytest.mark.parametrize("change", [{"tokens_per_step": 0}, {"seq_len": -1}, {"steps": 0}, {"params_m": math.nan}], ids=str)
def test_a_model_s_numbers_are_above_zero(change):
    with pytest.raises(ValidationError, match=r"greater than 0|finite"):
        Model(**HUB | change)


def test_a_corpus_takes_no_negative_bytes():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        CorpusPlan(max_bytes={"stdlib": -1})
