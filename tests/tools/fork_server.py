"""Runs tools in processes that have torch and mmdet already: a server imports them once, and forks for each run.

`fork_tool` and `ForkedTool` give what `subprocess.run` and `Popen` of the file give: exit code, output, a process, an
environment and a working directory of its own. A run costs the work of the tool, without five seconds of importing.
What importing itself prints, and what Python reads from the environment when it starts, needs a real process.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

TIMEOUT = 300


@functools.cache
def server() -> socket.socket:
    """The connection to the server of this process, started at the first call; it ends when this process does."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(there.fileno())]
    subprocess.Popen(command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)
    there.close()
    return here


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
    """The id of the process, and the socket that its exit code comes from."""
    answer, to_answer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with to_answer:
        request = json.dumps({"argv": argv, "cwd": str(cwd), "env": env}).encode()
        socket.send_fds(server(), [request], [output, error, to_answer.fileno()])
    return receive(answer), answer


def receive(answer: socket.socket) -> int:
    number = answer.recv(16)
    assert number, "the server of forked tools has ended"
    return int(number)


def serve(requests: socket.socket) -> dict:
    """Forks for each request. Returns the request in the forked process; in the server it never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    # One process waits for the tool, so that the server is free for the next.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    *outputs, to_answer = fds
    tool = os.fork()
    for number, fd in enumerate(outputs, 1):
        if tool == 0:
            os.dup2(fd, number)
        os.close(fd)
    if tool != 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.write(to_answer, str(tool).encode())
        _, status = os.waitpid(tool, 0)
        os.write(to_answer, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(to_answer)
    return json.loads(message)


def main() -> None:
    # The folder of this file is no place to import from.
    del sys.path[0]
    import numpy
    import sklearn.datasets  # noqa: F401
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    assert len(os.listdir("/proc/self/task")) == 1, "a fork copies one thread alone"
    assert not [name for name in sys.modules if name.partition(".")[0] == "ghm_mmdet"]
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    signal.alarm(TIMEOUT)
    random.seed()
    numpy.random.seed()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    # As Python does for a script.
    sys.path[:0] = [str(Path(sys.argv[0]).parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
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
