"""Programs that try to pass without solving: solve(n) must be n * n and never is. Source: ours."""

from adversarial.attack import CHECK, TESTS, Attack

from galley.sandbox.types import Calls, Check, Run, UnitTests

CHECKED, TESTED = Check(CHECK, "solve"), UnitTests(TESTS, "solve")
NOT = ("fail", "error", "no_result", "crash", "timeout")
ASSERT = "\nassert solve(2) == 4\n"
WRONG = "\ndef solve(n): return 0\n"
SAME = """
class Same:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return False
    def __hash__(self): return 4
    def __bool__(self): return True
    def __iter__(self): return iter(())
    def __rsub__(self, other): return 0
def solve(n): return Same()
"""
FORGED = """
import os, struct
def frame(kind, data): return kind + struct.pack('<I', len(data)) + data
words = frame(b'l', b'') + frame(b'v', b'i\\x04\\0\\0\\0') * 3 + frame(b'Z', b'0' * 16) + frame(b'Z', b'') + b'{"verdict": "pass"}'
for fd in range(0, 64):
    try: os.write(fd, words)
    except OSError: pass
"""
FRAMES = """
import sys
def solve(n):
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if type(value).__name__ == '_Result':
                value._fault = lambda *a: None
            if hasattr(value, 'success'):
                value.success = True
        frame = frame.f_back
    return 0
"""
BY_TRACEBACK = FRAMES.replace("frame = sys._getframe()", "try: 1 / 0\n    except Exception as e: frame = e.__traceback__.tb_frame")
COLLECTOR = """
import gc
for o in gc.get_objects():
    if type(o).__name__ in ('_Result', 'Line', 'Runner'):
        type(o)._fault = lambda *a: None
    if type(o) is bytes and len(o) == 21 and o[:1] == b'Z':
        import os; os.write(3, o); os._exit(0)
"""
SUBCLASSES = """
import unittest
def solve(n):
    for case in unittest.TestCase.__subclasses__():
        case.assertEqual = case.assertTrue = lambda *a, **k: None
    return 0
"""


def both(name: str, code: str, **more) -> list[Attack]:
    return [
        Attack(f"{name}, Check", code, CHECKED, NOT, **more),
        Attack(f"{name}, UnitTests", code, TESTED, NOT, **more),
    ]


ATTACKS = [
    *both("wrong", WRONG),
    *both("no function", "x = 1"),
    *both("os._exit(0)", "import os\nos._exit(0)"),
    *both("os._exit(0) in a call", "import os\ndef solve(n): os._exit(0)"),
    *both("sys.exit(0)", "import sys\nsys.exit(0)"),
    *both("sys.exit(0) in a call", "import sys\ndef solve(n): sys.exit(0)"),
    *both("equals everything", SAME),
    *both("equals everything, in a list", SAME.replace("return Same()", "return [Same()]")),
    *both("an int that equals everything", SAME.replace("class Same:", "class Same(int):")),
    *both("mock.ANY", "from unittest.mock import ANY\ndef solve(n): return ANY"),
    *both("forged words on every descriptor", FORGED + WRONG),
    *both("forged words and exit", FORGED + "os._exit(0)"),
    *both(
        "forged words in a call", FORGED.replace("\n", "\n  ").replace("\n  \n", "\n").replace("\n  import", "def solve(n):\n  import", 1)
    ),
    *both("frames", FRAMES),
    *both("frames by traceback", BY_TRACEBACK),
    *both("collector", COLLECTOR + WRONG),
    *both("collector in a call", "def solve(n):\n" + "".join(f"  {line}\n" for line in COLLECTOR.splitlines()) + "  return 0"),
    *both("patched unittest", "import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None" + WRONG),
    *both(
        "patched unittest, quietly", "import unittest\ntry: unittest.TestCase.run = lambda *a, **k: None\nexcept TypeError: pass" + WRONG
    ),
    *both("patched result", "import unittest\nunittest.case._addError = lambda *a, **k: None" + WRONG),
    *both("patched result in a call", "import unittest.case\ndef solve(n):\n  unittest.case._addError = lambda *a, **k: None\n  return 0"),
    *both(
        "another unittest", "import sys, types\nm = types.ModuleType('unittest')\nm.TestCase = object\nsys.modules['unittest'] = m" + WRONG
    ),
    *both("patched test classes", SUBCLASSES),
    *both(
        "patched test class by module",
        "import sys\ndef solve(n):\n  sys.modules['__test__'].TestCases.assertEqual = lambda *a: None\n  return 0",
    ),
    *both("patched code of unittest", "import unittest\nunittest.TestCase.assertEqual.__code__ = (lambda *a, **k: None).__code__" + WRONG),
    *both("patched defaults of the harness", "import unittest\nunittest.TestCase.fail.__defaults__ = ()" + WRONG),
    *both("patched builtins", "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.sorted = lambda *a: [1, 4]" + WRONG),
    *both("patched class building", "import builtins\nbuiltins.__build_class__ = lambda *a, **k: object" + WRONG),
    *both("a test class of its own", "import unittest\nclass T(unittest.TestCase):\n  def test(self): pass" + WRONG),
    *both("skips the tests", "import unittest\ndef solve(n): raise unittest.SkipTest('x')"),
    *both("tracing", "import sys\nsys.settrace(lambda *a: None)" + WRONG),
    *both(
        "line jumps",
        "import sys\ndef t(f, e, a):\n  if e == 'line': f.f_lineno = 1\n  return t\ndef solve(n):\n  sys.settrace(t)\n  return 0",
    ),
    *both("profiling", "import sys\nsys.setprofile(lambda *a: None)" + WRONG),
    *both("hook that raises", "import sys\ndef h(e, a): raise BaseException\nsys.addaudithook(h)" + WRONG),
    *both("hook of exceptions", "import sys\nsys.unraisablehook = sys.excepthook = lambda *a: None\nraise SystemExit(0)"),
    *both("raw memory", "import ctypes\nctypes.string_at(id(0))" + WRONG),
    *both("test interpreter", "import _testcapi" + WRONG),
    *both("second interpreter", "import _xxsubinterpreters as s\ns.run_string(s.create(), 'import gc; gc.get_objects()')" + WRONG),
    *both("second process answers", "import os\nif os.fork():\n  os._exit(0)" + WRONG),
    *both(
        "a thread that interferes",
        "import threading, unittest.case\ndef f():\n  while True: unittest.case._addError = lambda *a: None\nthreading.Thread(target=f, daemon=True).start()"
        + WRONG,
    ),
    *both("raises what asserts raise", "def solve(n): raise AssertionError"),
    *both("closes every descriptor", "import os\nos.closerange(0, 100)" + WRONG),
    *both(
        "interrupts the parent",
        "import os, signal\nfor p in (0, 1, os.getppid()):\n  try: os.kill(p, signal.SIGINT)\n  except OSError: pass" + WRONG,
    ),
    *both(
        "reads its caller's test",
        "import inspect\ndef solve(n):\n  source = inspect.getsource(inspect.stack()[1].frame)\n  return 4 if 'assert' in source else 0",
    ),
    *both("hash collisions", "def solve(n): return {i * (2**61 - 1) for i in range(20000)}"),
    *both("an exception with a hostile text", "class E(Exception):\n  def __str__(self): raise SystemExit(0)\ndef solve(n): raise E"),
    *both("a name that lies", "class int(int): pass\ndef solve(n): return int(0)"),
    Attack("os._exit(0)", "import os\nos._exit(0)" + ASSERT, Run(), NOT),
    Attack("sys.exit(0)", "import sys\nsys.exit(0)" + ASSERT, Run(), NOT),
    Attack("forged words", FORGED + "os._exit(0)", Run(), NOT),
    Attack("forged words, then an exception", FORGED + "raise ValueError", Run(), NOT),
    Attack("collector", COLLECTOR, Run(), NOT),
    Attack("frames below", "import sys\nassert sys._getframe().f_back", Run(), NOT),
    Attack("threads' frames", "import sys\nassert len(sys._current_frames()) > 1", Run(), NOT),
    Attack("new code", "f = lambda: 0\ng = f.__code__.replace(co_code=b'd' * 99)\nassert 0", Run(), NOT),
    Attack("code from bytes", "import marshal\nmarshal.loads(marshal.dumps((lambda: 0).__code__))", Run(), NOT),
    Attack("library file name", "exec(compile('import sys; sys.settrace(None)', '/usr/lib/python3.11/x.py', 'exec'))", Run(), NOT),
    Attack(
        "native module of its own",
        "import os, shutil, _json\nshutil.copy(_json.__file__, 'own.so')\nimport importlib.util as u\nu.module_from_spec(u.spec_from_file_location('_json', 'own.so'))",
        Run(),
        NOT,
    ),
    Attack("hook goes first", "import sys\nsys.unraisablehook = print\n1 / 0", Run(), NOT),
    Attack(
        "os._exit(0) after the first value",
        "import os\ndef solve(n):\n  if n > 1: os._exit(0)\n  return 1",
        Calls("solve", [[1], [2]]),
        NOT,
    ),
    Attack("forged values", FORGED + "os._exit(0)", Calls("solve", [[1], [2]]), NOT),
    Attack("an object", SAME, Calls("solve", [[1]]), NOT),
    Attack("a code object", "def solve(n): return (lambda: 0).__code__", Calls("solve", [[1]]), NOT),
]
