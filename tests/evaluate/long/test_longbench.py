import pytest
import torch
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.evaluate.long.longbench import build_prompt, evaluate_longbench, middle_cut
from galley.models.scratch import build_llama, train_tokenizer

TEMPLATE = "Read: {context}\nNow answer: {input}"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["word number 0123456789 Read: Now answer: end.\n" * 20], vocab_size=290)


@pytest.fixture(scope="module")
def model():
    return build_llama(vocab_size=290, d_model=32, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=32, context=256, seed=0).eval()


def item(n_words, **more):
    return {"context": " ".join(f"word{i}" for i in range(n_words)), "input": "which?", "answers": ["word1"], **more}


@pytest.mark.parametrize("limit", [2, 9, 10])
def test_middle_cut_keeps_head_and_tail(limit):
    ids = list(range(100))
    cut = middle_cut(ids, limit)
    assert len(cut) == limit
    half = limit // 2
    assert cut[: limit - half] == ids[: limit - half] and cut[-half:] == ids[-half:]
    assert middle_cut(ids, 100) == ids


def test_a_short_prompt_is_the_filled_template_by_both_protocols(tokenizer):
    ids = tokenizer(TEMPLATE.format(**item(3)))["input_ids"]
    for protocol in ("paper", "official"):
        assert build_prompt(item(3), TEMPLATE, tokenizer, protocol=protocol, max_length=1000, answer_tokens=32) == ids


def test_the_paper_s_protocol_leaves_exactly_the_answer_free(tokenizer):
    long = item(2000)
    ids = build_prompt(long, TEMPLATE, tokenizer, protocol="paper", max_length=701, answer_tokens=32)
    assert len(ids) == 669
    text = tokenizer.decode(ids)
    assert text.startswith("Read: word0 word1") and text.endswith("Now answer: which?")
    assert "word1000 " not in text


def test_the_paper_s_character_cut_comes_before_the_template(tokenizer):
    long = {"context": "a" * 3000 + "MIDDLE" + "b" * 3000, "input": "", "answers": []}
    ids = build_prompt(long, "{context}", tokenizer, protocol="paper", max_length=100, answer_tokens=10)
    assert tokenizer.decode(ids).replace(" ", "") == tokenizer.decode(
        middle_cut(tokenizer("a" * 400 + "b" * 400)["input_ids"], 90)
    ).replace(" ", "")


def test_the_official_protocol_decodes_two_halves_below_500_less(tokenizer):
    long = item(2000)
    official = build_prompt(long, TEMPLATE, tokenizer, protocol="official", max_length=701, answer_tokens=32)
    whole = tokenizer(TEMPLATE.format(**long))["input_ids"]
    assert official == tokenizer(tokenizer.decode(whole[:100]) + tokenizer.decode(whole[-100:]))["input_ids"]
    assert len(official) < 250  # max_length - 500, not max_length - answer


def test_refusals_name_field_and_way_out(tokenizer, model):
    with pytest.raises(GalleyError, match="protocol is 'best'; allowed: official, paper"):
        build_prompt(item(3), TEMPLATE, tokenizer, protocol="best", max_length=700, answer_tokens=32)
    for protocol in ("official", "paper"):
        with pytest.raises(GalleyError, match="max_length is 33"):
            build_prompt(item(3), TEMPLATE, tokenizer, protocol=protocol, max_length=33, answer_tokens=32)
    with pytest.raises(GalleyError, match="max_length is 257 tokens, but the model's context is 256"):
        run(model, tokenizer, max_length=257)


def run(model, tokenizer, *, items=None, limit=2, protocol="paper", max_length=200, **more):
    tasks = {"hotpotqa": items if items is not None else [item(4), item(300), item(5)]}
    return evaluate_longbench(
        model, tokenizer, task_items=tasks, prompts={"hotpotqa": TEMPLATE}, maxlen={"hotpotqa": 6}, protocol=protocol, limit=limit,
        max_length=max_length, **more,
    )  # fmt: skip


def test_items_are_limited_and_absent_tasks_are_not_run_never_zero(model, tokenizer):
    rows = run(model, tokenizer)
    assert list(rows.query("status == 'ok'")["item_id"]) == ["0", "1"]
    absent = rows.query("status == 'not_run'")
    assert len(absent) == 15 and absent["score"].isna().all() and absent["reason"].str.contains("out of reach").all()
    assert run(model, tokenizer, limit=0).set_index("benchmark").loc["longbench_hotpotqa", "reason"] == "limit is 0"
    assert run(model, tokenizer, items=[]).set_index("benchmark").loc["longbench_hotpotqa", "status"] == "not_run"


def test_only_new_tokens_are_judged(model, tokenizer):
    """A gold answer in the prompt must not count as predicted, whatever cache is used."""
    with torch.no_grad():
        ids = tokenizer(TEMPLATE.format(**item(4)), return_tensors="pt")["input_ids"]
        out = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
    said = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    for make_cache in (None, DynamicCache):
        rows = run(model, tokenizer, items=[item(4) | {"answers": [said]}, item(4) | {"answers": ["which"]}], make_cache=make_cache)
        scores = rows.query("status == 'ok'")["score"].tolist()
        assert scores[1] == 0.0 and (scores[0] == 1.0 or not said.strip(" .,!?"))
