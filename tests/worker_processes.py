# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Starts programs as several workers on this machine."""

import contextlib
import json
import socket


def tf_config(cluster=None, role=None, index=0) -> str:
  """What `TF_CONFIG` says to a process of a job."""
  task = {"type": role, "index": index} if role else {}
  return json.dumps({"cluster": cluster or {}, "task": task})


def free_addresses(count: int) -> list[str]:
  """host:port of so many free ports of this machine."""
  with contextlib.ExitStack() as stack:
    sockets = [
      stack.enter_context(socket.create_server(("127.0.0.1", 0)))
      for _ in range(count)
    ]
    return [f"127.0.0.1:{found.getsockname()[1]}" for found in sockets]


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
