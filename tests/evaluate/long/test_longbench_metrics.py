import pytest
from rouge_score import rouge_scorer

from galley.evaluate.long.longbench_metrics import (
    METRICS,
    classification,
    code_similarity,
    count,
    normalise,
    qa_f1,
    retrieval,
    rouge_l,
    score,
)


def test_normalise_drops_case_punctuation_articles_and_space():
    assert normalise("  The  Cat, an A-list\nactor!") == "cat alist actor"
    assert normalise("theatre another") == "theatre another"  # articles are whole words


def test_qa_f1_by_hand():
    assert qa_f1("the Eiffel Tower", "Eiffel tower.") == 1.0
    assert qa_f1("Eiffel Tower in Paris", "Eiffel Tower") == pytest.approx(2 * (0.5 * 1) / 1.5)
    assert qa_f1("cat cat cat", "cat dog") == pytest.approx(2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2))
    assert qa_f1("London", "Paris") == qa_f1("", "Paris") == qa_f1("the", "Paris") == 0.0


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("the quick brown fox jumps", "a quick red fox runs and jumps"),
        ("one two three four", "four three two one"),
        ("alpha beta gamma", "alpha beta gamma"),
        ("alpha beta", "gamma delta"),
        ("w1 w9 w2 w8 w3", "w1 w2 w3 w4 w5 w6"),
    ],
)
def test_rouge_l_of_one_sentence_without_repeats_is_the_library_s(prediction, gold):
    theirs = rouge_scorer.RougeScorer(["rougeL"]).score(gold, prediction)["rougeL"].fmeasure
    assert rouge_l(prediction, gold) == pytest.approx(theirs, abs=1e-7)


def test_rouge_l_unites_sentences_and_counts_distinct_words():
    # r = w1..w5; c1 shares w1 w2, c2 shares w1 w3 w5: the union has 4 words (Lin's own example).
    assert rouge_l("w1 w2 w6 w7 w8.w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5") == pytest.approx(2 * (4 / 8 * 4 / 5) / (4 / 8 + 4 / 5), abs=1e-7)
    # Values of the `rouge` package 1.0.1, which LongBench calls.
    assert rouge_l("the cat sat on the mat. it was glad", "the dog sat on the mat. it was sad. ") == pytest.approx(0.7058823479584776)
    assert rouge_l("\n", "a. ") == pytest.approx(0.6666666622222223)
    assert rouge_l("no no no", "no") == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("empty", ["", "...", "."])
def test_rouge_l_of_nothing_is_zero(empty):
    assert rouge_l(empty, "a b") == rouge_l("a b", empty) == 0.0


def test_classification_shares_the_point_among_named_classes():
    classes = ["Food", "Other food", "City"]
    assert classification("It is Food or City", "Food", classes) == 0.5
    assert classification("City", "Food", classes) == 0.0
    assert classification("An Other food", "Other food", ["food", "Other food"]) == 1.0  # part of the gold's own name
    assert classification("", "Food", classes) == 0.0


def test_numbers_share_the_point():
    assert retrieval("Paragraph 12", "Paragraph 12") == 1.0
    assert retrieval("Paragraph 12 or 13", "Paragraph 12") == 0.5
    assert retrieval("Paragraph 112", "Paragraph 12") == retrieval("none", "Paragraph 12") == 0.0
    assert count("There are 7", "7") == 1.0
    assert count("7 of 10", "7") == 0.5
    assert count("", "7") == 0.0


def test_code_similarity_reads_the_first_line_of_code():
    assert code_similarity("\n# a comment\nreturn x\nreturn y", "return x") == 1.0
    assert code_similarity("```python\nreturn x", "return x") == 1.0
    assert code_similarity("ab", "ac") == 0.5
    assert code_similarity("# only a comment", "return x") == 0.0


def test_score_takes_the_best_answer_after_the_first_line_cut():
    assert score("triviaqa", "\nParis\nQuestion: next", ["London", "Paris"]) == 1.0
    assert score("hotpotqa", "Paris\nQuestion", ["Paris"]) < 1.0  # no cut here
    assert score("hotpotqa", "Paris", []) == 0.0
    assert score("trec", "City\nFood", ["City"], ["City", "Food"]) == 1.0


def test_the_sixteen_english_tasks():
    assert len(METRICS) == 16
    for task in METRICS:
        gold = {"trec": "City", "passage_retrieval_en": "Paragraph 3", "passage_count": "3"}.get(task, "x = call(y)")
        assert score(task, gold, [gold], ["City", "Food"]) == pytest.approx(1.0, abs=1e-7)
        assert score(task, "", [gold], ["City", "Food"]) == 0.0
