"""Programs that eat the machine or outlive their time. Source: ours."""

from adversarial.attack import CHECK, Attack

from galley.sandbox.types import Calls, Check, Limits, Stdin

PATIENT = Limits(2.0, 6.0, 128, 8, 32, 2, 16)
TIMEOUT, MEMORY = ("timeout",), ("memory",)

ATTACKS = [
    Attack("busy loop", "while True: pass", verdicts=TIMEOUT),
    Attack("busy loop in a call", "def solve(n):\n    while True: pass", Check(CHECK, "solve"), verdicts=TIMEOUT),
    Attack("sleep", "import time; time.sleep(60)", verdicts=TIMEOUT),
    Attack("sleep in a call", "import time\ndef solve(n): time.sleep(60)", Calls("solve", [[1]]), verdicts=TIMEOUT),
    Attack("a huge loop in C", "import itertools; sum(1 for _ in itertools.product(range(1000), repeat=4))", verdicts=TIMEOUT),
    Attack("a power that never ends", "x = 9 ** 9 ** 9", verdicts=("timeout", "memory")),
    Attack("a regular expression that never ends", "import re; re.match('(a+)+$', 'a' * 60 + 'b')", verdicts=TIMEOUT),
    Attack("a huge integer to text", "import sys; sys.set_int_max_str_digits(0); str(1 << (1 << 26))", verdicts=TIMEOUT),
    Attack(
        "signals blocked",
        "import signal\nfor n in range(1, 65):\n  try: signal.signal(n, signal.SIG_IGN)\n  except Exception: pass\nwhile True: pass",
        verdicts=TIMEOUT,
    ),
    Attack("signal mask", "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass", verdicts=TIMEOUT),
    Attack("catches everything and goes on", "while True:\n  try:\n    while True: pass\n  except BaseException: pass", verdicts=TIMEOUT),
    Attack(
        "swallows the limit of a call",
        "def solve(n):\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass",
        Calls("solve", [[1], [2]], call_cpu_s=0.1),
        verdicts=TIMEOUT,
    ),
    Attack("raised CPU limit", "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (100, 100))", verdicts=("error",)),
    Attack("CPU time over many processes", "import os\nfor _ in range(4): os.fork()\nwhile True: pass", verdicts=("timeout", "error")),
    Attack("fork bomb", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", verdicts=TIMEOUT),
    Attack(
        "thread bomb",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        verdicts=("error", "timeout"),
    ),
    Attack("memory bomb", "x = bytearray(1 << 30)", verdicts=MEMORY, limits=PATIENT),
    Attack("memory by pieces", "x = []\nwhile True: x.append(bytearray(1 << 20))", verdicts=MEMORY, limits=PATIENT),
    Attack(
        "memory in a call", "def solve(n): return bytearray(1 << 30)", Check(CHECK, "solve"), verdicts=("memory", "error"), limits=PATIENT
    ),
    Attack(
        "memory over many processes",
        "import os, time\nfor _ in range(6):\n  if os.fork() == 0:\n    x = bytearray(b'1') * (100 << 20)\n    time.sleep(60)\ntime.sleep(60)",
        verdicts=MEMORY,
        limits=PATIENT,
    ),
    Attack(
        "shared memory",
        "import mmap, time\nm = mmap.mmap(-1, 1 << 30)\nfor i in range(0, 1 << 30, 4096): m[i] = 1\ntime.sleep(60)",
        verdicts=("memory", "error"),
        limits=PATIENT,
    ),
    Attack("memory in anonymous files", "import os\nfds = [os.memfd_create('x') for _ in range(9)]", verdicts=("error",)),
    Attack("deep recursion", "def f(): f()\nf()", verdicts=("error",)),
    Attack(
        "deeper recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()", verdicts=("crash", "memory", "timeout", "error")
    ),
    Attack("deep source", "eval('(' * 100000 + ')' * 100000)", verdicts=("error", "crash", "memory")),
    Attack("big file", "open('x', 'wb').write(bytes(3 << 20))", verdicts=("error", "crash")),
    Attack("many files", "for i in range(10**6): open(str(i), 'w').close()", verdicts=("error", "timeout")),
    Attack("full disk", "for i in range(1000): open(str(i), 'wb').write(bytes(1 << 20))", verdicts=("error",)),
    Attack("many descriptors", "x = []\nwhile True: x.append(open('/dev/null'))", verdicts=("error",)),
    Attack("gigabytes of output", "while True: print('x' * 10**6)", verdicts=("flood",)),
    Attack("output past the stream", "import os\nwhile True: os.write(1, b'x' * 10**6)", verdicts=("flood",)),
    Attack("output to errors", "import sys\nwhile True: sys.stderr.write('x' * 10**6)", verdicts=TIMEOUT),
    Attack(
        "warnings without end",
        "import warnings\nwarnings.simplefilter('always')\nfor i in range(10**8): warnings.warn(str(i))",
        verdicts=TIMEOUT,
    ),
    Attack("output per input", "while True: print('x' * 10**6)", Stdin(["", ""]), verdicts=("flood",)),
    Attack(
        "gigabytes of results",
        "def solve(n): return 'x' * (40 << 20)",
        Calls("solve", [[1]] * 4),
        verdicts=("flood", "memory"),
        limits=Limits(2.0, 4.0, 512),
    ),
    Attack(
        "a result nested too deep",
        "def solve(n):\n  x = []\n  for _ in range(10**5): x = [x]\n  return x",
        Calls("solve", [[1]]),
        verdicts=("fail", "crash"),
    ),
    Attack(
        "a result that holds itself",
        "def solve(n):\n  x = []\n  x.append(x)\n  return x",
        Calls("solve", [[1]]),
        verdicts=("fail", "crash"),
    ),
    Attack(
        "an orphan that sleeps",
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  os._exit(0)\ntime.sleep(60)",
        verdicts=TIMEOUT,
    ),
    Attack(
        "a thread that outlives",
        "import threading, time, sys\nthreading.Thread(target=time.sleep, args=(60,)).start()\nsys.exit(0)",
        verdicts=("no_result", "timeout"),
    ),
    Attack("waits for a signal", "import signal\nsignal.pause()", verdicts=TIMEOUT),
    Attack("waits for input that never comes", "import os\nr, w = os.pipe()\nos.read(r, 1)", verdicts=TIMEOUT),
    Attack("slow to end", "import atexit, time, sys\natexit.register(time.sleep, 60)\nsys.exit(0)", verdicts=("no_result", "timeout")),
    Attack("a destructor that never ends", "class A:\n  def __del__(self):\n    while True: pass\na = A()\ndel a", verdicts=TIMEOUT),
    Attack("stops itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", verdicts=TIMEOUT),
]
