import pytest
import torch
from transformers import DynamicCache

from galley.artifact import GalleyError
from galley.evaluate.certify import KnownModel, copy_next
from galley.evaluate.long.needle import ANSWER_TOKENS, CITIES, build_needle_prompt, evaluate_needles
from galley.models.scratch import build_llama, train_tokenizer

PROSE = [f"Sentence number {i} says that the weather was fine. Nobody disagreed." for i in range(200)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([*PROSE, "Question: Answer: The secret number of Oslo is 1. What"], vocab_size=400)


@pytest.mark.parametrize("length", [160, 333])
@pytest.mark.parametrize("depth", [0.0, 0.3, 0.5, 1.0])
def test_the_prompt_fills_its_length_and_hides_the_needle_at_a_sentence_end(tokenizer, length, depth):
    prompt, answer = build_needle_prompt(PROSE, tokenizer, length=length, depth=depth, city="Oslo", number=12345)
    assert len(prompt) == length - ANSWER_TOKENS
    assert tokenizer.decode(answer) == " 12345" and len(answer) <= ANSWER_TOKENS
    text = tokenizer.decode(prompt)
    assert text.endswith("Answer: The secret number of Oslo is")
    assert text.count("12345") == 1
    before, after = text.split(" The secret number of Oslo is 12345. ")
    assert before == "" or depth == 1.0 or before.endswith(".")
    hay = len(tokenizer(before)["input_ids"])
    room = hay + len(tokenizer(after.split("\n\nQuestion")[0])["input_ids"])
    assert hay <= round(depth * room) + 2 and hay >= depth * room - 40
    if depth in (0.0, 1.0):
        assert abs(hay - depth * room) <= 2


def test_a_needle_in_text_without_sentences_stays_at_its_depth(tokenizer):
    prompt, _ = build_needle_prompt(["word " * 2000], tokenizer, length=900, depth=0.5, city="Oslo", number=12345)
    before = tokenizer.decode(prompt).split(" The secret")[0]
    assert abs(len(tokenizer(before)["input_ids"]) / 900 - 0.5) < 0.06


def test_refusals(tokenizer):
    def build(**change):
        settings = {"length": 200, "depth": 0.5, "city": "Oslo", "number": 12345} | change
        return build_needle_prompt(PROSE[:5] if "few" in change else PROSE, tokenizer, **{k: v for k, v in settings.items() if k != "few"})

    with pytest.raises(GalleyError, match=r"length is 40 tokens, which leaves -?\d+ for the haystack; use at least (\d+)") as error:
        build(length=40)
    least = int(str(error.value).split()[-1])
    assert len(build(length=least)[0]) == least - ANSWER_TOKENS
    with pytest.raises(GalleyError, match="haystack has only"):
        build(length=3000, few=True)
    with pytest.raises(GalleyError, match=r"depth is 1\.5"):
        build(depth=1.5)
    model = KnownModel(copy_next, vocab_size=len(tokenizer), context=256)
    with pytest.raises(GalleyError, match="length is 300 tokens, but the model's context is 256"):
        evaluate_needles(model, tokenizer, haystack=PROSE, lengths=[200, 300], depths=[0.5], seed=0)


def needles(rule, tokenizer):
    model = KnownModel(rule, vocab_size=len(tokenizer), context=400)
    return evaluate_needles(model, tokenizer, haystack=PROSE, lengths=[200, 400], depths=[0.0, 0.5, 1.0], seed=0)


def test_copying_finds_every_needle_and_repeating_none(tokenizer):
    found = needles(copy_next, tokenizer)
    assert len(found) == 12 and set(found["metric"]) == {"keyword_recall", "answer_nll"}
    assert (found.query("metric == 'keyword_recall'")["score"] == 1).all()
    assert (found.query("metric == 'answer_nll'")["score"] < 1e-6).all()
    missed = needles(lambda tokens: tokens[-1], tokenizer)
    assert (missed.query("metric == 'keyword_recall'")["score"] == 0).all()
    assert (missed.query("metric == 'answer_nll'")["score"] > 10).all()


def test_one_wrong_digit_is_no_recall(tokenizer):
    digits = {tokenizer(d, add_special_tokens=False)["input_ids"][-1] for d in "0123456789"}

    def wrong_last(tokens):
        right = copy_next(tokens)
        tail = sum(t in digits for t in tokens[-4:])
        return right if tail < 4 else right + 1

    got = needles(wrong_last, tokenizer)
    assert (got.query("metric == 'keyword_recall'")["score"] == 0).all()
    nll = got.query("metric == 'answer_nll'")["score"]
    assert ((nll > 1) & (nll < 30)).all()  # most digits were right: a part of the penalty only


def test_the_greedy_verdict_is_what_generate_would_say(tokenizer):
    model = build_llama(vocab_size=len(tokenizer), d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=32, context=256, seed=0).eval()
    got = evaluate_needles(model, tokenizer, haystack=PROSE, lengths=[160], depths=[0.5], seed=3, make_cache=DynamicCache)
    plain = evaluate_needles(model, tokenizer, haystack=PROSE, lengths=[160], depths=[0.5], seed=3)
    assert got["score"].tolist() == pytest.approx(plain["score"].tolist())
    generator = torch.Generator().manual_seed(3)
    city = CITIES[int(torch.randint(10, (), generator=generator))]
    number = int(torch.randint(10_000, 100_000, (), generator=generator))
    prompt, answer = build_needle_prompt(PROSE, tokenizer, length=160, depth=0.5, city=city, number=number)
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = model(ids).logits[0, len(prompt) - 1 : -1]
        out = model.generate(torch.tensor([prompt]), max_new_tokens=len(answer), do_sample=False, pad_token_id=0)
    said = out[0, len(prompt) :].tolist() == answer
    assert plain.set_index("metric").loc["keyword_recall", "score"] == float(said)
    nll = torch.nn.functional.cross_entropy(logits, torch.tensor(answer))
    assert plain.set_index("metric").loc["answer_nll", "score"] == pytest.approx(float(nll), rel=1e-4)
