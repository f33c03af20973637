# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py as two workers on this machine, which share its CPUs out.

  python -m benchmarks.two_workers --max_steps=N, and train.py's other flags

What the chief says is shown. The difference to one process, which has all CPUs,
is what it costs to be two. For Linux.
"""

import json
import os
import socket
import subprocess
import sys

_COUNT = 2


def main(arguments: list[str]) -> int:
  """Returns the exit code: that of the first that fails."""
  command = [sys.executable, "train.py", *arguments]
  cpus = sorted(os.sched_getaffinity(0))
  workers = []
  for index, environment in enumerate(_environments()):
    # What is started from here stays on those CPUs, too.
    os.sched_setaffinity(0, cpus[index::_COUNT] or cpus)
    output = None if index == 0 else subprocess.DEVNULL
    workers.append(
      subprocess.Popen(  # noqa: S603 Our own program.
        command, env=environment, stdout=output, stderr=output
      )
    )
  codes = [worker.wait() for worker in workers]
  return next(filter(None, codes), 0)


def _environments() -> list[dict[str, str]]:
  """The environment of each worker."""
  servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(_COUNT)]
  addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
  for server in servers:
    server.close()
  tasks = [{"type": "worker", "index": index} for index in range(_COUNT)]
  return [
    {
      **os.environ,
      "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
    }
    for task in tasks
  ]


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
