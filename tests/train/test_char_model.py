import torch

from galley.models.answers import SftExample
from galley.synthesize.sequence_families import ALPHABET, all_programs, write_prompt
from galley.train.char_model import build_char_model, char_tokenizer, complete
from galley.train.sft import SftConfig, train_sft


def test_a_token_is_a_character_and_text_comes_back():
    tokenizer = char_tokenizer(ALPHABET)
    for program in all_programs()[::40]:
        text = write_prompt(program.shown) + program.expression
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == len(text) and tokenizer.decode(ids) == text and tokenizer.eos_token_id not in ids


def test_size_and_seed():
    model, _ = build_char_model(ALPHABET, seed=1)
    assert 0.33e6 < sum(p.numel() for p in model.parameters()) < 0.37e6
    same, other = (build_char_model(ALPHABET, seed=s)[0] for s in (1, 2))
    assert torch.equal(model.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_completion_is_that_of_the_plain_loop_and_of_a_batch_of_one():
    model, tokenizer = build_char_model("ab=", seed=0, d_model=32, n_layers=2, n_heads=2, d_ff=48)
    examples = [SftExample("a=", "bb"), SftExample("bb=", "a"), SftExample("ab=", "ba")]
    train_sft(model, tokenizer, examples, SftConfig(steps=60, answer_tokens=16, lr=1e-2, max_tokens=16))
    prompts = [e.prompt for e in examples]
    got = complete(model, tokenizer, prompts, max_new_tokens=6)
    assert got == [e.answer for e in examples]
    assert got == [complete(model, tokenizer, [p], max_new_tokens=6)[0] for p in prompts]
    for prompt, answer in zip(prompts, got, strict=True):
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        while len(ids) < 20 and (not ids or ids[-1] != tokenizer.eos_token_id):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt + answer


def test_sampling_is_seeded():
    model, tokenizer = build_char_model("ab=", seed=0, d_model=32, n_layers=1, n_heads=2, d_ff=48)
    one, two, three = (complete(model, tokenizer, ["a=", "b="] * 5, max_new_tokens=8, temperature=1.0, seed=s) for s in (3, 3, 4))
    assert one == two != three
