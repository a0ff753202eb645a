import pytest

from galley.papers.codeseq.answers import as_integer, extract_program, same_output, stdin_program


def test_the_last_fence_is_taken():
    assert extract_program("x ```python\na\n``` y\n```py\nb\n``` z") == "b\n"
    assert extract_program("print(1)") is None


@pytest.mark.parametrize("got", ["5", " 5\n", "5.0", "+5", "005", "[5]", "( 5 )", "5.000"])
def test_ways_of_writing_a_term(got):
    assert same_output(got, 5)


@pytest.mark.parametrize("got", ["", "6", "5 5", "5.5", "5e0", "5.0.0", "five", "--5", "[5, 6]", "1e999999999", "0x5"])
def test_other_things(got):
    assert not same_output(got, 5)


def test_big_terms_are_compared_exactly():
    big = 10**400
    assert same_output(str(big), big) and not same_output(str(big + 1), big) and not same_output("1e400", big)
    assert float(10**30) == float(10**30 + 1) and not same_output(str(10**30 + 1), 10**30)
    assert as_integer("9" * 10**6) is not None  # cut to what a term may have, and no more


def test_program_of_an_expression():
    assert stdin_program("2*n", start=3) == "n = int(input()) - 3\nprint(2*n)\n"
    assert stdin_program("n", start=-1).startswith("n = int(input()) + 1")
