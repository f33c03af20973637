# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a train dir: writing them, finding them, loading them.

Only the trainer writes them. They are `tf.train.Checkpoint`s called
`model.ckpt-STEP`. Which there are is found from the files in the folder.
"""

import contextlib
import math
import os
import re
import time
from collections.abc import Sequence

from program import UserError

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import checkpoint_files
import utils

PREFIX = "model.ckpt"
_STATE_FILE = "checkpoint"
# All that a trainer calls anything: a checkpoint's files, the folder in which
# they are written, and the one that TensorFlow writes them in by itself. More
# digits would not fit into the step that TensorBoard shows.
_NAME = re.compile(
  re.escape(PREFIX) + r"-(?P<step>0|[1-9]\d{0,17})"
  r"(?P<rest>\.index|\.data-\d{5}-of-\d{5}|\.tmp|_temp)"
)
# Not those of a network or a memory that may be better in a minute: what is
# taken for damaged is deleted later on.
_SIGNS_OF_DAMAGE = (
  tf.errors.DataLossError,
  tf.errors.FailedPreconditionError,
  tf.errors.InvalidArgumentError,
  tf.errors.NotFoundError,
  tf.errors.OutOfRangeError,
  IndexError,
  checkpoint_files.DamagedError,
)
# Any checkpoint may have a tensor of this size; its description is one.
_SMALL_BYTES = 2**24


class DivergedError(UserError):
  """The loss or the weights are no longer finite."""


class UnreadableError(UserError):
  """A checkpoint is damaged, or gone."""


class Position(tf.Module):
  """How far a run has come; saved with every checkpoint.

  Attributes:
    step: int64 variable, optimizer steps done.
    num_examples: int64 variable, videos trained on.
    epoch: int64 variable, the pass over the data that is under way.
    epoch_videos: int64 variable, records of that pass that were read for it.
    counters: these four.
    places: [workers, 2] int64 variable, of several workers: the pass of each,
      and how many records it has read for it, as their parts differ in size.

  Args:
    num_workers: how many train together, each on a part of the data. The
      position in the pass is that of this one, times their number.
  """

  def __init__(self, num_workers: int = 1):
    super().__init__()
    self._num_workers = num_workers
    self.counters = [
      tf.Variable(0, trainable=False, dtype=tf.int64, name=name)
      for name in ("step", "num_examples", "epoch", "epoch_videos")
    ]
    self.step, self.num_examples, self.epoch, self.epoch_videos = self.counters
    # Restored with any number of rows.
    self.places = tf.Variable(
      tf.zeros([1, 2], tf.int64), False, shape=[None, 2], name="places"
    )

  def advance(self, epochs, weights, other_videos=0):
    """Counts a batch.

    Args:
      epochs: [batch] int32, the passes that the records read for the batch
        belong to, never falling; -1 where there were fewer.
      weights: [batch] float32, 0 for rows without a video.
      other_videos: scalar, videos that the other workers trained on.
    """
    epochs = tf.cast(epochs, tf.int64)
    last = tf.maximum(tf.reduce_max(epochs), self.epoch)
    before = tf.where(tf.equal(last, self.epoch), self.epoch_videos, 0)
    num_records = tf.math.count_nonzero(tf.equal(epochs, last))
    num_records *= self._num_workers
    num_videos = tf.math.count_nonzero(weights > 0)
    self.epoch_videos.assign(before + num_records)
    self.epoch.assign(last)
    self.num_examples.assign_add(num_videos + tf.cast(other_videos, tf.int64))
    self.step.assign_add(1)

  def check(self):
    """Raises a DamagedError if no run can have come to this."""
    for variable in self.variables:
      value = variable.numpy()
      if not np.all((value >= 0) & (value < 10**18)):
        raise checkpoint_files.DamagedError(
          f"its {variable.name.split(':')[0]} is {value}"
        )

  def complete(self, num_epochs: int):
    """Notes that all passes are done, so that no data is read to find out."""
    self.epoch.assign(num_epochs)
    self.epoch_videos.assign(0)
    self.forget_places()

  def note_places(self, places: Sequence[tuple[int, int]]):
    """Sets `places`, if there are any: one worker has none."""
    if places:
      self.places.assign(places)

  def forget_places(self):
    """As where there is one worker."""
    self.places.assign([(0, 0)])

  def read_places(self) -> list[tuple[int, int]]:
    """The rows of `places`; none where there is one worker."""
    rows = [(int(epoch), int(videos)) for epoch, videos in self.places.numpy()]
    return rows if len(rows) > 1 else []


class Saver:
  """The trainer's checkpoints.

  The files in the folder are what counts: a checkpoint is complete when it has
  an index, which comes last. `checkpoint`, the list that TensorFlow's own
  tools read, is only written.

  Args:
    directory: where they are; the folder has to be there.
    model: whose weights are saved.
    max_to_keep: how many of the latest stay.
    save_every_secs: seconds between two of them.
    config: something with `save(directory)`, called before the first
      checkpoint is written, so that none is ever without it; or None.
    lock: something with `check()`, called before anything is changed in the
      folder, which raises a UserError if another trainer works there; or None.
    **trackables: what else to save, by name.
  """

  def __init__(
    self,
    directory: str,
    model: keras.Model,
    max_to_keep: int,
    save_every_secs: float = 0,
    config=None,
    lock=None,
    **trackables,
  ):
    self._directory = directory
    self._model = model
    self._max_to_keep = max_to_keep
    self._config = config
    self._lock = lock
    self._save_every_secs = save_every_secs
    self._last_save = time.monotonic()
    self._saved_step = None
    self._trackables = trackables
    self._checkpoint = tf.train.Checkpoint(model=model, **trackables)

  def restore_latest(self) -> str | None:
    """Loads the latest checkpoint that can be read.

    A damaged one, left by a full disk for instance, is passed over with a
    warning: the one before it costs less than the whole run. What killed runs
    left in the folder is deleted.

    Returns:
      Its path; None if the folder has no checkpoint.

    Raises:
      UserError: none can be read, or they are of another model.
    """
    unreadable = None
    for path in reversed(all_checkpoints(self._directory)):
      try:
        _check_files(path, self._model)
        self._checkpoint.restore(path).assert_consumed()
        for trackable in self._trackables.values():
          if isinstance(trackable, Position):
            trackable.check()
      except _SIGNS_OF_DAMAGE as error:
        unreadable = unreadable or error
        logging.warning("%s cannot be read: %s", path, _first_line(error))
      except tf.errors.OpError as error:
        raise UserError(
          f"{path!r} cannot be read now: {_first_line(error)} Start again."
        ) from error
      except (AssertionError, ValueError) as error:
        raise UserError(
          f"{path!r} cannot be restored, it is of another model: "
          f"{_first_line(error)} Use another --train_dir."
        ) from error
      else:
        self._saved_step = step_of(path)
        self.tidy(newer_too=False)
        return path
    if unreadable:
      raise UserError(
        f"No checkpoint in {self._directory!r} can be read: "
        f"{_first_line(unreadable)} Use another --train_dir, or "
        "--start_new_model to train from the start."
      ) from unreadable
    return None

  def is_due(self) -> bool:
    """Whether it is time for the next checkpoint."""
    return time.monotonic() - self._last_save >= self._save_every_secs

  def save(self, step: int) -> bool:
    """Saves a checkpoint, unless this step has been saved.

    Returns:
      Whether one was written.

    Raises:
      DivergedError: the weights are not finite; nothing is written.
      UserError: the folder cannot be written, or is another trainer's now.
    """
    self._last_save = time.monotonic()
    if step == self._saved_step:
      return False
    check_finite(step, self._model)
    self._check_lock()
    try:
      self._save(step)
    except UserError:
      self._check_lock()  # That the folder has gone explains any failure.
      raise
    return True

  def _save(self, step: int):
    """Writes what a step's checkpoint needs, and deletes what it makes old."""
    if self._config:
      self._config.save(self._directory)
      self._config = None
    try:
      self._write(step)
    except (*_SIGNS_OF_DAMAGE, tf.errors.OpError, OSError) as error:
      raise UserError(
        f"The checkpoint of step {step} cannot be written to "
        f"{self._directory!r}: {utils.error_text(error)}"
      ) from error
    self._saved_step = step
    self.tidy(newer_too=True)

  def _check_lock(self):
    if self._lock:
      self._lock.check()

  def _write(self, step: int):
    """Writes a checkpoint's files elsewhere and puts them in their places."""
    # TensorFlow would make it, without all that belongs there.
    if not tf.io.gfile.exists(self._directory):
      raise OSError("the folder has vanished")
    path = os.path.join(self._directory, f"{PREFIX}-{step}")
    folder = f"{path}.tmp"
    if utils.exists(folder):
      utils.delete(folder)
    self._checkpoint.save_counter.assign_add(1)
    try:
      self._checkpoint.write(os.path.join(folder, PREFIX))
      _check_files(os.path.join(folder, PREFIX), self._model)
      self._check_lock()  # Again: writing may have taken long.
      # It must not lie beside the data of another, even if both are damaged.
      if tf.io.gfile.exists(f"{path}.index"):
        tf.io.gfile.remove(f"{path}.index")
      for name in sorted(tf.io.gfile.listdir(folder)):  # "index" is the last.
        tf.io.gfile.rename(
          os.path.join(folder, name),
          f"{path}{name.removeprefix(PREFIX)}",
          overwrite=True,
        )
    finally:
      with contextlib.suppress(UserError):
        utils.delete(folder)

  def tidy(self, newer_too: bool):
    """Deletes what is not needed, of this run and of killed ones.

    That is checkpoints beyond `max_to_keep`, and parts of unfinished ones.

    Args:
      newer_too: whether to delete checkpoints of later steps than the one that
        was saved or loaded last: it was made from an earlier one, since those
        could not be read.

    Raises:
      UserError: `checkpoint` cannot be written.
    """
    steps = list(map(step_of, all_checkpoints(self._directory)))
    latest = max(steps, default=0)
    if self._saved_step is not None:
      latest = self._saved_step
    kept = [step for step in steps if step <= latest][-self._max_to_keep :]
    if kept:
      self._write_state(kept)
    if not newer_too:
      kept += [step for step in steps if step > latest]
    # First the indexes: data alone is nothing that anybody would read.
    for name in sorted(
      utils.list_folder(self._directory),
      key=lambda name: not name.endswith(".index"),
    ):
      match = _NAME.fullmatch(name)
      is_part = match and match["rest"] in (".tmp", "_temp")
      if match and (is_part or int(match["step"]) not in kept):
        try:
          utils.delete(os.path.join(self._directory, name))
        except UserError as error:
          logging.warning("%s", error)

  def _write_state(self, steps: list[int]):
    """Writes `checkpoint`, by which TensorFlow's tools find checkpoints."""
    names = [f'"{PREFIX}-{step}"' for step in steps]
    lines = [f"model_checkpoint_path: {names[-1]}\n"]
    lines += [f"all_model_checkpoint_paths: {name}\n" for name in names]
    with utils.replacing(os.path.join(self._directory, _STATE_FILE)) as file:
      file.write("".join(lines).encode())


def check_finite(step: int, model: keras.Model):
  """Raises a DivergedError if a weight is a NaN or an infinity."""
  # A sum is finite only if all that went into it is. Statistics of a batch
  # normalisation are no trainable variables, but just as fatal.
  sums = [
    tf.reduce_sum(tf.cast(variable, tf.float64)) for variable in model.variables
  ]
  if not tf.reduce_all(tf.math.is_finite(sums)):
    raise DivergedError(
      f"The weights are no longer finite after step {step}; they are not "
      "saved, and what was saved before stays as it is. Try a lower "
      "--base_learning_rate."
    )


def all_checkpoints(train_dir: str) -> list[str]:
  """Paths of the checkpoints in a folder, the one of the last step last.

  Only names count. What `checkpoint` says does not: it may have been written
  when the folder was elsewhere, by a run that was killed, or by a stranger.

  Raises:
    UserError: the folder cannot be listed.
  """
  matches = map(_NAME.fullmatch, utils.list_folder(train_dir))
  steps = {
    int(match["step"])
    for match in matches
    if match and match["rest"] == ".index"
  }
  return [os.path.join(train_dir, f"{PREFIX}-{step}") for step in sorted(steps)]


def latest_checkpoint(train_dir: str) -> str | None:
  """The path of the last step's checkpoint, or None."""
  paths = all_checkpoints(train_dir)
  return paths[-1] if paths else None


def has_checkpoint(train_dir: str) -> bool:
  """Whether a folder has checkpoints, be they another program's.

  Raises:
    UserError: the folder cannot be listed.
  """
  names = utils.list_folder(train_dir)
  data = {name.rpartition(".data-")[0] for name in names}
  return _STATE_FILE in names or any(
    name.endswith(".index") and name.removesuffix(".index") in data
    for name in names
  )


def step_of(path: str) -> int:
  """The step in a checkpoint's name."""
  return int(path.rsplit("-", 1)[1])


def restore_model(model: keras.Model, path: str):
  """Loads a checkpoint's weights, and nothing else of it.

  Raises:
    UnreadableError: the checkpoint cannot be read, for instance because the
      trainer has deleted it meanwhile.
    UserError: it lacks some of the model's weights, or has others.
  """
  try:
    _check_files(path, model)
    status = tf.train.Checkpoint(model=model).restore(path).expect_partial()
    status.assert_existing_objects_matched()
  except (*_SIGNS_OF_DAMAGE, tf.errors.OpError) as error:
    raise UnreadableError(
      f"{path!r} cannot be read: {_first_line(error)}"
    ) from error
  except (AssertionError, ValueError) as error:
    raise UserError(
      f"{path!r} does not hold the model that model_flags.json describes: "
      f"{_first_line(error)}"
    ) from error


def restore_latest_model(model: keras.Model, train_dir: str) -> int:
  """Loads the weights of the latest checkpoint that can be read.

  A damaged one is passed over with a warning.

  Returns:
    Its step.

  Raises:
    UserError: there is none, none can be read, or it is of another model.
  """
  damaged = {}
  # Listed again each time: a live trainer deletes old ones, and the one that is
  # gone when its turn comes has a newer one in its place.
  while paths := [
    path for path in all_checkpoints(train_dir) if path not in damaged
  ]:
    try:
      restore_model(model, paths[-1])
      return step_of(paths[-1])
    except UnreadableError as error:
      damaged[paths[-1]] = error
      if paths[-1] in all_checkpoints(train_dir):
        logging.warning("%s", error)
  if damaged:
    raise next(iter(damaged.values()))
  raise UserError(
    f"--train_dir={train_dir!r} has no checkpoint yet. Train a model there "
    "first: python train.py --train_dir=... --train_data_pattern=..."
  )


def _check_files(path: str, model: keras.Model):
  """Looks at a checkpoint's files before TensorFlow does.

  Raises:
    DamagedError: they are not those of a complete checkpoint.
    tf.errors.OpError: one of them cannot be read.
    ValueError: they hold too much to be of the model.
  """
  largest = checkpoint_files.largest_tensor(path)
  # What else is saved is no larger: slots of the optimizer, counters.
  limit = max(
    math.prod(weight.shape) * tf.as_dtype(weight.dtype).size
    for weight in model.weights
  )
  if largest > max(limit, _SMALL_BYTES):
    raise ValueError(
      f"it holds a tensor of {largest:,} bytes, the model none of more than "
      f"{limit:,}."
    )


def _first_line(error: Exception) -> str:
  return utils.error_text(error).splitlines()[0].rstrip(".") + "."
