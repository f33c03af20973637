# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a train dir: writing them, finding them, loading them.

Only the trainer writes them. They are `tf.train.Checkpoint`s called
`model.ckpt-STEP`, with the file `checkpoint` naming the latest ones.
"""

import time

from program import UserError

import keras
import tensorflow as tf

import utils

PREFIX = "model.ckpt"

# What TensorFlow raises, other than its own errors, for another model's
# checkpoint and (IndexError) for a data file that is cut short.
_RESTORE_ERRORS = (AssertionError, ValueError, IndexError)


class DivergedError(UserError):
  """The loss or the weights are no longer finite."""


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


class Saver:
  """The trainer's checkpoints.

  Args:
    directory: where they are; the folder is made when needed.
    model: whose weights are saved.
    max_to_keep: how many of the latest stay.
    save_every_secs: seconds between two of them.
    **also: further trackable objects to save, by name.
  """

  def __init__(
    self,
    directory: str,
    model: keras.Model,
    max_to_keep: int,
    save_every_secs: float = 0,
    **also,
  ):
    self._directory = directory
    self._model = model
    self._save_every_secs = save_every_secs
    self._last_save = time.monotonic()
    self._saved_step = None
    self._manager = tf.train.CheckpointManager(
      tf.train.Checkpoint(model=model, **also),
      directory,
      max_to_keep=max_to_keep,
      checkpoint_name=PREFIX,
    )

  def restore_latest(self) -> str | None:
    """Loads the latest checkpoint; returns its path, None if there is none.

    Raises:
      UserError: it cannot be read, or is of another model.
    """
    path = self._manager.latest_checkpoint
    if path:
      try:
        status = self._manager.checkpoint.restore(path)
        status.assert_existing_objects_matched()
      except (tf.errors.OpError, *_RESTORE_ERRORS) as error:
        raise UserError(
          f"{path!r} cannot be restored: {_first_line(error)} Use another "
          "--train_dir, or --start_new_model."
        ) from error
      self._saved_step = step_of(path)
    return path

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
  # A sum is finite only if all that went into it is.
  sums = [
    tf.reduce_sum(tf.cast(variable, tf.float64))
    for variable in model.trainable_variables
  ]
  if not tf.reduce_all(tf.math.is_finite(sums)):
    raise DivergedError(
      f"The weights are no longer finite after step {step}; they are not "
      "saved, and the last checkpoint stays as it is. Try a lower "
      "--base_learning_rate."
    )


def latest_checkpoint(train_dir: str) -> str | None:
  """The newest complete checkpoint's path, or None."""
  return tf.train.latest_checkpoint(train_dir)


def step_of(path: str) -> int:
  """The step in a checkpoint's name."""
  return int(path.rsplit("-", 1)[1])


def restore_model(model: keras.Model, path: str):
  """Loads a checkpoint's weights, and nothing else of it.

  Raises:
    tf.errors.OpError: the checkpoint cannot be read, for instance because the
      trainer has deleted it meanwhile.
    UserError: it is of another model.
  """
  try:
    status = tf.train.Checkpoint(model=model).restore(path).expect_partial()
    status.assert_existing_objects_matched()
  except _RESTORE_ERRORS as error:
    raise UserError(
      f"{path!r} does not hold the model that model_flags.json describes: "
      f"{_first_line(error)}"
    ) from error


def _first_line(error: Exception) -> str:
  return utils.error_text(error).splitlines()[0].rstrip(".") + "."
