import pytest
import torch

from galley.artifact import GalleyError
from galley.evaluate.certify import KnowingLM
from galley.evaluate.commonsense import TASKS, clean, cloze, evaluate_commonsense, score_tasks
from galley.models.scratch import build_llama, train_tokenizer

PIQA = [
    {"goal": "Boil water", "sol1": "Heat it in a kettle.", "sol2": "Freeze it.", "label": 0},
    {"goal": "Dry hands", "sol1": "Use water", "sol2": "Use a towel", "label": 1},
    {"goal": "Cut bread", "sol1": "Use a knife", "sol2": "Use soup", "label": 0},
]


@pytest.mark.parametrize(
    ("task", "item", "prompt", "choices", "gold"),
    [
        ("piqa", PIQA[0], "Question: Boil water\nAnswer:", [" Heat it in a kettle.", " Freeze it."], 0),
        (
            "arc",
            {"question": "What is ice?", "choices": {"label": ["1", "2"], "text": ["Water", "Fire"]}, "answerKey": "1"},
            "Question: What is ice?\nAnswer:", [" Water", " Fire"], 0,
        ),
        (
            "openbookqa",
            {"question_stem": "The sun is", "choices": {"label": ["A", "B"], "text": ["cold", "hot"]}, "answerKey": "B"},
            "The sun is", [" cold", " hot"], 1,
        ),
        (
            "winogrande",
            {"sentence": "Sarah beat Maria because _ was better.", "option1": "Sarah", "option2": "Maria", "answer": "1"},
            "Sarah beat Maria because", [" Sarah was better.", " Maria was better."], 0,
        ),
        (
            "hellaswag",
            {"activity_label": "Baking", "ctx": "[header] Bake [title] Mix it. [step] then", "endings": ["eat. [step]", "run  off."],
             "label": "1"},
            "Baking: Bake. Mix it. then", [" eat.", " run off."], 1,
        ),
        (
            "hellaswag",
            {"activity_label": "Golf", "ctx_a": "A man swings.", "ctx_b": "he", "ctx": "A man swings. he",
             "endings": ["wins.", "cries."], "label": 0},
            "Golf: A man swings. He", [" wins.", " cries."], 0,
        ),
        (
            "mmlu",
            {"question": "2+2?", "subject": "abstract_algebra", "choices": ["3", "4"], "answer": 1},
            "The following are questions about abstract algebra.\nQuestion: 2+2?\nAnswer:", [" 3", " 4"], 1,
        ),
    ],
)  # fmt: skip
def test_prompts_are_the_paper_s_cloze_forms(task, item, prompt, choices, gold):
    assert cloze(task, item) == {"prompt": prompt, "choices": choices, "gold": gold}


def test_hellaswag_s_artefacts_are_removed():
    assert clean("How to [title] win [substeps] now") == "How to. win now"


class CountingLM(KnowingLM):
    """Log-likelihoods from a table of choices, so that normalisation alone decides."""

    def __init__(self, table):
        super().__init__(right=True)
        self.table, self.asked = table, []

    def loglikelihood(self, requests, disable_tqdm=False):
        self.asked += [r.args for r in requests]
        return [(self.table(r.args[1]), False) for r in requests]


def scores(lm, *, limit=10, **data):
    return score_tasks(lm, data=data, limit=limit)


def test_likelihood_is_divided_by_characters_without_the_leading_space():
    table = {
        " ab": -2.0, " abcdefgh": -6.0,  # per character -1 and -0.75: the long one wins, though its sum is lower
        " cd": -2.4, " cdefghij": -8.0,  # were the space counted, -2.4/3 = -0.8 would beat -8/9; without it -1.2 loses to -1
        " ef": -1.0, " efghijkl": -7.6,  # the short one wins
    }  # fmt: skip
    choices = [choice.strip() for choice in table]
    items = [{"goal": "g", "sol1": short, "sol2": long, "label": 1} for short, long in zip(choices[::2], choices[1::2], strict=True)]
    got = scores(CountingLM(table.get), piqa=items)
    assert got.query("benchmark == 'piqa'")["score"].tolist() == [1.0, 1.0, 0.0]


def test_the_model_is_asked_prompt_and_choice_as_they_stand():
    lm = CountingLM(lambda choice: -1.0)
    scores(lm, piqa=PIQA[:1])
    assert lm.asked == [("Question: Boil water\nAnswer:", " Heat it in a kettle."), ("Question: Boil water\nAnswer:", " Freeze it.")]


def test_a_likelihood_that_is_no_number_decides_nothing():
    """Of NaN and a number, either is the greater by where it stands."""
    lm = CountingLM(lambda choice: float("nan") if "kettle" in choice else -1.0)
    with pytest.raises(GalleyError, match=r"acc_norm_nospace of piqa 0 cannot be told: .* to be NaN; take weights"):
        scores(lm, piqa=PIQA[:1])


def test_knowing_models_bound_the_score_and_absent_tasks_are_not_run_never_zero():
    for right in (True, False):
        got = scores(KnowingLM(right=right), piqa=PIQA, mmlu=None, arc=[])
        assert got.query("benchmark == 'piqa'")["score"].tolist() == [float(right)] * 3
        absent = got.query("benchmark != 'piqa'")
        assert set(absent["benchmark"]) == set(TASKS) - {"piqa"}
        assert (
            (absent["status"] == "not_run").all() and absent["score"].isna().all() and absent["reason"].str.contains("out of reach").all()
        )


def test_the_limit_keeps_the_first_items():
    got = scores(KnowingLM(right=True), limit=2, piqa=PIQA)
    assert got.query("status == 'ok'")["item_id"].tolist() == ["0", "1"]
    none = scores(KnowingLM(right=True), limit=0, piqa=PIQA).query("benchmark == 'piqa'")
    assert none["status"].tolist() == ["not_run"] and none["reason"].tolist() == ["limit is 0"]


def test_a_real_model_s_verdicts_equal_plain_log_likelihoods():
    texts = [text for item in PIQA for text in (item["goal"], item["sol1"], item["sol2"])]
    tokenizer = train_tokenizer([*texts, "Question: Answer:\n"] * 5, vocab_size=290)
    model = build_llama(vocab_size=290, d_model=32, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=32, context=128, seed=5).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4.0)
    got = evaluate_commonsense(model, tokenizer, data={"piqa": PIQA}, limit=3, batch_size=2).query("benchmark == 'piqa'")["score"].tolist()
    wanted = []
    for item in PIQA:
        doc = cloze("piqa", item)
        each = []
        for choice in doc["choices"]:
            start = len(tokenizer(doc["prompt"])["input_ids"])
            ids = torch.tensor([tokenizer(doc["prompt"] + choice)["input_ids"]])
            with torch.no_grad():
                logp = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
            each.append(float(logp.gather(1, ids[0, start:, None]).sum()) / len(choice.strip()))
        wanted.append(float(each.index(max(each)) == doc["gold"]))
    assert got == wanted


def test_an_unknown_gold_is_an_error_not_a_guess():
    with pytest.raises((GalleyError, ValueError)):
        cloze("arc", {"question": "q", "choices": {"label": ["A"], "text": ["t"]}, "answerKey": "Z"})
