"""Runs tools in processes that have torch and mmdet already: a server imports them once, and forks for each run.

`fork_tool` and `ForkedTool` give what `subprocess.run` and `Popen` of the file give: exit code, output, a process, an
environment and a working directory of its own. A run costs the work of the tool, without five seconds of importing.
`forked_python()` is a program that stands for Python; what is run here starts its own processes with it.
What importing itself prints, and what Python reads from the environment when it starts, needs a real process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import uuid
from pathlib import Path

TIMEOUT = 300
# Passes signals on; whatever ends it ends the tool, whose own parent is not the process STARTED_BY.
PYTHON = """#!{python} -IS
import json, os, signal, socket, sys
words = sys.argv[1:]
if words[0][0] == "-" and words[0] not in ("-c", "-m", "-u"):
    os.execv(sys.executable, [sys.executable, *words])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(b"%d" % number))
env = dict(os.environ, STARTED_BY=str(os.getppid()))
request = json.dumps(dict(argv=words, cwd=os.getcwd(), env=env))
socket.send_fds(server, [request.encode()], [0, 1, 2])
server.recv(16)
code = int(server.recv(16))
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def server() -> tuple[str, Path, socket.socket]:
    """The address of the server of this process, its Python, and a connection: when that is closed, it ends."""
    address = f"\0{uuid.uuid4()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(100)
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "python"
    path.write_text(PYTHON.format(python=sys.executable, address=address))
    path.chmod(0o755)
    here, there = socket.socketpair()
    fds = [listener.fileno(), there.fileno()]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, __file__, *map(str, fds), str(path)]
    subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)
    listener.close()
    there.close()
    return address, path, here


def forked_python() -> Path:
    """A program to be called as Python is, with a file, -m or -c."""
    return server()[1]


def fork_tool(script: Path, arguments: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
    """Runs the script; a run of more than five minutes is ended by SIGALRM."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as error:
        _, answer = send_request([str(script), *arguments], cwd, env, output.fileno(), error.fileno())
        returncode = receive(answer)
        output.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess([script, *arguments], returncode, output.read(), error.read())


class ForkedTool:
    """A script that goes on while the test does something; what it prints and its errors come from one pipe."""

    def __init__(self, script: Path, arguments: list[str], cwd: Path, env: dict[str, str]):
        output, to_output = os.pipe()
        self.pid, self._answer = send_request([str(script), *arguments], cwd, env, to_output, to_output)
        os.close(to_output)
        self.stdout = os.fdopen(output)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._answer], [], [], 0)[0]:
            self.returncode = receive(self._answer)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> str:
        """Returns the rest of what is printed."""
        with self.stdout:
            rest = self.stdout.read()
        if self.returncode is None:
            self.returncode = receive(self._answer)
        return rest


def send_request(argv: list[str], cwd: Path, env: dict[str, str], output: int, error: int) -> tuple[int, socket.socket]:
    """The id of the process, and the socket that its exit code comes from; when that is closed, the process ends."""
    answer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    answer.connect(server()[0])
    request = json.dumps({"argv": argv, "cwd": str(cwd), "env": env}).encode()
    with open(os.devnull) as nothing:
        socket.send_fds(answer, [request], [nothing.fileno(), output, error])
    return receive(answer), answer


def receive(answer: socket.socket) -> int:
    number = answer.recv(16)
    assert number, "the server of forked tools has ended"
    return int(number)


def serve(listener: socket.socket, owner: socket.socket) -> dict:
    """Forks for each request. Returns the request in the forked process; in the server it never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if owner in select.select([listener, owner], [], [])[0]:
            os._exit(0)
        client, _ = listener.accept()
        # One process waits for the tool, so that the server is free for the next.
        if os.fork() == 0:
            break
        client.close()
    listener.close()
    owner.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, fds, _, _ = socket.recv_fds(client, 1 << 20, 3)
    if not message:
        os._exit(0)
    tool = os.fork()
    for number, fd in enumerate(fds):
        if tool == 0:
            os.dup2(fd, number)
        os.close(fd)
    if tool == 0:
        client.close()
        return json.loads(message)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client.send(b"%d" % tool)
    end = os.pidfd_open(tool)
    while end not in select.select([end, client], [], [])[0]:
        number = client.recv(16)
        os.kill(tool, int(number or signal.SIGKILL))
        if not number:
            break
    _, status = os.waitpid(tool, 0)
    with contextlib.suppress(OSError):
        client.send(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def run_as_python(words: list[str], path: list[str]) -> None:
    """What `python WORDS` does, with the folders of PYTHONPATH."""
    if words[0] == "-u":
        sys.stdout.reconfigure(write_through=True)
        del words[0]
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path[:0] = ["", *path]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = words[1:]
        sys.path[:0] = [os.getcwd(), *path]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[:0] = [str(Path(words[0]).parent), *path]
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    # The folder of this file is no place to import from.
    del sys.path[0]
    # What tools import, so that no forked one has to; some of it for nothing else.
    import matplotlib.pyplot  # noqa: F401
    import mmengine.hub
    import numpy
    import sklearn.datasets  # noqa: F401
    import torch._dynamo
    import torch.distributed.run  # noqa: F401
    from mmdet.utils import register_all_modules

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import quick_mmengine

    del sys.path[0]
    register_all_modules(init_default_scope=False)
    quick_mmengine.make_quick()
    mmengine.hub.get_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    assert len(os.listdir("/proc/self/task")) == 1, "a fork copies one thread alone"
    assert not [name for name in sys.modules if name.partition(".")[0] == "ghm_mmdet"]
    gc.freeze()
    *fds, python = sys.argv[1:]
    request = serve(*(socket.socket(fileno=int(fd)) for fd in fds))
    signal.alarm(TIMEOUT)
    random.seed()
    numpy.random.seed()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.executable = python
    try:
        run_as_python(request["argv"], list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    # As Python ends, but for taking down hundreds of modules, which costs two seconds.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
