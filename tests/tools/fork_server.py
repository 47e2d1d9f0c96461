"""Runs tools in processes that have torch and mmdet already: a server imports them once, and forks for each run.

`fork_tool` gives what `subprocess.run` of the file gives: exit code, output, a process, an environment and a working
directory of its own. A run costs the work of the tool, without the five seconds of importing. What importing itself
does and prints, and what Python reads from the environment when it starts, needs a real process.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import random
import runpy
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
    request = json.dumps({"argv": [str(script), *arguments], "cwd": str(cwd), "env": env}).encode()
    answer, to_answer = socket.socketpair()
    with answer, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as error:
        with to_answer:
            fds = [output.fileno(), error.fileno(), to_answer.fileno()]
            socket.send_fds(server(), [request], fds)
        returncode = answer.recv(16)
        assert returncode, "the server of forked tools has ended"
        output.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(request, int(returncode), output.read(), error.read())


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
    output, error, to_answer = fds
    tool = os.fork()
    if tool != 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _, status = os.waitpid(tool, 0)
        os.write(to_answer, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.dup2(output, 1)
    os.dup2(error, 2)
    for fd in fds:
        os.close(fd)
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
