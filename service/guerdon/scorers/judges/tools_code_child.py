"""Runs one Python snippet with little around it: ``python -I -S -B tools_code_child.py namespaces|limits SECONDS``.

The snippet comes by stdin, what it prints goes to stdout, and one line of JSON on stderr tells how it ended. This file
uses the standard library alone: it runs outside of the service's packages.

With ``namespaces`` the snippet has namespaces of its own: no network but a loopback that is down, no other process to
see, and no files but Python's own, read-only, and an empty folder in memory. It runs as nobody, in a chroot and without
capabilities; who is in a chroot can make no user namespaces either. A filter refuses it sockets, also of those families
that no namespace holds, and calls that no honest snippet makes. With ``limits`` it has limits only.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
from typing import NoReturn

CPU_S = 2
MEMORY_BYTES = 256 << 20
FILE_BYTES = 1 << 20
OPEN_FILES = 64
FOLDER = "/work"
FLAGS = ("-s", "-P", "-S", "-B", "-u", "-X", "utf8", "-c")
NOBODY = 65534

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
READ_ONLY = 1 | MS_NOSUID | MS_NODEV
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 1, 22, 28, 38
NO_ROOT = 0b11  # user 0 gains no capabilities at exec, and this stays so

# By machine: its number in the kernel's audit.h, and those of socket, ptrace, add_key, request_key, keyctl,
# perf_event_open, bpf, userfaultfd and io_uring_setup (which could do any of them).
MACHINES = {
    "x86_64": (0xC000003E, (41, 101, 248, 249, 250, 298, 321, 323, 425)),
    "aarch64": (0xC00000B7, (198, 117, 217, 218, 219, 241, 280, 282, 425)),
}
X32 = 0x40000000  # calls of x86_64 in another spelling
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, MACHINE_AT = 0, 4
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000

ROOT = os.getuid() == 0
libc = ctypes.CDLL(None, use_errno=True)


def main(isolation: str, seconds: float) -> None:
    """Run the snippet, and tell how it ended."""
    snippet = sys.stdin.read()
    alone = isolation == "namespaces"
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
    try:
        if alone:
            _leave()
        pid = os.fork()
    except OSError as error:
        _tell(refused=str(error))
        return
    if pid == 0:
        _become(snippet, alone=alone)
    _tell(**_watch(pid, seconds))


def _tell(**ending: str | float) -> None:
    os.write(2, json.dumps(ending).encode() + b"\n")


def _watch(pid: int, seconds: float) -> dict[str, str | float]:
    """Wait for the snippet; end it when its time is up, or when the service no longer waits (SIGTERM)."""
    told = signal.sigtimedwait((signal.SIGCHLD, signal.SIGTERM), seconds)
    seen, status, used = os.wait4(pid, os.WNOHANG)
    if seen == 0 or os.WIFSTOPPED(status):  # it goes on, or has itself stopped so that it is taken for ended
        os.kill(pid, signal.SIGKILL)  # in a namespace of its own it is process 1, and all others end with it
        status, used = _last_of(pid)
    if told is None or told.si_signo == signal.SIGTERM:
        return {"overdue": seconds}
    return {"code": os.waitstatus_to_exitcode(status), "cpu_s": used.ru_utime + used.ru_stime}


def _last_of(pid: int) -> tuple[int, resource.struct_rusage]:
    while True:
        _, status, used = os.wait4(pid, 0)
        if not os.WIFSTOPPED(status):
            return status, used


def _leave() -> None:
    """Leave the machine's namespaces; the next child is process 1 of its own. Raises OSError."""
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    uid, gid = os.getuid(), os.getgid()
    if ROOT:
        _must(libc.unshare(flags), "unshare")
    else:
        _must(libc.unshare(flags | CLONE_NEWUSER), "unshare")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    with contextlib.suppress(OSError):  # older kernels leave it to the machine's root
        _write("/proc/sys/kernel/shmmni", "0")  # no System V shared memory in here: no limit counts it


def _become(snippet: str, *, alone: bool) -> NoReturn:
    """Shut the rest of the machine out, and turn into the snippet."""
    python = os.path.realpath(sys.executable)
    report = os.dup(2)  # closed at exec: the snippet cannot tell how it ended
    try:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(1, 2)
        os.closerange(report + 1, 1 << 16)
        if alone:
            _enter_box(python)
        _give_up_rights(alone=alone)
        _limit()
        if alone:
            _filter_calls(os.uname().machine)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM))
        os.execve(python, ["python", *FLAGS, snippet], {"PYTHONHASHSEED": "0"})
    except (OSError, ValueError) as error:
        os.dup2(report, 2)
        _tell(refused=str(error))
    os._exit(1)


def _enter_box(python: str) -> None:
    """A file system that holds what Python needs, read-only, and the folder of the snippet."""
    box = os.getcwd()
    _must(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount: private")
    _mount_memory(box, "size=1m,mode=755")
    for source in _needed(python):
        target = box + source
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.makedirs(target) if os.path.isdir(source) else os.close(os.open(target, os.O_CREAT))
        _must(libc.mount(source.encode(), target.encode(), None, MS_BIND | MS_REC, None), f"mount: {source}")
        _make_read_only(target, AT_RECURSIVE)
    os.mkdir(box + FOLDER)
    _mount_memory(box + FOLDER, "size=4m,nr_inodes=128,mode=777")
    _make_read_only(box, 0)
    os.chroot(box)
    os.chdir(FOLDER)


def _needed(python: str) -> list[str]:
    """The interpreter, its standard library, and the folders of shared libraries; none within another."""
    folders = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", sys.base_prefix + "/lib", os.path.dirname(os.__file__)]
    needed: list[str] = []
    for path in sorted({*filter(os.path.isdir, folders), python}):
        if not any(path.startswith(f"{folder}/") for folder in needed):
            needed.append(path)
    return needed


def _mount_memory(target: str, options: str) -> None:
    made = libc.mount(b"tmpfs", target.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode())
    _must(made, f"mount: {options}")


def _make_read_only(target: str, flags: int) -> None:
    wanted = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)  # struct mount_attr: set, clear, propagation, user namespace
    made = libc.syscall(MOUNT_SETATTR, AT_FDCWD, target.encode(), flags, wanted, ctypes.sizeof(wanted))
    _must(made, "mount_setattr")


def _give_up_rights(*, alone: bool) -> None:
    """The machine's root becomes nobody; another user stays what it is, and has no capabilities from exec on."""
    if alone:
        _must(libc.prctl(PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0), "prctl")
    if ROOT:
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _must(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _limit() -> None:
    # Nobody's processes are counted, and this one is the first: no other can be begun, nor a thread.
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 1),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _filter_calls(machine: str) -> None:
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no filter of system calls is written for {machine}")
    number, refused = MACHINES[machine]
    program = [(LOAD, 0, 0, MACHINE_AT), (IF_EQUAL, 1, 0, number), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER_AT)]
    for test, call in ((IF_AT_LEAST, X32), *((IF_EQUAL, call) for call in refused)):
        program += [(test, 0, 1, call), (RETURN, 0, 0, REFUSE)]
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    told = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    _must(libc.prctl(PR_SET_SECCOMP, 2, told, 0, 0), "seccomp")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _must(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
