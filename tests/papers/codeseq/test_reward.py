import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galley.papers.codeseq.checks import advantage_rows, reward_rows, violations
from galley.papers.codeseq.policy import shaping_rows, softmax, train_policy
from galley.papers.codeseq.reward import Cssr, centred_advantages, group_advantages, population_advantages, trl_advantages
from galley.papers.codeseq.solvability import for_rl, solvability, tag
from galley.tables.claims import load_claims

S = st.floats(0, 1)
CASES = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda t: (min(t), max(t)))


@given(S, S, CASES)
def test_the_reward_falls_in_solvability_and_is_bounded(a, b, cases):
    r = Cssr()
    low, high = sorted((a, b))
    (right, n) = cases
    hard, easy = (r.reward(passed=True, s=s, right_cases=right, cases=n) for s in (low, high))
    assert 0 <= easy <= hard + 1e-12 and hard <= 1 + r.case_weight
    assert r.reward(passed=False, s=a, right_cases=n, cases=n) < r.reward(passed=True, s=a)
    assert r.reward(passed=True, s=a, formatted=False) == 0
    assert r.reward(passed=False, s=a) == 0 == r.reward(passed=False, s=a, right_cases=1, cases=1)


@given(S, st.integers(2, 9), st.integers(0, 8))
def test_more_right_cases_are_worth_more(s, n, right):
    right = min(right, n - 1)
    r = Cssr()
    assert r.reward(passed=True, s=s, right_cases=right + 1, cases=n) > r.reward(passed=True, s=s, right_cases=right, cases=n)


def test_the_check_of_properties_sees_broken_rewards():
    rows = {(r["method"], r.get("setting", "")): r for r in reward_rows()}
    assert rows["paper", ""]["status"] == "not_run" and "formula" in rows["paper", ""]["reason"]  # what is checked is ours, not the paper's
    assert not any(row["score"] for (method, _), row in rows.items() if method == "template")
    assert sum(row["score"] > 0 for (method, _), row in rows.items() if method == "control:rising") >= 4
    plain = violations(lambda *, passed, formatted=True, **_: float(passed and formatted), bound=1.0, fewest=2)
    assert plain["falls in solvability"] and plain["rises in right cases"] and not plain["right beats wrong"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=32), st.floats(0.01, 100))
def test_a_factor_cancels_under_group_normalisation(rewards, factor):
    x = np.round(np.array([rewards]), 3)
    assert np.allclose(group_advantages(factor * x), group_advantages(x), atol=1e-6)
    assert np.allclose(centred_advantages(factor * x), factor * centred_advantages(x))


def test_equal_rewards_have_no_advantage():
    for value in (0.0, 1.0, 0.1):
        assert not group_advantages(np.full((3, 32), value)).any()
    a = group_advantages(np.array([[0.0, 1.0, 1.0]]))
    assert abs(a.mean()) < 1e-12 and abs(a.std(ddof=1) - 1) < 1e-12
    assert np.allclose(population_advantages(np.array([[0.0, 1.0, 1.0]])).std(), 1)


def rollouts():
    """Six groups of 32: never, always, once, and in between."""
    passed = np.random.default_rng(0).random((6, 32)) < np.array([[0], [2], [0], [0.2], [0.5], [0.9]])
    passed[2, 5] = True
    return passed.astype(float)


def test_advantages_are_the_library_s_within_the_claim_s_bound_and_a_population_s_std_is_not():
    (claim,) = [c for c in load_claims("recipes/codeseq/claims.yaml") if c.id == "E3"]
    worst = {}
    for right in range(33):  # every group that 32 rollouts can be
        for row in advantage_rows("p", [True] * right + [False] * (32 - right)):
            worst[row["method"]] = max(worst.get(row["method"], 0.0), row["score"])
    assert 0.0030 < worst["group_normalised"] <= claim.expected.value
    assert all(worst[control.lhs.method] > 0.08 for control in claim.controls)
    assert not trl_advantages(np.ones((2, 32))).any() and not trl_advantages(np.zeros((2, 32))).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_library_s_formula_is_what_its_trainer_computes(tmp_path):
    """A step of TRL's GRPOTrainer on a tiny model, whose rewards are given groups of rollouts."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    from galley.models.scratch import build_llama, train_tokenizer

    passed, seen = rollouts(), dict.fromkeys(range(6), 0)

    def reward(prompts, completions, group, **_):
        found = []
        for g in group:
            found.append(float(passed[g][seen[g]]))
            seen[g] += 1
        return found

    tokenizer = train_tokenizer(["a b c d e f 1 2 3"] * 20, vocab_size=270)
    model = build_llama(vocab_size=len(tokenizer), d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=16, context=32, seed=0)
    config = trl.GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=192, num_generations=32, max_completion_length=1, max_steps=1, report_to=[],
        use_cpu=True, save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "a", "group": g} for g in range(6)])
    trainer = trl.GRPOTrainer(model=model, reward_funcs=reward, args=config, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    theirs = np.array(list(trainer._logs["advantages"])).reshape(6, 32)
    given = np.array(list(next(iter(trainer._logs["rewards"].values())))).reshape(6, 32)
    assert sorted(given.sum(axis=1)) == sorted(passed.sum(axis=1))
    assert np.abs(theirs - trl_advantages(given)).max() < 1e-6
    assert 0.0030 < np.abs(theirs - group_advantages(given)).max() < 0.0032


def test_solvability():
    draws = [False] * 3 + [True] * 5
    assert solvability(draws) == 5 / 8 and tag(draws) == "pass@8" and tag(draws[3:]) == "pass@1"
    assert tag([False] * 32) == "none" and tag([False] * 31 + [True]) == "pass@32"
    assert [for_rl(s) for s in (0.0, 0.1, 0.46, 0.5, 1.0)] == [False, True, True, False, False]


def test_the_policy_learns_and_scaling_acts_only_without_normalisation():
    s = np.array([0.05, 0.2, 0.7])
    assert np.allclose(train_policy(s, reward="scaled", normalise=True, seed=0), train_policy(s, reward="plain", normalise=True, seed=0))
    assert not np.allclose(
        train_policy(s, reward="scaled", normalise=False, seed=0), train_policy(s, reward="plain", normalise=False, seed=0)
    )
    assert (train_policy(s, reward="plain", normalise=True, seed=0) > s).all()
    assert np.allclose(softmax(np.log(np.array([[0.2, 0.3, 0.5]]))), [[0.2, 0.3, 0.5]])
    shares = [r["score"] for r in shaping_rows() if r["method"] == "plain:centred" and r["metric"] == "mass_share" and r["seed"] == 0]
    assert abs(sum(shares) - 1) < 1e-9
