import pytest
import torch
from transformers import LlamaForCausalLM

from galley.artifact import GalleyError
from galley.models.loading import load_model, load_tokenizer
from galley.models.scratch import build_llama, train_tokenizer


@pytest.fixture
def saved(tmp_path):
    model = build_llama(vocab_size=280, d_model=32, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=32, context=64, seed=0)
    model.save_pretrained(tmp_path)
    train_tokenizer(["some text " * 9], vocab_size=280).save_pretrained(tmp_path)
    return tmp_path, model


def test_a_saved_model_comes_back_in_eval_mode_and_the_asked_dtype(saved):
    path, model = saved
    again = load_model(path, dtype=torch.float32)
    assert isinstance(again, LlamaForCausalLM) and not again.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert load_model(path, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert load_tokenizer(path)("some text")["input_ids"]


def test_an_empty_folder_is_named_with_the_way_out(tmp_path):
    with pytest.raises(GalleyError, match=rf"no model at {tmp_path}.*galley prepare-model"):
        load_model(tmp_path, dtype=torch.float32)
    with pytest.raises(GalleyError, match=rf"no tokenizer at {tmp_path}.*tokenizer_config\.json; copy"):
        load_tokenizer(tmp_path)


class Mark:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickled_weights_are_refused_without_being_opened(saved):
    path, model = saved
    (path / "model.safetensors").unlink()
    torch.save({"state": model.state_dict(), "mark": Mark(path / "ran")}, path / "pytorch_model.bin")
    with pytest.raises(GalleyError, match=rf"model at {path} has pytorch_model\.bin but no safetensors.*save it again"):
        load_model(path, dtype=torch.float32)
    assert not (path / "ran").exists()


def test_a_folder_without_weights_says_so(saved):
    path, _ = saved
    (path / "model.safetensors").unlink()
    with pytest.raises(GalleyError, match=rf"model at {path} has no weights"):
        load_model(path, dtype=torch.float32)


def test_code_in_a_model_folder_is_not_run(saved):
    path, _ = saved
    (path / "evil.py").write_text(f"open({str(path / 'ran')!r}, 'w')\nfrom transformers import LlamaForCausalLM as Evil\n")
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(
        text.replace('"model_type": "llama"', '"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}')
    )
    with pytest.raises((GalleyError, ValueError)):
        load_model(path, dtype=torch.float32)
    assert not (path / "ran").exists()
