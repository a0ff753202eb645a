"""Programs that reach out of the jail: the code ends well only if it got there. Source: ours."""

from adversarial.attack import Attack

from galley.sandbox.types import Run

BLOCKED = ("error", "fail")


def reads(path: str) -> str:
    return f"assert open({path!r}, 'rb').read(1)"


def connects(family: str, address: str) -> str:
    return f"import socket\ns = socket.socket(socket.{family})\ns.settimeout(1)\ns.connect({address})"


ATTACKS = [
    Attack("host password file", "assert 'daemon' in open('/etc/passwd').read()"),
    Attack("host shadow file", reads("/etc/shadow")),
    Attack("home folder", "import os\nassert [n for n in os.listdir('/root') if n != '.pyenv']"),
    Attack("home by tilde", "import os\nassert [n for n in os.listdir(os.path.expanduser('~root')) if n != '.pyenv']"),
    Attack("every home", "import os\nassert os.listdir('/home')"),
    Attack("the project", "import glob\nassert glob.glob('/**/pyproject.toml', recursive=True)", verdicts=("error", "fail", "timeout")),
    Attack("our own module", "import galley.sandbox"),
    Attack("canary in the environment", "import os\nassert any('CANARY' in k + v for k, v in os.environ.items())"),
    Attack("environment of another process", reads("/proc/1/environ")),
    Attack("own memory by /proc", reads("/proc/self/maps")),
    Attack("processes by /proc", "import os\nassert os.listdir('/proc')"),
    Attack("kernel settings", reads("/sys/kernel/uevent_helper")),
    Attack("disk device", "import os, glob\nassert glob.glob('/dev/[svn][dv]*')"),
    Attack("a device of its own", "import os, stat\nos.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0))"),
    Attack("kernel memory", reads("/dev/mem")),
    Attack("terminal", reads("/dev/tty")),
    Attack("write to the root", "open('/x', 'w').write('x')"),
    Attack("write to /usr", "open('/usr/x', 'w').write('x')"),
    Attack("write to the interpreter", "import os\nopen(os.path.join(os.path.dirname(os.__file__), 'x.py'), 'w').write('x')"),
    Attack("change a library's mode", "import os\nos.chmod(os.__file__, 0o777)"),
    Attack("write to /etc", "open('/etc/passwd', 'a').write('x')"),
    Attack("write to a device folder", "open('/dev/x', 'w').write('x')"),
    Attack("rename the temporary folder", "import os\nos.rename('/tmp', '/tmp2')"),
    Attack("symbolic link out", "import os\nos.symlink('/etc/shadow', 'link')\nassert open('link').read()"),
    Attack("hard link of a library", "import os\nos.link(os.__file__, '/tmp/os.py')"),
    Attack("climb by dots", "assert open('/tmp/' + '../' * 40 + 'old/etc/shadow').read()"),
    Attack("climb by chroot", "import os\nos.mkdir('d')\nos.chroot('d')"),
    Attack(
        "climb by a descriptor",
        "import os\nfor fd in range(3, 1000):\n  try: os.fchdir(fd)\n  except OSError: continue\n  else: break\nelse: raise OSError",
    ),
    Attack(
        "inherited descriptors",
        "import os, stat\nfor fd in range(4, 1024):\n  try: os.fstat(fd)\n  except OSError: continue\n  else: break\nelse: raise OSError",
    ),
    Attack("become root", "import os\nos.setuid(0)"),
    Attack("root group", "import os\nos.setgid(0)"),
    Attack("is root", "import os\nassert os.getuid() == 0"),
    Attack(
        "setuid program",
        "import subprocess\nassert 'root' in subprocess.run(['su', '-c', 'id'], capture_output=True, text=True, timeout=1).stdout",
    ),
    Attack(
        "sees other processes",
        "import os\nfor p in [*range(3, 3000)]:\n  if p == os.getpid(): continue\n  try: os.kill(p, 0)\n  except OSError: continue\n  else: break\nelse: raise OSError",
    ),
    Attack("signal to the parent", "import os, signal\nassert os.getppid() > 0\nos.kill(os.getppid(), signal.SIGKILL)"),
    Attack(
        "signal to process 1",
        "import os, signal, time\nos.kill(1, signal.SIGKILL)\ntime.sleep(.1)\nfor p in range(3, 99): os.kill(1, 0); os.kill(p, 0)",
    ),
    Attack("signal to everyone", "import os, signal\nos.kill(-1, signal.SIGKILL)", verdicts=("error", "fail", "crash")),
    Attack("priority of others", "import os\nos.setpriority(os.PRIO_USER, 0, -20)"),
    Attack("real-time priority", "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))"),
    Attack("internet by address", connects("AF_INET", "('1.1.1.1', 53)")),
    Attack("internet by name", "import urllib.request\nurllib.request.urlopen('http://example.org', timeout=1)"),
    Attack("host's own server", connects("AF_INET", "('127.0.0.1', PORT)")),
    Attack("host's server, IPv6", connects("AF_INET6", "('::1', PORT)")),
    Attack("host's abstract socket", connects("AF_UNIX", "'\\0galley-canary'")),
    Attack("host's socket file", connects("AF_UNIX", "'/run/systemd/notify'")),
    Attack("raw packets", "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    Attack("netlink", "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    Attack("kernel crypto", "import socket\nsocket.socket(38, socket.SOCK_SEQPACKET)"),
    Attack("virtual sockets", "import socket\nsocket.socket(40, socket.SOCK_STREAM)"),
    Attack("host name", "import socket\nsocket.sethostname('x')"),
    Attack("shared memory of the host", "import os\nassert [n for n in os.listdir('/dev/shm') if 'canary' in n]"),
    Attack("a file of the program before", "import os\nassert os.listdir(os.environ['TMPDIR'])", Run()),
    Attack("a program that crashes", "import faulthandler\nfaulthandler._sigsegv()", verdicts=("crash",)),
    Attack("aborts", "import os\nos.abort()", verdicts=("crash",)),
    Attack("kills itself", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", verdicts=("crash",)),
    Attack("not a program", "\x00\x01 def", verdicts=("error",)),
    Attack("lone surrogates", "x = '\udc80'", verdicts=("error",)),
]
