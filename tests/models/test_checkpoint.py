"""Each kind of damage is refused by name, in one line with the way out, by every loader that a command reaches."""

import json
import re
from pathlib import Path

import pytest
import torch
from damage import MODEL, NAME, QUANTISED, TOKENIZER, WEIGHTS, damaged, save_tiny
from safetensors.torch import load_file, save_file

from galley import usage
from galley.artifact import GalleyError
from galley.cli import app
from galley.evaluate.lm_eval_cli import folders, run_lm_eval
from galley.llm import HFBackend
from galley.models.checkpoint import check_finite, check_model, load_tensors
from galley.models.loading import load_model, load_tokenizer
from galley.papers.mha2mla.calibration import load_norms, save_norms
from galley.papers.mha2mla.own_model import convert_own_model

ROOT = Path(__file__).parents[2]


def convert(path):
    out = path.parent / "mla"
    try:
        convert_own_model(
            str(path), out=out, d_kv=4, strategy="high", r=None, svd="joint", balance="balanced", expand_gqa=False, calibration=None,
            dtype="float32", revision=None,
        )  # fmt: skip
    finally:
        assert not out.exists()


LOADERS = {
    "every stage": lambda path: load_model(path, dtype=torch.float32),
    "code-generate": HFBackend.load,
    "convert-mla": convert,
    "lm-eval": lambda path: run_lm_eval(["--model", "hf", "--model_args", f"dtype=float32,pretrained={path}", "--tasks", "none"]),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "whole"
    save_tiny(path)
    return path


def refusal(load, path):
    with pytest.raises(GalleyError) as caught:
        load(path)
    said = str(caught.value)
    assert "\n" not in said and (str(path) in said or "model type" in said), said
    assert ";" in said, "no way out"
    return said


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("damage", MODEL)
def test_a_damaged_model_is_refused_by_name(whole, tmp_path, damage, loader, capfd):
    how, message = MODEL[damage]
    said = refusal(loader, damaged(whole, tmp_path / "model", how))
    assert re.search(message, said), said
    assert "trust_remote_code" not in said + capfd.readouterr().err


@pytest.mark.parametrize("loader", [load_tokenizer, *list(LOADERS.values())[1:]], ids=LOADERS)
@pytest.mark.parametrize("damage", TOKENIZER)
def test_a_damaged_tokenizer_is_refused_by_name(whole, tmp_path, damage, loader):
    how, message = TOKENIZER[damage]
    assert re.search(message, refusal(loader, damaged(whole, tmp_path / "model", how)))


@pytest.mark.parametrize("method", QUANTISED)
def test_a_quantised_model_whose_package_is_not_here_says_so(whole, tmp_path, method):
    said = refusal(LOADERS["every stage"], damaged(whole, tmp_path / "model", QUANTISED[method]))
    assert re.search(r"needs a package that is not here: .*; install it, or take the plain weights", said), said
    with pytest.raises(GalleyError, match=r"model is quantised.*give the unquantised"):
        convert(tmp_path / "model")


def test_what_may_differ_is_loaded_by_every_loader(whole, tmp_path):
    """Older checkpoints keep RoPE's frequencies; a tied one has one matrix for two; auto_map beside a type that transformers knows."""
    path = damaged(whole, tmp_path / "model", lambda _: None)
    tensors = load_file(path / WEIGHTS)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    tensors.pop("lm_head.weight")
    save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True, "auto_map": {"AutoModelForCausalLM": "evil.Y"}}))
    check_model(path)
    for model in (load_model(path, dtype=torch.float32), HFBackend.load(path).model):
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert torch.equal(model.model.layers[1].self_attn.k_proj.weight, tensors[NAME])


def test_a_head_that_is_not_the_embedding_stays_its_own(whole, tmp_path):
    """transformers keeps both where a configuration says `tied` and the file holds two; the configuration must then not tie them later."""
    path = damaged(whole, tmp_path / "model", lambda _: None)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    model, plain = load_model(path, dtype=torch.float32), load_model(whole, dtype=torch.float32)
    assert not model.config.tie_word_embeddings
    assert torch.equal(model.lm_head.weight, plain.lm_head.weight) and not torch.equal(
        model.lm_head.weight, model.model.embed_tokens.weight
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "load", [lambda path: load_model(path, dtype=torch.float32, device="cuda"), lambda path: HFBackend.load(path, device="cuda")]
)
def test_a_gpu_that_is_not_there_is_said_before_a_file_is_read(tmp_path, load):
    with pytest.raises(GalleyError, match=r"device is 'cuda', and there is none here.*`--device cpu`"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_place_of_a_tensor_is_looked_at(dtype):
    for at in (0, 17, 34):
        for value in (float("nan"), float("inf"), float("-inf")):
            x = torch.linspace(-1, 1, 35).to(dtype)
            x[at] = value
            with pytest.raises(GalleyError, match=r"b in here has NaN or infinite"):
                check_finite({"a": torch.ones(3), "b": x.view(5, 7)}.items(), where="here")
    check_finite(
        {"a": torch.zeros(0), "ids": torch.tensor([1, 2]), "b": torch.full((9,), torch.finfo(dtype).max, dtype=dtype)}.items(), where="here"
    )


def test_the_flags_of_lm_eval_name_their_folder(tmp_path):
    for argv in (
        ["--model_args", f"pretrained={tmp_path},dtype=float32"],
        ["--model_args", f"dtype=float32,pretrained={tmp_path}"],
        [f"--model_args=pretrained={tmp_path}"],
        ["--model_args", "dtype=float32", f"pretrained={tmp_path}"],
    ):
        assert folders(argv) == [tmp_path]
    assert folders(["--model_args", "pretrained=owner/name"]) == []
    assert folders(["--model_args", f"pretrained={tmp_path},gguf_file=a.gguf"]) == []


@pytest.mark.parametrize("content", [b"", b"abc", b"\x07" * 500, None], ids=["empty", "short", "garbage", "missing"])
def test_a_file_of_tensors_is_whole_or_refused(tmp_path, content):
    path = tmp_path / "norms.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GalleyError, match=rf"{path} is .*; run the stage that makes it again"):
        load_tensors(path)


def test_norms_are_complete_and_finite(tmp_path):
    norms = {"q": torch.rand(2, 2, 8), "k": torch.rand(2, 2, 8)}
    save_norms(norms, tmp_path / "norms.safetensors")
    assert torch.equal(load_norms(tmp_path / "norms.safetensors")["k"], norms["k"])
    save_norms({"q": norms["q"]}, tmp_path / "half.safetensors")
    with pytest.raises(GalleyError, match=r"half\.safetensors .*'k'.*run the stage"):
        load_norms(tmp_path / "half.safetensors")
    norms["k"][1, 0, 3] = float("nan")
    save_norms(norms, tmp_path / "nan.safetensors")
    with pytest.raises(GalleyError, match=r"k in .*nan\.safetensors has NaN"):
        load_norms(tmp_path / "nan.safetensors")


def test_nothing_loads_a_model_around_the_check():
    own = {"models/checkpoint.py", "models/loading.py", "models/gguf.py"}
    loads = re.compile(r"(?<!galley; )\b(Auto\w+|\w+ForCausalLM|\w*Tokenizer\w*)\.from_pretrained\(|torch\.load\(")
    found = {str(p.relative_to(ROOT / "src/galley")) for p in (ROOT / "src/galley").rglob("*.py") if loads.search(p.read_text())}
    assert found <= own


def test_the_command_line_says_one_line_and_exits_with_2(whole, tmp_path, capfd):
    path = damaged(whole, tmp_path / "model", MODEL["a tensor is missing"][0])
    for argv in (
        ["convert-mla", "--model", path, "--out", tmp_path / "mla"],
        ["lm-eval", "--model", "hf", "--model_args", f"pretrained={path}"],
    ):
        assert usage.run(app, [str(word) for word in argv]) == 2
        said = capfd.readouterr().err
        assert re.fullmatch(rf"error: the model at {path} lacks {NAME}, .*\n", said), said
    assert not (tmp_path / "mla").exists()
