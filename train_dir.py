# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The train dir: the names of its files, and at most one trainer in it.

While a trainer runs, two things keep another one out (`hold`):

- On a local disk, an exclusive lock of the folder. The kernel frees the lock
  when the process ends, however it ends, so a killed trainer needs no hand.
- Everywhere, a random token in `TRAIN_DIR/trainer.lock`. A trainer reads the
  token before each save (`TrainDir.check`) and stops if the token is another's.

Cloud Storage and some network disks have no such lock. There a second trainer
takes the folder over, and the first one stops at its next save.
"""

import contextlib
import fnmatch
import os
import pathlib
import secrets
import socket
import time
from collections.abc import Iterator

from program import UserError

from absl import logging

import utils

try:
  import fcntl
except ImportError:  # Windows, where only the token keeps another one out.
  fcntl = None

CONFIG_FILE = "model_flags.json"
CHECKPOINT_PREFIX = "model.ckpt"
CHECKPOINT_STATE_FILE = "checkpoint"
TRAIN_RESULTS_FILE = "train_results.json"
EVAL_RESULTS_FILE = "eval_results.json"
SEGMENT_RESULTS_FILE = "segment_results.json"
PREDICTIONS_RESULTS_FILE = "predictions_results.json"
BAD_RECORDS_FILE = "bad_records.json"
LOCK_FILE = "trainer.lock"
EVAL_DIR = "eval"
BEST_DIR = "best"
EXPORT_DIR = "export"

# What a trainer writes to its folder, apart from traces, and that
# --start_new_model deletes.
_WRITTEN_FILES = (
  CHECKPOINT_STATE_FILE,
  f"{CHECKPOINT_PREFIX}-*",
  CONFIG_FILE,
  TRAIN_RESULTS_FILE,
  BAD_RECORDS_FILE,
  EVAL_RESULTS_FILE,
  EXPORT_DIR,
  "events.out.tfevents.*",
)


def has_model(path: str) -> bool:
  """Whether a trainer has begun a model in a folder."""
  return utils.exists(os.path.join(path, CONFIG_FILE))


def has_checkpoint(path: str) -> bool:
  """Whether a folder has checkpoints, be they another program's.

  Raises:
    UserError: the folder cannot be listed.
  """
  names = utils.list_folder(path)
  data = {name.rpartition(".data-")[0] for name in names}
  return CHECKPOINT_STATE_FILE in names or any(
    name.endswith(".index") and name.removesuffix(".index") in data
    for name in names
  )


def can_resume(path: str) -> bool:
  """Whether a folder has a run to go on with.

  A run that failed before its first checkpoint does not count.

  Raises:
    UserError: another program wrote the checkpoints that are there.
  """
  if not has_checkpoint(path):
    return False
  if not has_model(path):
    raise UserError(
      f"--train_dir={path!r} has a checkpoint but no {CONFIG_FILE}, so it "
      "cannot be resumed. Use another folder."
    )
  return True


@contextlib.contextmanager
def hold(path: str) -> Iterator["TrainDir"]:
  """A train dir in which no other trainer works, until the block is left.

  The folder is made where there is none, and removed at the end if nothing was
  written to it.

  Args:
    path: local or gs://.

  Raises:
    UserError: another trainer works there, or the folder cannot be written.
  """
  train_dir = TrainDir(path)
  with contextlib.ExitStack() as stack:
    if not utils.exists(path) and utils.is_local(path):
      stack.callback(_remove_if_empty, path)
    utils.make_folder(path, "train_dir")
    if utils.is_local(path) and fcntl:
      stack.callback(os.close, _lock_folder(path))
    # Registered first: a signal may come just after the token was written.
    stack.callback(train_dir._delete_token)
    train_dir._write_token()
    yield train_dir


class TrainDir:
  """A train dir that this process works in; made by `hold`.

  Attributes:
    path: the folder, local or gs://.
  """

  def __init__(self, path: str):
    self.path = path
    self._lock_path = os.path.join(path, LOCK_FILE)
    self._token = secrets.token_hex(16)

  def check(self):
    """Makes sure that no other trainer has taken the folder over.

    Called before each save.

    Raises:
      UserError: another trainer has, or the folder has vanished.
    """
    place = f"--train_dir={self.path!r}"
    try:
      lock = _read_lock(self.path)
      has_vanished = lock is None and not utils.exists(self.path)
    except UserError:
      return  # Where reading fails, the save will succeed, or say why not.
    if has_vanished:
      raise UserError(f"{place} has vanished. Nothing more can be saved there.")
    if lock is None:
      raise UserError(
        f"{LOCK_FILE} in {place} is gone: somebody deleted it, or another "
        "trainer took the folder over and has ended. This one stops."
      )
    if lock.get("token") != self._token:
      raise UserError(
        f"{place} was taken over by another trainer ({_holder(self.path)}). "
        "This one stops and saves nothing more."
      )

  def delete_model(self):
    """Deletes what a trainer wrote to the folder, and nothing else.

    Raises:
      UserError: the folder has checkpoints of another program, or something
        cannot be deleted.
    """
    if not has_model(self.path):
      if has_checkpoint(self.path):
        raise UserError(
          f"--train_dir={self.path!r} has a checkpoint but no {CONFIG_FILE}: "
          "another program wrote it, so it is not deleted. Use another folder."
        )
      return

    def order(name):
      # Indexes go first, so that a kill leaves no index without its data. The
      # configuration goes last: it shows that a trainer wrote the rest.
      return name == CONFIG_FILE, not name.endswith(".index")

    for folder in (os.path.join(self.path, BEST_DIR), self.path):
      for name in sorted(utils.list_folder(folder), key=order):
        if any(fnmatch.fnmatchcase(name, glob) for glob in _WRITTEN_FILES):
          utils.delete(os.path.join(folder, name))

  def _write_token(self):
    """Raises a UserError if the token cannot be written."""
    if utils.exists(self._lock_path):
      logging.info(
        "Taking over %s, which was left behind (%s). Should that trainer still "
        "run, it stops before its next save.",
        *(self._lock_path, _holder(self.path)),
      )
    values = {
      "host": socket.gethostname(),
      "pid": os.getpid(),
      "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
      "token": self._token,
    }
    utils.write_json(self._lock_path, values)

  def _delete_token(self):
    """Leaves another trainer's token alone."""
    try:
      if (_read_lock(self.path) or {}).get("token") == self._token:
        utils.delete(self._lock_path)
    except UserError as error:  # The next trainer takes it over.
      logging.warning("%s", error)


def _lock_folder(path: str) -> int:
  """Locks a local folder; returns the descriptor that has the lock.

  Raises:
    UserError: another process has locked it, or it cannot be read.
  """
  try:
    descriptor = os.open(path, os.O_RDONLY)
  except OSError as error:
    raise UserError(
      f"--train_dir={path!r} cannot be read: {utils.error_text(error)}"
    ) from error
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(descriptor)
    raise UserError(
      f"--train_dir={path!r} is in use by another trainer ({_holder(path)}). "
      "Stop that one first, or use another folder."
    ) from error
  except OSError:
    pass  # This file system cannot lock folders.
  return descriptor


def _read_lock(path: str) -> dict | None:
  """The content of a train dir's lock file; None where there is no such file.

  Raises:
    UserError: it cannot be read, or no trainer wrote it.
  """
  lock_path = os.path.join(path, LOCK_FILE)
  if not utils.exists(lock_path):
    return None
  lock = utils.read_json(lock_path)
  if not isinstance(lock, dict):
    raise UserError(f"{lock_path!r} was not written by a trainer.")
  return lock


def _holder(path: str) -> str:
  """Says, for messages, which trainer wrote a train dir's lock file."""
  with contextlib.suppress(UserError, KeyError):
    lock = _read_lock(path) or {}
    text = "host {host!r}, pid {pid}, since {since}".format(**lock)
    # A stranger's text must not do anything to the terminal that shows it.
    if text.isprintable() and len(text) < 400:
      return text
  return f"of which {LOCK_FILE} does not say more"


def _remove_if_empty(folder: str):
  # tf.io.gfile can only delete a folder with all that is in it.
  with contextlib.suppress(OSError):
    pathlib.Path(folder).rmdir()
