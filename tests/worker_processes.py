# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Starts programs as several workers on this machine."""

import contextlib
import itertools
import json
import os
import socket


def tf_config(cluster=None, role=None, index=0) -> str:
  """What `TF_CONFIG` says to a process of a job."""
  task = {"type": role, "index": index} if role else {}
  return json.dumps({"cluster": cluster or {}, "task": task})


def free_addresses(count: int) -> list[str]:
  """host:port of so many free ports of this machine, in a row."""
  first = free_ports(count)
  return [f"127.0.0.1:{port}" for port in range(first, first + count)]


def free_ports(count: int) -> int:
  """The first of so many ports in a row that nobody listens at.

  They are none that the system gives to whoever asks for any, and each is
  given once: some time passes until the programs that get them listen there.
  """
  while True:
    ports = list(itertools.islice(_PORTS, count))
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
      for port in ports:
        stack.enter_context(socket.create_server(("127.0.0.1", port)))
      return ports[0]


def _own_ports() -> range:
  """Ports that no other process of the tests chooses."""
  process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
  first = 10_000 + 2_000 * (process % 10)
  # Nor, likely, those of another run.
  return range(first + os.getpid() * 37 % 1_000, first + 2_000)


_PORTS = itertools.cycle(_own_ports())


def start(start_program, count, name, *flags, changes=()) -> list:
  """Starts workers, the chief first; `changes` are a worker's own flags."""
  cluster = {"worker": free_addresses(count)}
  return [
    start_program(
      name,
      *flags,
      *dict(changes).get(index, ()),
      env={"TF_CONFIG": tf_config(cluster, "worker", index)},
    )
    for index in range(count)
  ]
