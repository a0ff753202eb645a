"""Each rule on a function that it keeps and one that it drops; counts add up."""

from collections import Counter

import pytest

from galley.data.function_filters import CASE2CODE, free_names, keep, packages_within
from galley.data.functions import functions_in

DROPPED = {
    "no_return": "def f(a):\n    print(a)\n",
    "no_arguments": "def f(*a, k=1):\n    return a\n",
    "import_inside": "def f(a):\n    import re\n    return re\n",
    "nested_function": "def f(a):\n    def g():\n        return a\n    return g()\n",
    "uses_package": "import math\ndef f(a):\n    return math.sqrt(a)\n",
    "free_name": "LIMIT = 3\ndef f(a):\n    return a < LIMIT\n",
    "outside_world": "def f(a):\n    return open(a).read()\n",
}
KEPT = "def f(a, b=2):\n    return sorted(a)[:b] if a else f([b])\n"


def one(text):
    return functions_in(text, origin="o", package="p")[0]


@pytest.mark.parametrize("reason", DROPPED)
def test_each_rule_drops_what_it_names(reason):
    counts = Counter()
    assert list(keep([one(DROPPED[reason])], CASE2CODE, counts=counts)) == []
    assert counts == {"input": 1, reason: 1}


def test_every_rule_has_its_case():
    assert set(DROPPED) == set(CASE2CODE)


def test_kept_and_dropped_add_up_and_filtering_twice_changes_nothing():
    functions = [one(text) for text in [*DROPPED.values(), KEPT, KEPT]]
    counts = Counter()
    kept = list(keep(functions, CASE2CODE, counts=counts))
    assert counts.pop("input") == counts.total() == len(functions) and len(kept) == 2
    assert list(keep(kept, CASE2CODE, counts=Counter())) == kept


def test_packages_within_a_list():
    rule = packages_within(["math", "numpy"])
    assert rule(one("from math import sqrt\ndef f(a):\n    return sqrt(a)\n"))
    assert rule(one(KEPT))
    assert not rule(one("import os.path\ndef f(a):\n    return os.path.join(a)\n"))


def test_free_names():
    assert free_names(one("import re\ndef f(a):\n    return re.sub(a, helper(a), str(a))\n")) == {"helper"}
