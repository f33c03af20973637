# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a train dir: writing them, finding them, loading them.

The state of a run, and where it is kept:

| state | saved by | restored by | other workers | eval, inference |
| --- | --- | --- | --- | --- |
| weights | `Saver` | `Saver` | copied from the chief | `restore_model` |
| averages | `Saver` | `Saver` | copied from the chief | read by default |
| loss scale | `Saver` | `Saver` | copied from the chief | not read |
| optimizer | `Saver` | `Saver` | copied from the chief | not read |
| position | `Saver` | `Saver` | copied from the chief | not read |
| configuration | `Saver`, once | train.py | sent by the chief | read first |
| bad records | `bad_records` | `bad_records` | gathered each pass | not read |

The first five are in one checkpoint, so they are of the same step. What else a
run has is one more argument of `Saver`. The
configuration is `model_flags.json`, written before the first checkpoint; the
counts of bad records are `bad_records.json`.

Only the chief writes. A checkpoint is a `tf.train.Checkpoint` that is called
`model.ckpt-STEP`; which ones there are is found from the names in the folder.
Damage is found by reading: TensorFlow keeps a checksum of all that it writes.
"""

import collections
import contextlib
import fnmatch
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from program import UserError

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import utils
from train_dir import BEST_DIR, CHECKPOINT_PREFIX, CHECKPOINT_STATE_FILE

# Names that a trainer gives: the files of a checkpoint, the folder in which
# they are written first (.tmp), and TensorFlow's own such folder (_temp). A
# step has up to 18 digits, since more do not fit into TensorBoard's step.
_NAME = re.compile(
  re.escape(CHECKPOINT_PREFIX) + r"-(?P<step>0|[1-9]\d{0,17})"
  r"(?P<rest>\.index|\.data-\d{5}-of-\d{5}|\.tmp|_temp)"
)
# Transient errors, of a network, a memory or an account. They do not count as
# damage: checkpoints classed as damaged are deleted after the next save.
_TRANSIENT_ERRORS = (
  tf.errors.AbortedError,
  tf.errors.CancelledError,
  tf.errors.DeadlineExceededError,
  tf.errors.PermissionDeniedError,
  tf.errors.ResourceExhaustedError,
  tf.errors.UnauthenticatedError,
  tf.errors.UnavailableError,
)
# Errors that TensorFlow raises for damage; a damaged size gives a MemoryError.
_READ_ERRORS = (tf.errors.OpError, IndexError, MemoryError)
# Names of variables in a checkpoint: the first average, the loss scale, and of
# the position.
_AVERAGES_KEY = "averages/values/0/.ATTRIBUTES/VARIABLE_VALUE"
# Parts that not every checkpoint has, and a tensor by which each is found.
_OPTIONAL_PARTS = {
  "loss_scale": "loss_scale/scale/.ATTRIBUTES/VARIABLE_VALUE",
  "random_states": "random_states/0/.ATTRIBUTES/VARIABLE_VALUE",
}
_POSITION_KEY = "position/{}/.ATTRIBUTES/VARIABLE_VALUE"


class DivergedError(UserError):
  """The loss or the weights are no longer finite."""


class UnreadableError(UserError):
  """A checkpoint is damaged, or gone."""


class Position(tf.Module):
  """How far a run has come, the same on all workers; saved with the weights.

  Attributes:
    step: int64 variable, optimizer steps done.
    num_examples: int64 variable, rows trained on.
    passes: int64 variable, passes that are done.
    steps_in_pass: int64 variable, steps done of the pass that is under way.
    layout: [4] int64 variable, what `passes` and `steps_in_pass` depend on:
      global batch size, number of workers, passes per epoch, and the CRC-32 of
      the shards' names; zeros until `resume`.
  """

  def __init__(self):
    super().__init__()

    def counter(name, value=0):
      return tf.Variable(value, trainable=False, dtype=tf.int64, name=name)

    self.step = counter("step")
    self.num_examples = counter("num_examples")
    self.passes = counter("passes")
    self.steps_in_pass = counter("steps_in_pass")
    self.layout = counter("layout", [0, 0, 0, 0])

  @property
  def counters(self) -> list[tf.Variable]:
    """All variables, in the order above."""
    position = [self.step, self.num_examples, self.passes, self.steps_in_pass]
    return [*position, self.layout]

  def advance(self, num_rows: tf.Tensor):
    """Counts a step; may be traced.

    Args:
      num_rows: scalar, rows of all workers that are no padding.
    """
    self.step.assign_add(1)
    self.steps_in_pass.assign_add(1)
    self.num_examples.assign_add(tf.cast(num_rows, tf.int64))

  def finish_pass(self):
    """Notes that the pass under way is done."""
    self.passes.assign_add(1)
    self.steps_in_pass.assign(0)

  def resume(self, layout: Sequence[int]):
    """Fits the position to how this run reads the data.

    Where another layout was saved, the pass under way starts anew, at the same
    fraction of the epoch, rounded down to whole passes.

    Args:
      layout: this run's, as the attribute has it.
    """
    saved = self.layout.numpy().tolist()
    self.layout.assign(layout)
    if any(saved) and saved != list(layout):
      self.passes.assign(int(self.passes) * layout[2] // max(saved[2], 1))
      self.steps_in_pass.assign(0)
      logging.info(
        "%s: pass %d starts anew.", _difference(saved, layout), self.passes
      )

  @staticmethod
  def has_earlier(reader) -> bool:
    """Whether an opened checkpoint is one of the version before."""
    return reader.has_tensor(_POSITION_KEY.format("epoch"))

  def take_earlier(self, reader):
    """Takes what the version before saved, which had one pass per epoch."""
    step, num_examples, epoch = (
      reader.get_tensor(_POSITION_KEY.format(name))
      for name in ("step", "num_examples", "epoch")
    )
    values = step, num_examples, epoch, 0, [0, 0, 1, 0]
    for variable, value in zip(self.counters, values, strict=True):
      variable.assign(value)

  def check(self):
    """Raises a DataLossError if no run can have come to this."""
    for variable in self.counters:
      value = variable.numpy()
      if np.any((value < 0) | (value >= 10**18)):
        name = variable.name.split(":")[0]
        raise tf.errors.DataLossError(None, None, f"its {name} is {value}")


class Averages(tf.Module):
  """Exponential moving averages of a model's weights (`--ema_decay`).

  They often predict better than the weights of the last step (Polyak and
  Juditsky 1992, "Acceleration of stochastic approximation by averaging").

  Args:
    model: whose weights are averaged, the moving statistics too.
    decay: weight of the average before a step, in [0, 1); less in the first
      steps, so that what was there before training is soon forgotten.
  """

  def __init__(self, model: keras.Model, decay: float = 0.0):
    super().__init__()
    self._decay = decay
    self.values = [
      tf.Variable(weight.value, trainable=False) for weight in model.weights
    ]

  def update(self, model: keras.Model, step: tf.Tensor):
    """Adds the weights after a step; may be traced.

    Args:
      model: as in the constructor.
      step: scalar int64, steps done.
    """
    num_steps = tf.cast(step, tf.float32)
    decay = tf.minimum(self._decay, num_steps / (num_steps + 10.0))
    for average, weight in zip(self.values, model.weights, strict=True):
      average.assign(average + (1.0 - decay) * (weight.value - average))

  def copy_to(self, model: keras.Model):
    """Gives a model the averages as its weights."""
    for average, weight in zip(self.values, model.weights, strict=True):
      weight.assign(average)


class LossScale(tf.Module):
  """What the loss is multiplied by where layers compute in float16.

  Gradients below 2^-24 are 0 in float16, above 65,504 infinite (Micikevicius et
  al. 2018, arXiv:1710.03740, section 3.2). The scale moves them between the two
  and is taken out of their float32 sums. It is adapted as NVIDIA's guide to
  mixed precision has it: a step with a gradient that is not finite changes no
  weight and halves the scale; 2,000 other steps, one after another, double it.
  It is a power of two, so that it costs no digit.

  Attributes:
    scale: float32 variable.
    num_good_steps: int64 variable, steps since the scale changed.

  Args:
    batch_size: rows of a batch, of whose losses the *sum* is scaled: the first
      scale is about 2^15 for their mean.
  """

  _LOWEST, _HIGHEST = 2.0**-16, 2.0**24
  _NUM_GOOD_STEPS = 2000

  def __init__(self, batch_size: int):
    super().__init__()
    first = 2.0 ** (15 - round(math.log2(batch_size)))
    self.scale = tf.Variable(first, trainable=False)
    self.num_good_steps = tf.Variable(0, trainable=False, dtype=tf.int64)

  def apply(self, gradients: Sequence[tf.Tensor], update: Callable[[], Any]):
    """Calls `update` if all gradients are finite, and adapts the scale.

    At the lowest scale it is called in any case: what is not finite there did
    not overflow, and must show in the weights. May be traced.
    """
    is_finite = tf.reduce_all(
      [tf.reduce_all(tf.math.is_finite(part)) for part in gradients]
    )
    tf.cond(is_finite | (self.scale <= self._LOWEST), update, lambda: None)
    num_good = (self.num_good_steps + 1) * tf.cast(is_finite, tf.int64)
    doubles = num_good >= self._NUM_GOOD_STEPS
    factor = tf.where(doubles, 2.0, tf.where(is_finite, 1.0, 0.5))
    self.scale.assign(
      tf.clip_by_value(self.scale * factor, self._LOWEST, self._HIGHEST)
    )
    self.num_good_steps.assign(num_good * tf.cast(~doubles, tf.int64))


def random_states(model: keras.Model) -> list[tf.Variable]:
  """The states of a model's generators of random numbers, those of dropout.

  They are no weights to Keras, and TensorFlow does not find them by itself.
  """
  weights = {id(weight) for weight in model.weights}
  return [each.value for each in model.variables if id(each) not in weights]


def _difference(saved: Sequence[int], layout: Sequence[int]) -> str:
  """Says how two layouts of a `Position` differ."""
  if not saved[0]:
    return "The checkpoint is of the version before"
  names = ("batch size", "number of workers", "passes per epoch", "shards")
  changed = [
    name if name == "shards" else f"{name} {before} -> {now}"
    for name, before, now in zip(names, saved, layout, strict=True)
    if before != now
  ]
  return f"What a pass holds has changed ({', '.join(changed)})"


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
    position: that of the run; or None.
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
    position: Position | None = None,
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
    self._position = position
    self._trackables = {"model": model, **trackables}
    parts = {"position": position} if position else {}
    self._checkpoint = tf.train.Checkpoint(**self._trackables, **parts)

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
        self._restore(path)
      except _TRANSIENT_ERRORS as error:
        raise UserError(
          f"{path!r} cannot be read now: {_first_line(error)} Start again."
        ) from error
      except _READ_ERRORS as error:
        unreadable = unreadable or error
        logging.warning("%s cannot be read: %s", path, _first_line(error))
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

  def _restore(self, path: str):
    """Loads a checkpoint, of this version of the suite or the one before."""
    reader = _open(path)
    saved = {n for n, key in _OPTIONAL_PARTS.items() if reader.has_tensor(key)}
    ours = _OPTIONAL_PARTS.keys() & self._trackables
    missing = ours - saved
    common = {n: p for n, p in self._trackables.items() if n not in missing}
    if self._position and self._position.has_earlier(reader):
      _restore_objects(tf.train.Checkpoint(**common), path)
      self._position.take_earlier(reader)
    elif saved == ours:
      self._checkpoint.restore(path).assert_consumed()
    else:  # Float16 begins or ends here, or the checkpoint is an older one.
      position = {"position": self._position} if self._position else {}
      checkpoint = tf.train.Checkpoint(**common, **position)
      _restore_objects(checkpoint, path)
    if self._position:
      self._position.check()

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
      if self._config:
        self._config.save(self._directory)
        self._config = None
      self._write(step)
      self._saved_step = step
      self.tidy(newer_too=True)
    except (UserError, *_READ_ERRORS, OSError) as error:
      self._check_lock()  # That the folder has gone explains any failure.
      if isinstance(error, UserError):
        raise
      raise UserError(
        f"The checkpoint of step {step} cannot be written to "
        f"{self._directory!r}: {utils.error_text(error)}"
      ) from error
    return True

  def _check_lock(self):
    if self._lock:
      self._lock.check()

  def _write(self, step: int):
    """Writes a checkpoint's files elsewhere and puts them in their places."""
    # TensorFlow would make a new folder, without the run's other files.
    if not tf.io.gfile.exists(self._directory):
      raise OSError("the folder has vanished")
    path = os.path.join(self._directory, f"{CHECKPOINT_PREFIX}-{step}")
    folder = f"{path}.tmp"
    if utils.exists(folder):
      utils.delete(folder)
    self._checkpoint.save_counter.assign_add(1)
    try:
      self._checkpoint.write(os.path.join(folder, CHECKPOINT_PREFIX))
      self._check_lock()  # Again: writing may have taken long.
      # An old index must not lie beside new data, even for a moment.
      if tf.io.gfile.exists(f"{path}.index"):
        tf.io.gfile.remove(f"{path}.index")
      for name in sorted(tf.io.gfile.listdir(folder)):  # "index" is the last.
        tf.io.gfile.rename(
          os.path.join(folder, name),
          f"{path}{name.removeprefix(CHECKPOINT_PREFIX)}",
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
    # Indexes first: data without an index is no checkpoint to any reader.
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
    names = [f'"{CHECKPOINT_PREFIX}-{step}"' for step in steps]
    lines = [f"model_checkpoint_path: {names[-1]}\n"]
    lines += [f"all_model_checkpoint_paths: {name}\n" for name in names]
    with utils.replacing(
      os.path.join(self._directory, CHECKPOINT_STATE_FILE)
    ) as file:
      file.write("".join(lines).encode())


def check_finite(step: int, model: keras.Model):
  """Raises a DivergedError if a weight is a NaN or an infinity."""
  # A sum is finite only if all its terms are. All variables are looked at,
  # since moving statistics are not trainable and just as fatal.
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
  return [
    os.path.join(train_dir, f"{CHECKPOINT_PREFIX}-{step}")
    for step in sorted(steps)
  ]


def latest_checkpoint(train_dir: str) -> str | None:
  """The path of the last step's checkpoint, or None."""
  paths = all_checkpoints(train_dir)
  return paths[-1] if paths else None


def step_of(path: str) -> int:
  """The step in a checkpoint's name."""
  return int(path.rsplit("-", 1)[1])


def restore_model(model: keras.Model, path: str, use_averages: bool = True):
  """Loads a checkpoint's weights, and nothing else of it.

  Args:
    model: what to load them into.
    path: the checkpoint's.
    use_averages: whether to take the weights' averages, where it has some.

  Raises:
    UnreadableError: the checkpoint cannot be read, for instance because the
      trainer has deleted it meanwhile.
    UserError: it lacks some of the model's weights, or has others.
  """
  try:
    reader = _open(path)
    parts = {}
    if use_averages and reader.has_tensor(_AVERAGES_KEY):
      parts["averages"] = Averages(model)
    _restore_objects(tf.train.Checkpoint(model=model, **parts), path)
    for averages in parts.values():
      averages.copy_to(model)
  except _READ_ERRORS as error:
    raise UnreadableError(
      f"{path!r} cannot be read: {_first_line(error)}"
    ) from error
  except (AssertionError, ValueError) as error:
    raise UserError(
      f"{path!r} does not hold the model that model_flags.json describes: "
      f"{_first_line(error)}"
    ) from error


def restore_latest_model(
  model: keras.Model, train_dir: str, use_averages: bool = True
) -> int:
  """Loads the weights of the latest checkpoint that can be read.

  A damaged one is passed over with a warning. The arguments are those of
  `restore_model`.

  Returns:
    Its step.

  Raises:
    UserError: there is none, none can be read, or it is of another model.
  """
  damaged = {}
  # The folder is listed again each time: a live trainer deletes old
  # checkpoints, and writes a newer one for each that it deletes.
  while paths := [
    path for path in all_checkpoints(train_dir) if path not in damaged
  ]:
    try:
      restore_model(model, paths[-1], use_averages)
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


def restore_chosen_model(
  model: keras.Model,
  train_dir: str,
  step: str | None = None,
  use_averages: bool = True,
  count: int = 1,
) -> str:
  """Loads the weights of the checkpoint that `--checkpoint_step` names.

  Args:
    model: what to load them into.
    train_dir: the trainer's folder.
    step: a step; "best"; None for the latest that can be read.
    use_averages: as in `restore_model`.
    count: as in `add_earlier_weights`.

  Returns:
    The checkpoint's path.

  Raises:
    UserError: it is not there, cannot be read, or is of another model.
  """
  if step == "best":
    folder = os.path.join(train_dir, BEST_DIR)
    if not all_checkpoints(folder):
      raise UserError(
        f"--checkpoint_step=best: {train_dir!r} has no best model; train.py "
        "keeps one where --eval_data_pattern is given."
      )
    train_dir, step = folder, None
  if step is None:
    step = restore_latest_model(model, train_dir, use_averages)
    path = os.path.join(train_dir, f"{CHECKPOINT_PREFIX}-{step}")
    add_earlier_weights(model, path, count, use_averages)
    return path
  path = os.path.join(train_dir, f"{CHECKPOINT_PREFIX}-{int(step)}")
  paths = all_checkpoints(train_dir)
  if path not in paths:
    steps = ", ".join(str(step_of(other)) for other in paths) or "none"
    raise UserError(
      f"--checkpoint_step={step}: {train_dir!r} has no such checkpoint; it has "
      f"those of the steps: {steps}."
    )
  restore_model(model, path, use_averages)
  add_earlier_weights(model, path, count, use_averages)
  return path


def add_earlier_weights(
  model: keras.Model, path: str, count: int, use_averages: bool = True
):
  """Gives a model the mean of the weights of several checkpoints.

  Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better
  Generalization", https://arxiv.org/abs/1803.05407. Moving statistics are
  averaged as weights are.

  Args:
    model: has the weights of the checkpoint at `path`.
    path: the checkpoint's.
    count: how many checkpoints to take, that one and those before it in its
      folder; those that there are, if there are fewer.
    use_averages: as in `restore_model`.

  Raises:
    UserError: one is of another model.
  """
  if count == 1:
    return
  steps = [step_of(path)]
  sums = [weight.numpy().astype(np.float64) for weight in model.weights]
  paths = all_checkpoints(os.path.dirname(path))
  earlier = [other for other in paths if step_of(other) < steps[0]]
  for other in earlier[1 - count :]:
    try:
      restore_model(model, other, use_averages)
    except UnreadableError as error:
      logging.warning("It is left out of the mean: %s", error)
      continue
    steps.append(step_of(other))
    for total, weight in zip(sums, model.weights, strict=True):
      total += weight.numpy()
  if len(steps) < count:
    logging.warning(
      "--average_checkpoints=%d: there are only %d to be used.",
      *(count, len(steps)),
    )
  for total, weight in zip(sums, model.weights, strict=True):
    weight.assign(total / len(steps))
  logging.info(
    "The weights are the mean of %d checkpoints, of the steps %s.",
    len(steps),
    ", ".join(map(str, sorted(steps))),
  )


def weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
  """Name -> weight, the same names in every process.

  Keras numbers the layers that have no name of their own over all models of a
  process; here, layers of one name are numbered over those of the model.
  """
  layers: dict[str, str] = {}
  counts = collections.Counter()
  named = {}
  for weight in model.weights:
    parts = weight.path.split("/")
    for part in parts:
      if part not in layers:
        base = re.sub(r"_\d+$", "", part)
        layers[part] = f"{base}_{counts[base]}" if counts[base] else base
        counts[base] += 1
    named["/".join(layers[part] for part in parts)] = weight
  return named


def freeze_weights(model: keras.Model, patterns: Sequence[str]):
  """Keeps weights whose names match as they are (`--freeze`).

  A layer of which all weights match computes as in evaluation, too: its moving
  statistics stay.

  Raises:
    UserError: a pattern matches nothing, or nothing is left to train.
  """
  named = weights_by_name(model)
  for pattern in patterns:
    matches = fnmatch.filter(named, pattern)
    if not matches:
      raise UserError(
        f"--freeze={pattern!r} matches none of the weights: {', '.join(named)}."
      )
    for name in matches:
      named[name].trainable = False
  for layer in model._flatten_layers(include_self=False) if patterns else ():
    if layer.weights and not any(w.trainable for w in layer.weights):
      layer.trainable = False
  if not model.trainable_weights:
    raise UserError(f"--freeze={','.join(patterns)} leaves nothing to train.")


def _restore_objects(checkpoint: tf.train.Checkpoint, path: str):
  """Loads the objects of `checkpoint`, and nothing else that is at `path`.

  Raises:
    AssertionError, ValueError: they are not there, or of other shapes.
  """
  status = checkpoint.restore(path).expect_partial()
  status.assert_existing_objects_matched()


def _open(path: str):
  """Opens a checkpoint as `tf.train.load_checkpoint` does.

  Raises:
    tf.errors.OpError, IndexError, MemoryError: it cannot be read.
  """
  # The files are read first: their own errors tell a transient error from
  # damage, for which TensorFlow's checkpoint reader raises the same type.
  folder, name = os.path.split(path)
  for other in tf.io.gfile.listdir(folder or "."):
    if other.startswith((f"{name}.index", f"{name}.data-")):
      with tf.io.gfile.GFile(os.path.join(folder, other), "rb") as file:
        file.read(1)
  return tf.train.load_checkpoint(path)


def _first_line(error: Exception) -> str:
  text = utils.error_text(error) or type(error).__name__
  return text.splitlines()[0].rstrip(".") + "."
