import pytest

from galley.evaluate.code.sanitise import drop_trailing_calls, fenced, sanitise

CLEAN = "import math\ndef helper(x):\n    return x + 1\ndef f(x):\n    return helper(math.floor(x))"
ANSWER = (
    f"Sure! Here it is.\n\n```python\nimport math\n\n{CLEAN[12:]}\n\ndef unused():\n    return 0\n\nprint(f(1))\n```\nI hope that helps."
)


def test_the_function_its_helpers_and_imports_are_kept_and_nothing_else():
    done = sanitise(fenced(ANSWER, "f"), "f")
    assert "import math" in done and "def helper" in done and "def f" in done
    assert "print" not in done and "unused" not in done and "hope" not in done
    scope = {}
    exec(done, scope)
    assert scope["f"](2.5) == 3


def test_a_clean_program_is_left_alone():
    assert sanitise(CLEAN, "f") == CLEAN
    assert fenced(CLEAN) == CLEAN


def test_it_is_evalplus_s():
    from evalplus.sanitize import sanitize

    assert sanitise(ANSWER, "f") == sanitize(ANSWER, entrypoint="f")


@pytest.mark.parametrize(
    "text", ["", "((((", "\0", "no code at all", "(" * 3000, "x = (\n" * 2000], ids=["empty", "open", "null", "prose", "deep", "long"]
)
def test_anything_is_taken_without_an_error(text):
    assert isinstance(sanitise(text, "f"), str)


def test_a_long_program_that_parses_is_left_alone():
    program = CLEAN + "\n" + "x = 1\n" * 100
    assert sanitise(program, "f") == program


def test_blocks():
    two = "```\nx = 1\n```\nthen\n```python\ndef f():\n    pass\n```"
    assert fenced(two, "f") == "def f():\n    pass" and fenced(two, "g") == "x = 1"
    assert fenced("```python\ndef f():\n    return 1") == "def f():\n    return 1"  # the model ran out of tokens


def test_trailing_calls_are_dropped():
    calls = "y = 2\nprint(task_func(\n    y))\nif y:\n    task_func(y)\n"
    program = f"import os\ndef task_func(x):\n    return x\n\n{calls}def other():\n    return task_func(1)\n"
    done = drop_trailing_calls(program, "task_func")
    assert "print" not in done and "if y" not in done and "def other" in done and "y = 2" in done
    assert drop_trailing_calls("def f(:", "f") == "def f(:" and drop_trailing_calls("x = 1\n", "f") == "x = 1\n"
