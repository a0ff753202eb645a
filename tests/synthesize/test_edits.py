import ast

from galley.synthesize.edits import edits, mutants

CODE = '''
def between(x, low, high):
    """Tell whether x lies between."""
    if low > high:
        low, high = high, low
    n = 1
    return low <= x and x < high + n
'''


def test_every_edit_parses_differs_and_is_one_of_its_kind():
    found = list(edits(CODE))
    texts = [e.code for e in found]
    own = ast.unparse(ast.parse(CODE))
    assert len(texts) == len(set(texts)) and own + "\n" not in texts
    assert all(ast.parse(t) for t in texts)
    assert {"compare", "arithmetic", "logical", "constant", "negate", "delete", "name", "return"} <= {e.kind for e in found}


def test_an_edit_changes_one_line_of_the_printed_program_and_names_it():
    printed = ast.unparse(ast.parse(CODE))
    for edit in edits(printed):
        pairs = list(zip(printed.splitlines(), edit.code.splitlines(), strict=True))
        assert [i for i, (a, b) in enumerate(pairs, 1) if a != b] == [edit.line], edit


def test_docstrings_and_other_functions_stay():
    two = CODE + "\ndef other(y):\n    return y + 1\n"
    found = list(edits(two, entry_point="between"))
    assert all('"""Tell whether x lies between."""' in e.code and "return y + 1" in e.code for e in found)
    assert list(edits(two, entry_point="absent")) == [] and list(edits("def broken(:")) == []


def test_mutants_are_drawn_by_the_seed_and_keep_their_order():
    some = mutants(CODE, entry_point="between", limit=5, seed=1)
    assert some == mutants(CODE, entry_point="between", limit=5, seed=1) != mutants(CODE, entry_point="between", limit=5, seed=2)
    assert [e.line for e in some] == sorted(e.line for e in some) and len(some) == 5
    assert set(some) <= set(edits(CODE, entry_point="between"))
