# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The lock of a train dir: no two trainers work in the same one.

While a trainer runs, `TRAIN_DIR/trainer.lock` says which, and the number of
heartbeats in it grows. A lock that a killed trainer left behind needs no hand:

- on the same machine the process table says at once whether it still runs;
- otherwise the heartbeats do: a lock in which nothing changes for a minute is
  taken over. Clocks of other machines are not asked.

TensorFlow's file systems cannot make a file only where there is none, so two
trainers that start at the same moment may both write the lock. Each looks again
before it changes anything else (`TrainDirLock.check`): the last one has it.
"""

import contextlib
import dataclasses
import fnmatch
import json
import os
import pathlib
import secrets
import socket
import threading
import time

from program import UserError

import tensorflow as tf
from absl import logging

import utils

LOCK_FILE = "trainer.lock"
# Seconds between two heartbeats, and without one until a lock is taken over:
# a few of them may be lost to a slow network.
HEARTBEAT_SECS = 10.0
STALE_SECS = 60.0
# How often the heartbeats are looked at in that time.
_NUM_LOOKS = 60
# Ours have a few hundred; a stranger's may have any number.
_MAX_BYTES = 65_536
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S UTC"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
  """Who holds a lock; what `trainer.lock` says.

  Attributes:
    host: the machine's name.
    pid: the process id there.
    since: when it took the lock, by the clock of its machine.
    nonce: a random text that no other holder has.
    folder: the train dir as it sees it; a lock that was copied along with its
      train dir says nothing about the copy.
    system: names the table of processes that `pid` is from: the boot of the
      kernel and the pid namespace; None where the system has no such names.
    process_start: when the process started, in clock ticks since that boot;
      tells it from a later one with the same pid.
    heartbeats: how often the lock has been written.

  Raises:
    ValueError: a value is of the wrong type, or no holder's.
  """

  host: str
  pid: int
  since: str
  nonce: str
  folder: str
  system: str | None
  process_start: int | None
  heartbeats: int = 0

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if isinstance(value, bool) or not isinstance(value, field.type):
        raise ValueError(f"{field.name} is of the wrong type")
    # They are shown; a stranger's must not do anything else to a terminal.
    if not f"{self.host}{self.since}".isprintable() or len(self.host) > 255:
      raise ValueError("host is no machine's name")
    time.strptime(self.since, _TIME_FORMAT)
    if not 0 < self.pid < 2**31:
      raise ValueError("pid is no process id")

  def __str__(self):
    return f"host {self.host!r}, pid {self.pid}, since {self.since}"

  @classmethod
  def of_this_process(cls, folder: str) -> "Holder":
    """This process as the holder of a folder's lock."""
    host, system = socket.gethostname(), _system_name()
    return cls(
      host=host if host.isprintable() else "unknown",
      pid=os.getpid(),
      since=time.strftime(_TIME_FORMAT, time.gmtime()),
      nonce=secrets.token_hex(16),
      folder=folder,
      system=system,
      process_start=_running_since(os.getpid()) if system else None,
    )

  @classmethod
  def parse(cls, content: bytes) -> "Holder | None":
    """What a lock file says; None if it is damaged or no lock at all."""
    names = [field.name for field in dataclasses.fields(cls)]
    try:
      values = json.loads(content)
      return cls(**{name: values[name] for name in names})
    except (ValueError, TypeError, LookupError, RecursionError):
      return None

  def sees_running(self, other: "Holder") -> bool | None:
    """Whether `other` still runs, as far as this process can see.

    Returns:
      None if that cannot be known, as of a process on another machine.
    """
    # Copies of a virtual machine have the same boot, but rarely the same name.
    here = (self.host, self.system, self.folder)
    if here != (other.host, other.system, other.folder) or not self.system:
      return None
    try:
      start = _running_since(other.pid)
    except (FileNotFoundError, ProcessLookupError):
      return None if _is_hidden(other.pid) else False
    except OSError:
      return None
    return start is not None and start == other.process_start


def _system_name() -> str | None:
  """Names the table of processes that os.getpid() is from."""
  proc = pathlib.Path("/proc")  # The machine's own, no path of a user's.
  try:
    # A container may be shown the /proc of another one.
    if os.readlink(proc / "self") != str(os.getpid()):
      return None
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink(proc / 'self/ns/pid')}"
  except OSError:
    return None


def _running_since(pid: int) -> int | None:
  """When a process started, in clock ticks since boot; None if it has ended.

  Raises:
    OSError: there is no such process, or one may not look.
  """
  stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
  # proc_pid_stat(5): from field 3 on, behind the name, which may hold anything.
  fields = stat.rpartition(")")[2].split()
  state, start = fields[0], int(fields[22 - 3])
  # Of a process that ended, its parent may not have taken note yet.
  return None if state in "ZX" else start


def _is_hidden(pid: int) -> bool:
  """Whether there is a process, though /proc does not show it to this user."""
  try:
    os.kill(pid, 0)  # Sends nothing.
  except ProcessLookupError:
    return False
  except OSError:
    pass
  return True


class TrainDirLock:
  """Context in which no other trainer works in a train dir.

  Entering makes the folder. Leaving removes the lock, and the folder if it was
  made and nothing is in it.

  Args:
    train_dir: local or gs://.
    heartbeat_secs: seconds between two heartbeats.
    stale_secs: seconds without one until a lock that nothing else is known of
      is taken over; several times `heartbeat_secs` of the one who holds it.
  """

  def __init__(
    self,
    train_dir: str,
    heartbeat_secs: float = HEARTBEAT_SECS,
    stale_secs: float = STALE_SECS,
  ):
    self._train_dir = train_dir
    self._path = os.path.join(train_dir, LOCK_FILE)
    self._heartbeat_secs = heartbeat_secs
    self._stale_secs = stale_secs
    self._me: Holder | None = None
    self._loss: str | None = None
    self._made_folders: list[str] = []
    self._is_over = threading.Event()
    self._thread = threading.Thread(target=self._keep_beating, daemon=True)

  def __enter__(self):
    """Takes the lock.

    Raises:
      UserError: another trainer holds it, or the folder cannot be written.
    """
    self._made_folders = _missing_folders(self._train_dir)
    try:
      utils.make_folder(self._train_dir, "train_dir")
      # Now, since a process may be a copy of the one that imported this.
      self._me = Holder.of_this_process(_real_path(self._train_dir))
      content = self._read()
      if content is not None:
        self._make_sure_nobody_holds(content)
      self._beat()
      if content is not None:
        self._delete_temporary_files()
      self._thread.start()
    except BaseException:
      self._is_over.set()
      # A signal may have come when it had been written.
      if self._me and self._me.heartbeats:
        self._release()
      self._remove_made_folders()
      raise
    return self

  def __exit__(self, *unused_error):
    self._is_over.set()
    self._thread.join(timeout=self._heartbeat_secs)
    self._release()

  def _release(self):
    try:
      if self._is_held():
        utils.delete(self._path)
        self._remove_made_folders()
    except UserError as error:  # It is left to the next trainer, as by a kill.
      logging.warning("%s", error)

  def check(self):
    """Makes sure that the lock is still held; to be called before each save.

    It is lost where another trainer saw no heartbeat, for instance because
    this machine was suspended, or started in the same moment.

    Raises:
      UserError: it is not held any more, or the folder has vanished.
    """
    # Where it cannot be read, what is done next will say so, or succeed.
    with contextlib.suppress(UserError):
      self._is_held()
    if self._loss:
      raise UserError(self._loss)

  def _is_held(self) -> bool:
    """Whether the lock is still this one's; once lost, it stays so.

    Raises:
      UserError: the file system cannot tell.
    """
    if not self._loss:
      self._loss = self._find_loss()
    return not self._loss

  def _find_loss(self) -> str | None:
    """How the lock was lost; None if it is held, or damaged by no trainer."""
    content = self._read()
    place = f"--train_dir={self._train_dir!r}"
    if content is None and not utils.exists(self._train_dir):
      return f"{place} has vanished. Nothing more can be saved there."
    if content is None:
      return (
        f"{LOCK_FILE} in {place} is gone: somebody deleted it, or another "
        "trainer took the folder over and has ended. This one stops."
      )
    holder = Holder.parse(content)
    if holder is None or holder.nonce == self._me.nonce:
      return None
    return (
      f"{place} was taken over by another trainer ({holder}). This one stops "
      "and saves nothing more."
    )

  def _read(self) -> bytes | None:
    """The start of the lock file, more than a lock has; None without a file.

    Raises:
      UserError: it cannot be read.
    """
    try:
      # What has no size may be a pipe, and opening that would take for ever.
      if tf.io.gfile.stat(self._path).length == 0:
        return b""
      with tf.io.gfile.GFile(self._path, "rb") as file:
        return file.read(_MAX_BYTES)
    except tf.errors.NotFoundError:
      return None
    except (tf.errors.OpError, OSError) as error:
      raise UserError(
        f"{self._path!r} cannot be read: {utils.error_text(error)}"
      ) from error

  def _make_sure_nobody_holds(self, content: bytes):
    """Finds out whether the lock that is there was left behind.

    Raises:
      UserError: a trainer holds it.
    """
    holder = Holder.parse(content)
    is_alive = self._me.sees_running(holder) if holder else None
    if is_alive is None:
      logging.info(
        "%s %s. Only a heartbeat can tell whether it still runs; waiting up to "
        "%g seconds for one.",
        self._path,
        f"is held by a trainer elsewhere ({holder})"
        if holder
        else "is damaged, and does not say which trainer wrote it",
        self._stale_secs,
      )
      latest = self._wait_for_change(content)
      is_alive = latest is not None and latest != content
      holder = Holder.parse(latest or content)
    if is_alive:
      raise UserError(
        f"--train_dir={self._train_dir!r} is in use by another trainer "
        f"({holder or f'of which {LOCK_FILE} does not say more'}). Stop that "
        "one first, or use another folder."
      )
    logging.info(
      "Taking over %s, which was left behind (%s).",
      self._path,
      holder or "damaged",
    )

  def _wait_for_change(self, content: bytes) -> bytes | None:
    """The lock file's content when it changes, or after the time for that."""
    latest = content
    # Looks are counted instead of seconds: while this process was stopped, the
    # other may have been too.
    for _ in range(_NUM_LOOKS):
      time.sleep(self._stale_secs / _NUM_LOOKS)
      latest = self._read()
      if latest != content:
        break
    return latest

  def _beat(self):
    """Writes the lock.

    Raises:
      UserError: it cannot be written.
    """
    self._me = dataclasses.replace(self._me, heartbeats=self._me.heartbeats + 1)
    utils.write_json(self._path, dataclasses.asdict(self._me))

  def _keep_beating(self):
    """Writes the lock now and then, as long as it is held."""
    has_failed = False
    while not self._is_over.wait(self._heartbeat_secs):
      try:
        # A lock that was taken over, or a folder, must not come back.
        if not self._is_held():
          return
        self._beat()
        has_failed = False
      except UserError as error:
        if not has_failed:
          logging.warning("%s Training goes on; it is tried again.", error)
        has_failed = True

  def _delete_temporary_files(self):
    """Deletes what a trainer left that was killed while it wrote the lock."""
    for name in utils.list_folder(self._train_dir):
      if fnmatch.fnmatchcase(name, f"{LOCK_FILE}.*.tmp"):
        with contextlib.suppress(UserError):  # They do no harm.
          utils.delete(os.path.join(self._train_dir, name))

  def _remove_made_folders(self):
    for folder in self._made_folders:
      # tf.io.gfile can only delete a folder with all that is in it.
      with contextlib.suppress(OSError):
        pathlib.Path(folder).rmdir()


def _real_path(train_dir: str) -> str:
  return os.path.realpath(train_dir) if utils.is_local(train_dir) else train_dir


def _missing_folders(train_dir: str) -> list[str]:
  """The folders that have to be made for one, itself first.

  Elsewhere than on a local disk a folder is only a part of names.
  """
  missing = []
  folder = train_dir.rstrip("/") if utils.is_local(train_dir) else ""
  with contextlib.suppress(tf.errors.OpError):
    while folder and not tf.io.gfile.exists(folder):
      missing.append(folder)
      folder = os.path.dirname(folder)
  return missing
