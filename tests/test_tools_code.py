"""Snippets that a judge runs: on the real thing, what they can do and what they cannot."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from guerdon.scorers.judges import tools_code_child
from guerdon.scorers.judges.tools import ToolSpec, load_tools
from guerdon.scorers.judges.tools_code import Snippets
from guerdon.scorers.judges.tools_contract import ToolFailed


def run(snippet, seconds=60):
    return asyncio.run(Snippets("namespaces").run(snippet, seconds))


def refused(snippet, seconds=60):
    with pytest.raises(ToolFailed) as failed:
        run(snippet, seconds)
    return str(failed.value)


@pytest.mark.parametrize(
    ("snippet", "answer"),
    [
        ("print(6 * 7)", "42"),
        ("import math, json\nprint(json.dumps([math.isqrt(50), 'é']))", '[7, "\\u00e9"]'),
        ("pass", "(it printed nothing)"),
        ("import sys\nprint('a')\nsys.exit(3)", "a\n(exit code 3)"),
        ("import sys\nprint('ä', file=sys.stderr)", "ä"),
        ("import sys; print(sys.stdin.read() == '')", "True"),
        ("import sys; print(sys.argv, sys.flags.no_site, sys.path[0].endswith('.zip'))", "['-c'] 1 True"),
        ("print(sorted({'a', 'b', 'c'}), hash('a') == hash('a'))", "['a', 'b', 'c'] True"),
    ],
)
def test_a_snippet_runs_and_what_it_prints_is_told(snippet, answer):
    """With its exit code where that is not 0."""
    assert run(snippet) == answer


def test_a_snippet_prints_the_same_each_time():
    """Even where the order of a set shows."""
    assert len({run("print({'a', 'b', 'c', 'd', 'e', 'f'}, hash('x'))") for _ in range(3)}) == 1


def test_an_error_is_told_with_its_place():
    """A traceback is what the judge wanted to see."""
    said = run("x = 1\nx / 0")
    assert "line 2" in said and "ZeroDivisionError" in said and said.endswith("(exit code 1)")


def test_an_endless_loop_ends():
    """By its CPU time, also where it asks to be spared every signal."""
    spared = (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\n"
    )
    assert refused("while True: pass") == "it used more than 2 s of CPU time"
    assert refused(spared + "while True: pass") == "it used more than 2 s of CPU time"


def test_a_snippet_that_waits_ends():
    """By the clock, also where it has left its group and closed its output."""
    assert refused("import time; time.sleep(1000)", 1) == "it took longer than 1 s"
    hidden = "import os, time; os.setsid(); os.close(1); os.close(2); time.sleep(99)"
    assert refused(hidden, 1) == "it took longer than 1 s"


def test_there_is_no_second_process_or_thread():
    """A fork bomb does not begin."""
    assert "BlockingIOError" in run("import os\nwhile True: os.fork()")
    assert "BlockingIOError" in run("import subprocess\nsubprocess.run(['/bin/true'])")
    assert "can't start new thread" in run("import threading\nthreading.Thread(target=print).start()")


def test_memory_is_bounded():
    """Its own, and what it could keep in the system's."""
    assert "MemoryError" in run("x = bytearray(1 << 30)")
    assert "MemoryError" in run("x = []\nwhile True: x.append(bytearray(1 << 20))")
    shared = "import ctypes\nprint(ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600))"
    assert run(shared) == "-1"


def test_output_is_bounded():
    """A flood is a failure, and no memory of ours."""
    assert refused("while True: print('x' * 1000)") == "it printed more than 64 KiB"


def test_files_are_bounded_and_gone_afterwards():
    """A snippet writes only to its own folder, which is empty at first and in memory."""
    assert run("import os; print(os.getcwd(), os.listdir('.'))") == "/work []"
    assert run("open('f', 'w').write('x' * 100); print(open('f').read() == 'x' * 100)") == "True"
    assert "File too large" in run("open('f', 'wb').write(b'x' * (2 << 20))")
    assert "No space left" in run("for n in range(9): open(str(n), 'wb').write(b'x' * (1 << 20))")
    assert run("import os; print(os.listdir('.'))") == "[]"


@pytest.mark.parametrize("folder", ["/", "/tmp", "/usr/lib", "/lib", "/etc", os.path.dirname(os.__file__)])
def test_nothing_is_written_elsewhere(folder):
    """What is there at all is read-only."""
    said = run(f"import os\ntry: open({folder!r} + '/guerdon-was-here', 'w')\nexcept OSError as e: print('no')\n")
    assert said == "no" and not os.path.exists(f"{folder}/guerdon-was-here")


def test_the_machines_files_are_not_there(tmp_path):
    """But for Python's own and the shared libraries."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    asked = ["/etc/passwd", "/proc/self/status", "/proc/1/environ", "/dev/null", "/sys", "/home", str(secret), __file__]
    assert run(f"import os; print([p for p in {asked!r} if os.path.exists(p)])") == "[]"


def test_the_environment_is_empty(monkeypatch):
    """No secret of the service goes down."""
    monkeypatch.setenv("GUERDON_API_KEY", "secret")
    assert run("import os; print(sorted(os.environ))") == "['LC_CTYPE', 'PYTHONHASHSEED']"  # one is Python's own


def test_no_other_process_is_seen_or_reached():
    """The snippet is process 1 of its own."""
    assert run("import os; print(os.getpid(), os.getppid())") == "1 0"
    said = run(f"import os\ntry: os.kill({os.getpid()}, 0)\nexcept ProcessLookupError: print('no such process')")
    assert said == "no such process"


def test_there_is_no_network():
    """Neither this machine's loopback, where somebody listens, nor another one, nor a name, nor any other socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        for address in (("127.0.0.1", port), ("192.0.2.1", 80)):
            said = run(f"import socket\nsocket.create_connection({address!r}, 3)")
            assert "PermissionError" in said
    assert "gaierror" in run("import socket\nsocket.getaddrinfo('example.com', 80)")
    every = (
        "import socket\nfor family in range(1, 46):\n    try: print(socket.socket(family))\n    except OSError: pass"
    )
    assert run(every) == "(it printed nothing)"
    assert run("import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))") == "b'x'"
    assert run("import asyncio; print(asyncio.run(asyncio.sleep(0, 5)))") == "5"


def test_no_rights_are_left_or_to_be_had():
    """No capability, no leaving the chroot, no mounting, no namespaces of its own, no raising of limits."""
    tried = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
print(libc.capget(header, data), list(data)[:2] + list(data)[3:5])
print([libc.unshare(flag) for flag in (0x10000000, 0x20000, 0x40000000)])
print(libc.mount(b"none", b"/work", b"tmpfs", 0, None), libc.prctl(39, 0, 0, 0, 0))
print(libc.ptrace(0, 0, 0, 0), libc.syscall(425, 1, None))
try: os.chroot("/work")
except OSError: print("no")
try: resource.setrlimit(resource.RLIMIT_CPU, (99, 99))
except ValueError: print("no")
print([fd for fd in range(3, 64) if libc.fcntl(fd, 1) >= 0])
"""
    assert run(tried).splitlines() == ["0 [0, 0, 0, 0]", "[-1, -1, -1]", "-1 1", "-1 -1", "no", "no", "[]"]


def test_a_snippet_cannot_say_how_it_ended():
    """The report is on a channel that it does not have."""
    said = run("import os\nos.write(2, b'{\"code\": 0}\\n')\nos._exit(5)")
    assert said.endswith("(exit code 5)")


@pytest.mark.parametrize(
    ("snippet", "why"), [("", "no code"), (" \n", "no code"), ("a\0b", "no code"), ("#" * 10_001, "longer than 10000")]
)
def test_what_is_no_snippet_is_refused(snippet, why):
    """Before a process is begun."""
    assert why in refused(snippet)


STOPS = """
import ctypes, os, signal, time
libc = ctypes.CDLL(None)
libc.prctl(1, 0, 0, 0, 0)
libc.ptrace(0, 0, 0, 0)
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(1000)  # stopped-by-itself
"""


def test_a_snippet_that_stops_itself_is_ended():
    """Also where it has its watcher trace it, and no longer ends with it."""
    said = refused(STOPS, 2)
    assert said == "it took longer than 2 s" and not _running("stopped-by-itself")
    assert '"code": -9' in run_as_somebody("limits", STOPS)[1] and not _running("stopped-by-itself")


def test_crashes_of_the_interpreter_are_told():
    """As the signal that ended it."""
    assert refused("import ctypes\nctypes.string_at(0)") == "it was ended by signal 11"


async def test_nothing_is_left_of_a_snippet_that_nobody_waits_for():
    """Its processes end with the call."""
    task = asyncio.create_task(Snippets("namespaces").run("import time\nwhile True: time.sleep(1)  # left-behind", 60))
    while not _running("left-behind"):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while _running("left-behind"):
        await asyncio.sleep(0.01)


def _running(words):
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue
        if words.encode() in line:
            found.append(process)
    return found


ORDINARY = """
import ctypes, os, sys
folder, prefix, python, isolation = sys.argv[1:]
if os.getuid() == 0:  # become somebody else, who finds Python where everybody may read it
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0
    assert libc.mount(None, b"/", None, 1 << 18 | 16384, None) == 0
    assert libc.mount(prefix.encode(), f"{folder}/python".encode(), None, 4096 | 16384, None) == 0
    os.setgroups([])
    os.setresgid(54321, 54321, 54321)
    os.chown(f"{folder}/box", 54321, 54321)
    os.setresuid(54321, 54321, 54321)
    python = f"{folder}/python/{os.path.relpath(python, prefix)}"
os.chdir(f"{folder}/box")
os.execve(python, [python, "-I", "-S", "-B", f"{folder}/child.py", isolation, "30"], {})
"""


def run_as_somebody(isolation, snippet):
    """What a snippet prints, and the report, where the service's user is not root."""
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("python", "box"):
            (folder / part).mkdir()
        (folder / "child.py").write_bytes(Path(tools_code_child.__file__).read_bytes())
        command = [sys.executable, "-c", ORDINARY, name, sys.base_prefix, python, isolation]
        done = subprocess.run(command, input=snippet, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr


def test_a_user_who_is_not_root_shuts_snippets_off_as_well():
    """By a user namespace; that the snippet is called root in there gives it no rights."""
    printed, report = run_as_somebody(
        "namespaces",
        """
import ctypes, os
libc = ctypes.CDLL(None)
print(os.getpid(), os.getcwd(), libc.mount(b"none", b"/work", b"tmpfs", 0, None), libc.unshare(0x10000000))
print(libc.shmget(0, 1 << 20, 0o1600), os.path.exists("/etc/passwd"), os.path.exists("/proc/self"))
for attempt in (os.fork, lambda: os.chroot("/work"), lambda: open("/lib/x", "w")):
    try: attempt()
    except OSError as error: print(type(error).__name__)
import socket
socket.create_connection(("127.0.0.1", 1), 1)
""",
    )
    assert printed.splitlines()[:5] == [
        "1 /work -1 -1",
        "-1 False False",
        "BlockingIOError",
        "PermissionError",
        "OSError",
    ]
    assert "Operation not permitted" in printed and '"code": 1' in report


def test_with_limits_alone_a_snippet_is_limited_and_no_more():
    """It reads the machine's files and reaches its network, as the documentation says."""
    printed, report = run_as_somebody(
        "limits",
        """
import os, socket
print(os.path.exists("/etc/passwd"), os.listdir("."))
open("mine", "w").close()
for attempt in (os.fork, lambda: bytearray(1 << 30), lambda: socket.create_connection(("127.0.0.1", 1), 1)):
    try: attempt()
    except (OSError, MemoryError) as error: print(type(error).__name__)
""",
    )
    assert printed.splitlines() == ["True []", "BlockingIOError", "MemoryError", "ConnectionRefusedError"]
    assert '"code": 0' in report


WITHOUT_NAMESPACES = """
import ctypes, os
from guerdon.domain.errors import NotServable
from guerdon.scorers.judges.tools import ToolSpec, load_tools
user, group = os.getuid(), os.getgid()
assert ctypes.CDLL(None).unshare(0x10000000) == 0
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
    open(f"/proc/self/{name}", "w").write(text)
open("/proc/sys/user/max_net_namespaces", "w").write("0")
try:
    load_tools({"code": ToolSpec(enabled=True)})
except NotServable as error:
    print(error)
"""


def test_where_there_are_no_namespaces_code_is_refused():
    """When the service is planned, with the reason. A limit of the kernel stands for such a machine here."""
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_NAMESPACES], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "tools.code: isolation `namespaces` cannot be had on this machine" in said
    assert "unshare: No space left on device" in said and "see `isolation`" in said


def test_code_is_offered_only_where_it_is_enabled():
    """And then it has been seen to run."""
    assert list(load_tools({"calculator": ToolSpec(), "code": ToolSpec(enabled=False)})) == ["calculator"]
    code = load_tools({"code": ToolSpec(enabled=True)})["code"]
    assert asyncio.run(code.use("print(1)", 60)) == "1" and not code.repeatable
