# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs one process and notes when it said what, and how much memory it took.

Needs nothing but the standard library: the harness stays small, since on Linux
a child's peak memory is never below what its parent had when starting it.
"""

import collections
import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_SAMPLE_EVERY_SECS = 0.05
_TIMEOUT_SECS = 900


class ProcessError(RuntimeError):
  """A process failed; the message ends with what it said last."""


@dataclasses.dataclass(frozen=True)
class Finished:
  """What was seen of a process.

  Attributes:
    seconds: from its start to its end, or to the line it was stopped at.
    lines: (seconds since the start, text) of stdout and stderr.
    peak_bytes: most resident memory of this process alone.
    memory: (seconds since the start, resident bytes), many times a second;
      empty where there is no /proc.
  """

  seconds: float
  lines: list[tuple[float, str]]
  peak_bytes: int
  memory: list[tuple[float, int]]


def run(
  command: Sequence[str], folder: str, until: str | None = None
) -> Finished:
  """Runs a command to its end, or until it writes a certain line.

  Args:
    command: the interpreter, the program and its arguments.
    folder: the folder to run it in.
    until: a regular expression; the process is killed at the first line in
      which it is found.

  Raises:
    ProcessError: it ended with another exit code than 0, without the line
      waited for, or not in time.
  """
  start = time.monotonic()
  process = subprocess.Popen(  # noqa: S603 Our own programs.
    command,
    cwd=folder,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    errors="replace",
  )
  watchdog = threading.Timer(_TIMEOUT_SECS, process.kill)
  watchdog.start()
  try:
    with _MemoryWatch(process.pid, start) as watch:
      lines, stopped = _read_lines(process, start, until)
      seconds = time.monotonic() - start
      code, peak_bytes = _wait(process)
  finally:
    watchdog.cancel()
    process.stdout.close()
  if not stopped:
    seconds = time.monotonic() - start
    if code or until:
      raise ProcessError(_describe_failure(command, code, lines))
  return Finished(seconds, lines, peak_bytes, watch.samples)


def _read_lines(process, start: float, until: str | None):
  """The lines with their times, and whether `until` was among them."""
  lines = []
  for line in process.stdout:
    lines.append((time.monotonic() - start, line.rstrip("\n")))
    if until and re.search(until, line):
      process.send_signal(signal.SIGKILL)
      return lines, True
  return lines, False


def _wait(process: subprocess.Popen) -> tuple[int, int]:
  """The exit code and the peak memory in bytes."""
  # wait4, since RUSAGE_CHILDREN is the largest of all children so far.
  _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  unit = 1 if sys.platform == "darwin" else 1024
  return process.returncode, usage.ru_maxrss * unit


def _describe_failure(command: Sequence[str], code: int, lines) -> str:
  last = collections.deque((text for _, text in lines if text), maxlen=3)
  said = " / ".join(last) or "it said nothing"
  name = command[2] if command[1] == "-m" else command[1]
  return f"{name} ended with exit code {code}: {said}"


class _MemoryWatch:
  """Samples a process's resident memory in a thread, while in its context.

  Attributes:
    samples: as `Finished.memory`.
  """

  def __init__(self, pid: int, start: float):
    self.samples: list[tuple[float, int]] = []
    self._path = f"/proc/{pid}/statm"
    self._start = start
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *unused_error):
    self._ended.set()
    self._thread.join()

  def _watch(self):
    page_size = os.sysconf("SC_PAGE_SIZE")
    while not self._ended.wait(_SAMPLE_EVERY_SECS):
      try:
        with open(self._path) as file:
          resident = page_size * int(file.read().split()[1])
      except OSError:
        return
      self.samples.append((time.monotonic() - self._start, resident))
