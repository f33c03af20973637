# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Starts programs in copies of a process that has imported TensorFlow already.

  python fork_programs.py CHECKOUT

The import is most of what a short run takes. The copies have done nothing else:
no TensorFlow op has run in them and no flag is defined. Each then runs its
program as the interpreter would, with streams, signals and exit code of its
own. Only what the interpreter does after the last line of a program, freeing
its memory, is left to the tests that start processes from scratch.

Reads requests, one JSON object a line, and answers each with one line:
  {"command": [PROGRAM, ARGUMENT...], "cwd": ..., "env": ..., "stdout": PATH,
   "stderr": PATH}  starts a program; its process id
  {"poll": PID}  its exit code, negative for a signal, null while it runs
"""

import atexit
import json
import os
import pathlib
import runpy
import sys


def serve() -> list[str]:
  """Answers requests; returns, in the copy only, the command to run."""
  for line in sys.stdin:
    request = json.loads(line)
    if "poll" in request:
      pid, status = os.waitpid(request["poll"], os.WNOHANG)
      answer = os.waitstatus_to_exitcode(status) if pid else None
    else:
      answer = os.fork()
      if answer == 0:
        _enter(request)
        return request["command"]
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()
  sys.exit()


def _enter(request):
  """Makes the process look as one that was started for the request."""
  for descriptor, path, flags in (
    (0, os.devnull, os.O_RDONLY),
    (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
  ):
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)
  os.chdir(request["cwd"])
  os.environ.update(request["env"])


def run(path: str):
  """Runs a program and ends the process as it asks to.

  An interpreter that shuts down in a copy copies most of the memory it frees,
  which takes longer than most of what the tests make programs do.
  """
  try:
    name, folder = pathlib.Path(path).stem, pathlib.Path(path).parent.name
    if folder == "tools":
      runpy.run_module(f"tools.{name}", run_name="__main__", alter_sys=True)
    else:
      # As Python does where it is given a script.
      sys.path.insert(0, str(pathlib.Path(path).parent))
      runpy.run_path(path, run_name="__main__")
  except SystemExit as end:
    if isinstance(end.code, int):
      atexit._run_exitfuncs()
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(end.code)
    raise


if __name__ == "__main__":
  sys.path[0] = sys.argv[1]
  for module in ("program", "evaluation"):  # And so all that programs import.
    __import__(module)
  sys.argv = serve()
  run(sys.argv[0])
