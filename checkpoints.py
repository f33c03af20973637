# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a train dir: writing them, finding them, loading them.

Only the trainer writes them. They are `tf.train.Checkpoint`s called
`model.ckpt-STEP`, with the file `checkpoint` naming the latest ones.
"""

import re
import time

from program import UserError

import keras
import tensorflow as tf
from absl import logging

import utils

PREFIX = "model.ckpt"

# How often a newer checkpoint is taken when the trainer deletes the one that
# was about to be read.
_MAX_TRIES = 10


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
    epoch_videos: int64 variable, videos of that pass already trained on.
  """

  def __init__(self):
    super().__init__()
    self.step, self.num_examples, self.epoch, self.epoch_videos = (
      tf.Variable(0, trainable=False, dtype=tf.int64, name=name)
      for name in ("step", "num_examples", "epoch", "epoch_videos")
    )

  def advance(self, epochs, weights):
    """Counts a batch.

    Args:
      epochs: [batch] int32, the pass each row belongs to, never falling.
      weights: [batch] float32, 0 for rows of padding.
    """
    is_real = weights > 0
    epochs = tf.cast(epochs, tf.int64)
    last = tf.reduce_max(tf.where(is_real, epochs, self.epoch))
    is_last = is_real & tf.equal(epochs, last)
    before = tf.where(tf.equal(last, self.epoch), self.epoch_videos, 0)
    self.epoch_videos.assign(before + tf.math.count_nonzero(is_last))
    self.epoch.assign(last)
    self.num_examples.assign_add(tf.math.count_nonzero(is_real))
    self.step.assign_add(1)

  def complete(self, num_epochs: int):
    """Notes that all passes are done, so that no data is read to find out."""
    self.epoch.assign(num_epochs)
    self.epoch_videos.assign(0)


class Saver:
  """The trainer's checkpoints.

  Args:
    directory: where they are; the folder is made when needed.
    model: whose weights are saved.
    max_to_keep: how many of the latest stay.
    save_every_secs: seconds between two of them.
    config: something with `save(directory)`, called before the first
      checkpoint is written, so that none is ever without it; or None.
    **trackables: what else to save, by name.
  """

  def __init__(
    self,
    directory: str,
    model: keras.Model,
    max_to_keep: int,
    save_every_secs: float = 0,
    config=None,
    **trackables,
  ):
    self._directory = directory
    self._model = model
    self._config = config
    self._save_every_secs = save_every_secs
    self._last_save = time.monotonic()
    self._saved_step = None
    self._manager = tf.train.CheckpointManager(
      tf.train.Checkpoint(model=model, **trackables),
      directory,
      max_to_keep=max_to_keep,
      checkpoint_name=PREFIX,
    )

  def restore_latest(self) -> str | None:
    """Loads the latest checkpoint that can be read.

    A damaged one, left by a full disk for instance, is passed over with a
    warning: the one before it costs less than the whole run.

    Returns:
      Its path; None if the folder has no checkpoint.

    Raises:
      UserError: none can be read, or they are of another model.
    """
    unreadable = None
    for path in reversed(self._manager.checkpoints):
      try:
        self._manager.checkpoint.restore(path).assert_consumed()
      except (tf.errors.OpError, IndexError) as error:
        unreadable = error
        logging.warning("%s cannot be read: %s", path, _first_line(error))
      except (AssertionError, ValueError) as error:
        raise UserError(
          f"{path!r} cannot be restored, it is of another model: "
          f"{_first_line(error)} Use another --train_dir."
        ) from error
      else:
        self._saved_step = step_of(path)
        return path
    if unreadable:
      raise UserError(
        f"No checkpoint in {self._directory!r} can be read: "
        f"{_first_line(unreadable)} Use another --train_dir."
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
      UserError: the folder cannot be written.
    """
    self._last_save = time.monotonic()
    if step == self._saved_step:
      return False
    check_finite(step, self._model)
    if self._config:
      self._config.save(self._directory)
      self._config = None
    try:
      self._manager.save(checkpoint_number=step)
    except (tf.errors.OpError, OSError) as error:
      raise UserError(
        f"The checkpoint of step {step} cannot be written to "
        f"{self._directory!r}: {utils.error_text(error)}"
      ) from error
    self._saved_step = step
    return True


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
  """Paths of the checkpoints that the folder keeps, oldest first."""
  try:
    state = tf.train.get_checkpoint_state(train_dir)
  except ValueError as error:
    raise UserError(
      f"The file 'checkpoint' in {train_dir!r} is damaged: {error}"
    ) from error
  if state is None:
    return []
  paths = list(state.all_model_checkpoint_paths)
  latest = state.model_checkpoint_path
  return paths if latest in paths else [*paths, latest]


def latest_checkpoint(train_dir: str) -> str | None:
  """The newest checkpoint's path, or None.

  Raises:
    UserError: the file that names it is damaged.
  """
  paths = all_checkpoints(train_dir)
  return paths[-1] if paths else None


def check_index(train_dir: str):
  """Raises a UserError if there are checkpoints, but no file that names them.

  A trainer that took such a folder for an empty one would start again beside
  days of work.
  """
  pattern = re.compile(re.escape(PREFIX) + r"-\d+\.index")
  lost = [name for name in utils.list_folder(train_dir) if pattern.match(name)]
  if lost and not latest_checkpoint(train_dir):
    raise UserError(
      f"--train_dir={train_dir!r} has checkpoints ({lost[0]}), but the file "
      "'checkpoint' that names the latest of them is missing or cannot be "
      "read. Bring it back, or use another folder."
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
    status = tf.train.Checkpoint(model=model).restore(path).expect_partial()
    status.assert_existing_objects_matched()
  except (tf.errors.OpError, IndexError) as error:
    raise UnreadableError(
      f"{path!r} cannot be read: {_first_line(error)}"
    ) from error
  except (AssertionError, ValueError) as error:
    raise UserError(
      f"{path!r} does not hold the model that model_flags.json describes: "
      f"{_first_line(error)}"
    ) from error


def restore_latest_model(model: keras.Model, train_dir: str) -> int:
  """Loads the latest checkpoint's weights; returns its step.

  Raises:
    UserError: there is none that can be read.
  """
  for attempt in range(_MAX_TRIES):
    path = latest_checkpoint(train_dir)
    if not path:
      raise UserError(
        f"--train_dir={train_dir!r} has no checkpoint yet. Train a model there "
        "first: python train.py --train_dir=... --train_data_pattern=..."
      )
    try:
      restore_model(model, path)
      break
    except UnreadableError:
      # A live trainer deletes old ones; there is a newer one then.
      if attempt == _MAX_TRIES - 1:
        raise
  return step_of(path)


def _first_line(error: Exception) -> str:
  return utils.error_text(error).splitlines()[0].rstrip(".") + "."
