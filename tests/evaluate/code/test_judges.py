"""Each benchmark's judge in the real sandbox, on small tasks of its kind: right, wrong and hostile programs."""

import pytest

from galley.artifact import GalleyError
from galley.data.code_benchmarks import BigCodeTask, HumanEvalTask, MbppTask, PlusTask
from galley.evaluate.code.attacks import ATTACKS, attack
from galley.evaluate.code.bigcodebench import judge_bigcodebench
from galley.evaluate.code.humaneval import judge_humaneval
from galley.evaluate.code.judge import judge
from galley.evaluate.code.mbpp import in_process, judge_mbpp, needs_the_program, trusted_test
from galley.evaluate.code.oracle import Audit
from galley.evaluate.code.plus import agreeing, judge_plus
from galley.evaluate.code.references import compute, parts, read_references, references, write_references
from galley.evaluate.code.samples import Sample
from galley.sandbox import plain
from galley.sandbox.pool import Sandbox
from galley.sandbox.types import CallResult, Calls, Limits, Program

QUICK = [name for name in ATTACKS if name != "forever"]
SOLVED = "def double(x):\n    return helper(x) + x\n\ndef helper(x):\n    return x\n"
HUMANEVAL = HumanEvalTask(
    "HumanEval/x", 'def helper(x):\n    return x\n\ndef double(x):\n    """Twice x."""\n', "double", SOLVED,
    "def check(candidate):\n    assert candidate(2) == 4\n    assert double(helper(3)) == 6\n",
)  # fmt: skip
MBPP = MbppTask("Mbpp/2", 2, "Double it.", "double", SOLVED, "", ("assert double(2) == 4", "assert abs(double(3)) == 6"))
NODE = "class Node:\n    def __init__(self, v):\n        self.v = v\n\ndef value(n):\n    return n.v\n"
MBPP_NODE = MbppTask("Mbpp/3", 3, "Its value.", "value", NODE, "node = Node(5)", ("assert value(node) == 5",))
PLUS = PlusTask("HumanEval/y", "", "half", "def half(x):\n    return x / 2\n", ([4], [3]), ([1e9], [0], [7]), 0.0)
BIG_TEST = (
    "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(task_func(4), 2.0)\n"
    "    def test_b(self):\n        self.assertRaises(TypeError, task_func, 'x')\n"
)
BIG = BigCodeTask(
    "BigCodeBench/1", 1, "", "", "task_func", "import math\ndef task_func(x):\n    return math.sqrt(x)\n",
    "import math\ndef task_func(x):", BIG_TEST, ("math",),
)  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as made:
        yield made


def samples(task, programs):
    return [Sample(n, task.id, program) for n, program in enumerate(programs, start=1)]


def verdicts(results):
    return [r.verdict for r in results]


def test_humaneval_takes_its_helpers_from_the_prompt(sandbox):
    fixed = "def double(x):\n    return 2 * x\ndef helper(x):\n    return 'of no use to the test'\n"
    programs = [SOLVED, fixed, "def double(x):\n    return 4\n", "def double(x):", "def other(x):\n    return 1\n", "1 / 0\n"]
    results = judge_humaneval(sandbox, samples(HUMANEVAL, programs), {HUMANEVAL.id: HUMANEVAL})
    assert verdicts(results)[:3] == ["pass", "pass", "fail"] and "pass" not in verdicts(results)[3:]
    assert "IndentationError" in results[3].reason and "ZeroDivisionError" in results[5].reason


def test_mbpp_runs_its_asserts_outside_unless_they_need_the_program(sandbox):
    assert not needs_the_program(MBPP) and needs_the_program(MBPP_NODE)
    assert trusted_test(MBPP) == "def check(double):\n    assert double(2) == 4\n    assert abs(double(3)) == 6"
    assert in_process(MBPP_NODE, NODE).index("class Node") < in_process(MBPP_NODE, NODE).index("node = Node(5)")
    tasks = {MBPP.id: MBPP, MBPP_NODE.id: MBPP_NODE}
    programs = [
        *samples(MBPP, [SOLVED, "def double(x):\n    return 4\n"]),
        Sample(8, MBPP_NODE.id, NODE),
        Sample(9, MBPP_NODE.id, "def value(n):\n    return 5\n"),
    ]
    assert [r.passed for r in judge_mbpp(sandbox, programs, tasks)] == [True, False, True, False]  # the last has no class Node


def test_the_original_mbpp_passes_an_object_that_equals_everything_and_ours_does_not(sandbox):
    hostile = samples(
        MBPP, [attack("always_equal", "double").replace("__hash__ = None", "__hash__ = None\n    def __abs__(self): return self")]
    )
    assert verdicts(judge_mbpp(sandbox, hostile, {MBPP.id: MBPP}, original=True)) == ["pass"]
    assert verdicts(judge_mbpp(sandbox, hostile, {MBPP.id: MBPP})) != ["pass"]


def test_plus_compares_with_the_canonical_solution(sandbox):
    expected = compute([PLUS], sandbox=sandbox)
    programs = [
        PLUS.reference,
        "def half(x):\n    return x * 0.5000000001\n",  # within the tolerance of floats
        "def half(x):\n    return x // 2\n",  # wrong on 3: base
        "def half(x):\n    return x / 2 if x < 7 or x > 8 else 3.4\n",  # wrong on 7: plus
        "def half(x):\n    raise KeyError(x)\n",
        "def half(x):\n    return lambda: x\n",
    ]
    results = judge_plus(sandbox, samples(PLUS, programs), {PLUS.id: PLUS}, expected=expected)
    base, plus = ([r for r in results if r.suite == s] for s in ("base", "plus"))
    assert [r.passed for r in base] == [True, True, False, True, False, False]
    assert sorted(r.line for r in plus if r.passed) == [1, 2] and len(plus) == 6
    assert base[4].verdict == "error" and base[2].reason.startswith("input 1: another value")
    every = judge_plus(sandbox, samples(PLUS, programs[2:3]), {PLUS.id: PLUS}, expected=expected, every=True)
    assert [(r.suite, r.passed) for r in every] == [("base", False), ("plus", False)]


def test_a_slow_program_gets_the_full_time_and_an_endless_one_does_not(sandbox, monkeypatch):
    from galley.evaluate.code import plus as module
    from galley.sandbox.types import Limits

    monkeypatch.setattr(module, "CALL_CPU_S", 0.2)
    monkeypatch.setattr(module, "SHORT", Limits(cpu_s=0.5, wall_s=20.0))
    monkeypatch.setattr(module, "LIMITS", Limits(cpu_s=3.0, wall_s=60.0))
    task = PlusTask("HumanEval/s", "", "f", "def f(x):\n    return x\n", tuple([n] for n in range(8)), ([1],), 0.0)
    loop = "    while time.process_time() < end:\n        pass\n    return x\n"
    wait = "import time\ndef f(x):\n    end = time.process_time() + {seconds}\n" + loop
    programs = samples(task, [wait.format(seconds=0.1), wait.format(seconds=60), wait.format(seconds=0)])
    results = judge_plus(sandbox, programs, {task.id: task}, expected=compute([task], sandbox=sandbox))
    base = [r for r in results if r.suite == "base"]
    assert verdicts(base) == ["pass", "timeout", "pass"] and base[0].cpu_s > 0.7 and base[1].cpu_s < 1.0


def test_equal_bytes_are_the_oracle_s_verdict_too():
    values = [1, 1.0, 1.0000005, "a", None, [1.0], (1.0,), {1, 2}, True]
    matches = PlusTask("Mbpp/434", "", "text_match_three", "", (), (), 0.0)
    calls = [CallResult("value", plain.dumps(v)) for v in values] + [CallResult("raised"), CallResult("not_plain"), CallResult("timeout")]
    sets = PlusTask("Mbpp/2", "", "similar_elements", "", (), (), 0.0)
    for task in (PLUS, matches, sets):
        for exp in (v for v in values if task is not sets or hasattr(v, "__iter__")):
            inputs, wanted = [[0]] * len(calls), [plain.dumps(exp)] * len(calls)
            quick = agreeing(task, inputs, calls, wanted)
            slow = agreeing(task, inputs, calls, wanted, audit=Audit(find_zero_never=True))  # any audit compares all values
            assert quick == slow and quick[-3:] == [False, task is matches and exp is not None, False]


def test_references_are_kept_in_a_plain_file_and_made_again_when_something_changes(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("galley.evaluate.code.references.KEPT_BYTES", 100)
    big = PlusTask("HumanEval/z", "", "f", "def f(n):\n    return 'x' * n\n", ([500],), ([1],), 0.0)
    found = references([PLUS, big], sandbox=sandbox, folder=tmp_path)
    (path,) = tmp_path.glob("*.gz")
    before = path.read_bytes()
    assert list(read_references(path)) == [PLUS.id]  # the other's outputs are too large to keep
    assert references([PLUS, big], sandbox=sandbox, folder=tmp_path) == found and path.read_bytes() == before
    assert [plain.decode(raw) for raw in found[PLUS.id]["plus"]] == [5e8, 0.0, 3.5]
    changed = PlusTask(PLUS.id, "", "half", PLUS.reference + "\n", PLUS.base, PLUS.plus, 0.0)
    references([changed], sandbox=sandbox, folder=tmp_path)
    assert len(list(tmp_path.glob("*.gz"))) == 2
    path.write_bytes(b"rubbish")
    with pytest.raises(GalleyError, match=r"broken.*delete it"):
        references([PLUS, big], sandbox=sandbox, folder=tmp_path)
    write_references(found, tmp_path / "again.json.gz")
    assert read_references(tmp_path / "again.json.gz") == found


def test_a_canonical_solution_that_fails_stops_everything(sandbox):
    broken = PlusTask("HumanEval/b", "", "f", "def f(x):\n    return 1 / x\n", ([1],), ([0],), 0.0)
    with pytest.raises(GalleyError, match=r"HumanEval/b: its own solution fails on plus input 0 \(ZeroDivisionError"):
        compute([broken], sandbox=sandbox)


def test_after_a_part_that_broke_off_a_sample_s_others_are_not_run(sandbox):
    limits = Limits(cpu_s=1, wall_s=5)

    def twenty(sample):
        return [Program(str(n), sample.program, Calls("f", [[n]]), limits) for n in range(20)]

    programs = ["def f(n):\n    return n", "def f(n):\n    while n: pass\n    return object()", "def f(n):\n    return n + 1", "1 / 0"]
    results = judge(
        sandbox, samples(PLUS, programs), suite="base", programs=twenty, verdict=lambda _, came: (came[-1].verdict, str(len(came)))
    )
    assert [r.verdict for r in results] == ["pass", "timeout", "pass", "error"]
    counts = [int(r.reason) for r in results]
    assert counts[0] == counts[2] == 20 and 2 <= counts[1] <= 4 and counts[3] <= 4


def test_many_outputs_come_in_parts():
    inputs, wanted = [[n] for n in range(5)], [b"x" * (9 << 20)] * 5
    assert parts(inputs, wanted) == [[[0]], [[1]], [[2]], [[3]], [[4]]]
    assert parts(inputs, [b"x"] * 5) == [inputs] and parts(inputs, [b"x"] * 5)[0] is inputs
    assert parts(inputs, [b"x" * (20 << 20), *[b"y"] * 4]) == [[[0]], [[1], [2], [3], [4]]]


def test_an_output_too_large_for_the_sandbox_is_not_judged(sandbox, monkeypatch):
    big = PlusTask("Mbpp/b", "", "f", "def f(n):\n    return 'x' * n\n", ([3],), ([2], [70 << 20], [1]), 0.0)
    expected = compute([big], sandbox=sandbox)
    assert [len(raw) for raw in expected[big.id]["plus"]] == [7, 0, 6]
    programs = [big.reference, "def f(n):\n    return 'x' * min(n, 3)\n", "def f(n):\n    return 'x' * max(n, 2)\n"]
    plus = [r for r in judge_plus(sandbox, samples(big, programs), {big.id: big}, expected=expected) if r.suite == "plus"]
    assert [r.passed for r in plus] == [True, True, False] and plus[2].reason.startswith("input 2:")


def test_bigcodebench_forgives_a_missing_import_when_calibrated(sandbox):
    bare = "def task_func(x):\n    return math.sqrt(x)\n"
    programs = samples(BIG, [BIG.reference, bare, "def task_func(x):\n    return 2.0\n"])
    assert verdicts(judge_bigcodebench(sandbox, programs, {BIG.id: BIG})) == ["pass", "pass", "fail"]
    plainly = judge_bigcodebench(sandbox, programs[1:2], {BIG.id: BIG}, calibrated=False)
    assert not plainly[0].passed and plainly[0].suite == "plain"


@pytest.mark.parametrize("name", QUICK)
def test_no_attack_passes(sandbox, name):
    for task, run in ((HUMANEVAL, judge_humaneval), (MBPP, judge_mbpp), (BIG, judge_bigcodebench)):
        assert "pass" not in verdicts(run(sandbox, samples(task, [attack(name, task.entry_point)]), {task.id: task})), task.id
    expected = {PLUS.id: {"base": [plain.dumps(2.0), plain.dumps(1.5)], "plus": [plain.dumps(5e8), plain.dumps(0.0), plain.dumps(3.5)]}}
    assert "pass" not in verdicts(judge_plus(sandbox, samples(PLUS, [attack(name, "half")]), {PLUS.id: PLUS}, expected=expected))


def test_a_sample_with_a_fault_fails_in_its_place(sandbox):
    given = [Sample(1, MBPP.id, SOLVED), Sample(2, MBPP.id, "x", fault="too large"), Sample(3, MBPP.id, SOLVED)]
    results = judge_mbpp(sandbox, given, {MBPP.id: MBPP})
    assert verdicts(results) == ["pass", "fail", "pass"] and results[1].reason == "too large"
