import json
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from galley.papers.codeseq.problems import bare_problem, from_json, number_terms, shifted, to_json, well_formed
from galley.papers.codeseq.records import Record, generated_records
from galley.papers.codeseq.writing import Guide, ModelWriter, TemplateWriter, accept, answers_in, write_problems

RECORD = Record("A1", "Squares", tuple(n * n for n in range(1, 25)), offset=1, formulas=("n^2",))


def test_the_dropping_rules():
    terms = [3, 7, 40, 50, 60, 70, 80]
    assert {number_terms(terms, seed=s)[0] for s in range(30)} == {(2, 7)}  # a_1 <= 5 and a_2 <= 20; the third left is 50
    assert {number_terms([9, 70, 400, 500, 600, 700, 800], seed=s)[0] for s in range(30)} == {(1, 9)}
    small = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    starts = Counter(number_terms(small, seed=s)[0][0] for s in range(600))
    assert set(starts) == {2, 3, 4} and 340 < starts[2] < 460 and abs(starts[3] - starts[4]) < 60
    assert number_terms(small, seed=5) == number_terms(small, seed=5)


@given(st.lists(st.integers(-(10**40), 10**40), min_size=1, max_size=40), st.integers(0, 99), st.integers(-5, 5))
def test_tests_lie_beyond_the_examples_and_nothing_is_lost(terms, seed, shift):
    problem = bare_problem(replace(RECORD, terms=tuple(terms)), seed=seed)
    if problem is None:
        assert len(number_terms(terms, seed=0)) < 10
        return
    moved = shifted(problem, shift)
    assert well_formed(moved) and 5 <= len(moved.tests) <= 8
    pairs = [*moved.examples, *moved.tests, *moved.hidden]
    assert all(terms[i - shift - 1] == term for i, term in pairs)
    assert [i for i, _ in pairs] == list(range(pairs[0][0], pairs[0][0] + len(pairs)))
    assert from_json(to_json(moved)) == moved


def test_json_has_no_numbers_that_a_reader_could_round():
    problem = bare_problem(replace(RECORD, terms=tuple(10**50 + n * n for n in range(12))), seed=0)
    row = json.loads(to_json(problem), parse_float=lambda _: 1 / 0)
    assert all(isinstance(x, str) for pair in row["tests"] for x in pair)


def test_the_template_counts_from_the_records_offset():
    for record in list(generated_records())[:60]:
        problem = bare_problem(record, seed=0)
        (written,) = TemplateWriter().write([(record, problem)], seed=0)
        assert all(record.terms[i - record.offset] == term for i, term in (*written.examples, *written.tests, *written.hidden))
        assert record.name in written.description and "sequence" not in written.description


def reply(problem, *, shift=3, **change):
    shown = [{"input": i + shift, "output": term} for i, term in problem.examples]
    row = {"description": "A story.", "example": shown, "input_requirement": "an integer", "output_requirement": "an integer", **change}
    return f"Here it is:\n```json\n{json.dumps(row)}\n```"


def test_a_written_problem_is_taken_only_with_true_outputs_and_one_shift():
    problem = bare_problem(RECORD, seed=0)
    taken = accept(reply(problem), problem, writer="w")
    assert taken.shift == 3 and taken.tests == shifted(problem, 3).tests and taken.writer == "w"
    (i, a), (j, b) = problem.examples
    uneven = [{"input": i, "output": a}, {"input": j + 1, "output": b}]
    wrong = [{"input": i, "output": a}, {"input": j, "output": b + 1}]
    assert accept(reply(problem, example=uneven), problem, writer="w") == "unequal_shift"
    assert accept(reply(problem, example=wrong), problem, writer="w") == "wrong_example_output"
    assert accept(reply(problem, example=uneven[:1]), problem, writer="w") == "not_json"
    assert accept(reply(problem, description=" "), problem, writer="w") == "not_json"
    for text in ("", "no", "{", '{"example": 3}', "[" * 5000):
        assert accept(text, problem, writer="w") == "not_json"
    as_text = [{"input": str(i), "output": f" {a}.0 "}, {"input": str(j), "output": str(b)}]
    assert accept(reply(problem, example=as_text), problem, writer="w").shift == 0


class Scripted:
    """A backend whose answers are a function of the prompt: an environment of known truth, not a model."""

    name = identity = "scripted"

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def generate(self, prompts, *, n=1, **settings):
        from galley.llm.backend import Completion

        self.asked += len(prompts)
        return (
            [[self.answer(p, k) for k in range(n)] for p in prompts] if self.answer else [[Completion("", "failed")] * n for _ in prompts]
        )


def test_writer_and_guide_drop_for_a_reason_and_everything_adds_up():
    from galley.llm.backend import Completion

    def write(prompt, _):
        shown = json.loads(prompt[0]["content"].rsplit("Values: ", 1)[1])
        row = {"description": "A story.", "example": shown, "input_requirement": "an integer", "output_requirement": "an integer"}
        return Completion(json.dumps(row) if shown[0]["output"] < 100 else "no", "stop")

    def guide(prompt, _):
        first = int(prompt[0]["content"].rsplit("Inputs: ", 1)[1].split(",")[0])
        return Completion(f"I think.\n[{first * first}, {(first + 1) ** 2}]", "stop")

    records = [replace(RECORD, id=f"A{k}", terms=tuple((n + k) ** 2 for n in range(1, 25))) for k in range(0, 12)]
    counts = Counter()
    agent = Guide(Scripted(guide))
    kept = list(write_problems(records, ModelWriter(Scripted(write)), guide=agent, seed=0, counts=counts, chunk=5))
    dropped = sum(counts[r] for r in ("not_json", "guide_disagrees", "few_tests"))
    assert counts["problems_input"] == 12 == counts["accepted"] + dropped and counts["accepted"] == len(kept) == 1
    assert counts["not_json"] and counts["guide_disagrees"]
    assert agent.backend.asked == len(kept) + 2 * counts["guide_disagrees"], "one retry, and only of what failed"
    counts = Counter()
    assert not list(write_problems(records, ModelWriter(Scripted(None)), guide=None, seed=0, counts=counts))
    assert counts["endpoint_failed"] == 12


def test_answers_are_read_from_the_end():
    assert answers_in("first [1, 2] then\n[3, 4.0]") == [3, 4]
    assert answers_in("[3, x]") == [3, None] and answers_in("none") == []
