import pytest

from galley.artifact import GalleyError
from galley.papers.codeseq.retry import ambiguous_programs, direct_examples, first_failure, reflection_examples, split_by_prompt, two_steps
from galley.synthesize.sequence_families import all_programs, evaluate, is_correct, write_prompt

PROGRAMS = all_programs()


def test_the_first_failed_case():
    program = next(p for p in PROGRAMS if p.expression == "2*n+1")
    told = first_failure("2*n*n+1", program)
    assert (told.index, told.got, told.expected) == (2, 9, 5) and told.text() == "2*n*n+1;2?9!5="
    assert first_failure("1+2*n", program) is None and first_failure("2*", program) is None


def test_a_prompt_of_the_test_was_never_trained_on():
    train, held = split_by_prompt(PROGRAMS, shown=2, held_out=60, seed=0)
    assert len(held) >= 60 and len(train) + len(held) == len(PROGRAMS)
    assert not {e.prompt for e in direct_examples(train, shown=2)} & {e.prompt for e in direct_examples(held, shown=2)}
    with pytest.raises(GalleyError, match="held_out is 487"):
        split_by_prompt(PROGRAMS, shown=2, held_out=487, seed=0)


def test_training_feedback_is_true():
    by_expression = {p.expression: p for p in PROGRAMS}
    examples = reflection_examples(PROGRAMS, shown=2, drafts=3, seed=0)
    assert len(examples) > 500
    for example in examples[::23]:
        shown, rest = example.prompt.split("=", 1)
        draft, case = rest.rstrip("=").split(";")
        index, values = case.split("?")
        got, expected = map(int, values.split("!"))
        program = by_expression[example.answer]
        assert write_prompt(program.values, shown=2) == shown + "="
        assert evaluate(draft, 14)[int(index)] == got != expected == program.values[int(index)] and not is_correct(draft, program.values)


def test_two_steps_with_a_solver_that_reads_feedback_and_with_one_that_does_not():
    _, held = split_by_prompt(PROGRAMS, shown=2, held_out=60, seed=0)
    grid = {p.expression: p.values for p in PROGRAMS}

    def reads(prompts):
        out = []
        for prompt in prompts:
            shown, _, told = prompt.partition("=")
            known = dict(enumerate(map(int, shown.split(","))))
            if told:
                index, values = told.rstrip("=").split(";")[1].split("?")
                known[int(index)] = int(values.split("!")[1])
            out.append(next((e for e, v in grid.items() if all(v[n] == t for n, t in known.items())), "0"))
        return out

    def ignores(prompts):
        return reads([p.split("=")[0] + "=" for p in prompts])

    good, blind = two_steps(held, reads, shown=2, seed=0), two_steps(held, ignores, shown=2, seed=0)
    assert sum(t.true_feedback for t in good) > sum(t.other_feedback for t in good) >= sum(t.draft for t in good)
    assert [t.draft for t in blind] == [t.true_feedback for t in blind] == [t.other_feedback for t in blind] == [t.draft for t in good]


def test_ambiguous_programs_agree_on_what_is_shown_and_differ_later():
    programs = ambiguous_programs(5)
    assert len({p.values for p in programs}) == len(programs) == 40
    assert {p.values[:2] for p in programs} == {(0, a) for a in range(1, 6)}
    train, held = split_by_prompt(programs, shown=2, held_out=8, seed=0)
    assert len(held) == 8 and len({p.values[:2] for p in held}) == 1 and len(train) == 32
