import pytest

from galley.data.functions import functions_in

TEXT = '''
def double(n):
    """>>> double(3)\n    6\n    """
    return 2 * n

def double_again(x):
    total = x
    return total + x

def shout(text):
    """>>> shout("ab")\n    'AB!'\n    """
    return text.upper() + "!"

def total(numbers, start=0):
    """>>> total([1, 2])\n    3\n    """
    for n in numbers:
        start += n
    return start

def shuffled(words):
    """>>> shuffled(["a", "b", "c"])\n    """
    return list({w for w in words})

def remembers(n, seen=[]):
    """>>> remembers(3)\n    """
    seen.append(n)
    return len(seen)

def constant(n):
    """>>> constant(3)\n    """
    return 7

def fails(n):
    """>>> fails(3)\n    """
    return n / 0 if n > -100 else 1

def makes_objects(n):
    """>>> makes_objects(3)\n    """
    return object()

def address(n):
    """>>> address(3)\n    """
    return str(object())

def endless(n):
    """>>> endless(3)\n    """
    while True:
        n += 1
    return n

def large(n):
    """>>> large(3)\n    """
    return [n] * 1000

def odd(*numbers):
    return numbers

def leaves(code):
    """>>> leaves(1)\n    """
    raise SystemExit(code)
    return code
'''


@pytest.fixture(scope="session")
def functions():
    return functions_in(TEXT, origin="corpus", package="corpus")
