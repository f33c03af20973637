# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Trains a model on YouTube-8M shards.

  python train.py --train_data_pattern='/path/to/train*.tfrecord' \
    --train_dir=/path/to/model

What the shards hold is found from the data. A train dir that is used again
resumes from its latest checkpoint. README.md has more examples.
"""

import contextlib
import dataclasses
import functools
import math
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import keras
import tensorflow as tf
from absl import flags, logging

import checkpoints
import cluster
import config
import devices
import experiment
import memory
import monitoring
import readers
import segment_reader
import sources
import train_dir
import utils
from config import ExperimentConfig, TrainSettings

# Flags that a trainer that is the job's evaluator hands over to eval.py.
_EVALUATOR_FLAGS = (
  *("eval_data_pattern", "num_readers", "jit_compile"),
  *("on_bad_record", "max_bad_fraction", "worker_timeout_secs"),
  *("folds", "fold", "segment_labels"),
)


def define_flags():
  """Defines the trainer's flags."""
  config.define_flags(TrainSettings)
  config.define_flags(ExperimentConfig)
  experiment.define_parameter_flags()


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Trains as the flags say; returns the exit code."""
  settings = config.from_flags(TrainSettings)
  given = config.given_values(ExperimentConfig)
  for name, parameters in experiment.given_parameters().items():
    json_given = given.get(name, {})
    for key in parameters.keys() & json_given:
      raise UserError(f"--{key} is in --{name}, too. Give it once.")
    given[name] = {**json_given, **parameters}
  task = cluster.read_task()
  if not cluster.has_work(task):
    return 0
  if task.role == cluster.EVALUATOR:
    become_evaluator(settings)
  # Devices must be chosen before TensorFlow uses one.
  devices.choose(settings.num_gpu)
  tf.debugging.set_log_device_placement(settings.log_device_placement)
  with cluster.join(task, settings.worker_timeout_secs) as workers:
    return train(given, settings, workers)


def become_evaluator(settings: TrainSettings):
  """Runs eval.py in this process, for the model that the workers train.

  Raises:
    UserError: it is not said on what data.
  """
  if not settings.eval_data_pattern:
    raise UserError(
      f"{cluster.TASK_VARIABLE} makes this the evaluator: give "
      "--eval_data_pattern, the shards to evaluate on."
    )
  folder = os.path.dirname(os.path.abspath(__file__))
  os.environ.pop(cluster.TASK_VARIABLE)
  logging.info("This is the evaluator: it runs eval.py.")
  arguments = [
    flags.FLAGS[name].serialize()
    for name in _EVALUATOR_FLAGS
    if flags.FLAGS[name].value is not None
  ]
  os.execv(  # noqa: S606 Nothing of it is a user's but these flags.
    sys.executable,
    [
      *(sys.executable, os.path.join(folder, "eval.py")),
      f"--train_dir={settings.train_dir}",  # Or --job-dir.
      *arguments,
    ],
  )


def train(
  given: Mapping[str, Any],
  settings: TrainSettings,
  workers: cluster.Workers | None = None,
) -> int:
  """Trains a model: the whole program, without its flags.

  Args:
    given: values of `ExperimentConfig`, by name. What is not given comes from
      the train dir where a run is resumed, else from the data and the defaults.
    settings: how the program is run.
    workers: those that train together; None for this process alone.

  Returns:
    The program's exit code: 0, or 128 + signal where a signal stopped it.

  Raises:
    UserError: settings, data and train dir contradict each other, the folder
      cannot be written, or the loss is not finite.
  """
  workers = workers or cluster.alone()
  folder_name = settings.train_dir
  shards = utils.list_shards(settings.train_data_pattern, "train_data_pattern")
  report_path = os.path.join(folder_name, train_dir.BAD_RECORDS_FILE)
  with (
    # Held first: what the chief finds in the folder must not change later.
    train_dir.hold(folder_name)
    if workers.is_chief
    else contextlib.nullcontext() as folder,
    experiment.start(
      settings, given, workers, report_path, goes_on=True
    ) as run,
  ):
    run_config, schema = agree_on_config(given, run, shards)
    state = build_train_state(run_config, workers, settings.jit_compile)
    passes = open_passes(run_config, run, shards, schema.record_bytes)
    batch_line = check_memory(run_config, run, state, shards, passes.spec)
    books = monitoring.NoBooks()
    if workers.is_chief:
      total_steps = estimate_steps(run_config, shards, schema.record_bytes)
      books = monitoring.Books(run_config, run, folder, state, total_steps)
    workers.copy_from_chief(state.variables)
    layout = (run_config.batch_size, workers.count, passes.per_epoch)
    state.position.resume((*layout, experiment.digest_of(shards)))
    train_step = make_train_step(
      run_config, state, workers, settings.jit_compile
    )
    devices.log()
    weights = state.model.trainable_variables
    logging.info(
      "Model: %s, %s parameters.",
      run_config.model,
      f"{sum(math.prod(weight.shape) for weight in weights):,}",
    )
    logging.info("%s", batch_line)
    if run_config.mixed_precision:
      devices.warn_of_slow_type(run_config.mixed_precision)
    return run_training(run_config, run, state, passes, train_step, books)


def agree_on_config(
  given: Mapping[str, Any], run: experiment.Run, shards: Sequence[str]
) -> tuple[ExperimentConfig, readers.Schema]:
  """The run's configuration, which the chief decides, and the shards' schema.

  Raises:
    UserError: what is given, train dir and data contradict each other, or the
      workers see different shards.
  """
  workers = run.workers
  if workers.is_chief:
    run_config, schema = prepare_config(given, run, shards)
    num_replicas = workers.strategy.num_replicas_in_sync
    if workers.count > 1 and run_config.batch_size < num_replicas:
      raise UserError(
        f"--batch_size={run_config.batch_size} is of all workers together; the "
        f"{num_replicas} replicas of {workers.count} workers need a video each."
      )
    workers.share(run_config.to_json())
  else:
    run_config = ExperimentConfig.from_json(workers.share(None))
    schema = experiment.look_at_shards(
      shards, run_config.feature_names, run, not run_config.segment_labels
    )
  experiment.check_same_shards(workers, shards, "train_data_pattern")
  return run_config, schema


def prepare_config(
  given: Mapping[str, Any], run: experiment.Run, shards: Sequence[str]
) -> tuple[ExperimentConfig, readers.Schema]:
  """The run's configuration and how its shards are laid out.

  Raises:
    UserError: what is given, train dir and data contradict each other.
  """
  saved, folder = None, run.settings.train_dir
  if not run.settings.start_new_model and train_dir.can_resume(folder):
    saved = ExperimentConfig.load(folder)
  if saved:
    given = experiment.add_saved_parameters(given, saved)
  names = given.get("feature_names", saved.feature_names if saved else None)
  segments = given.get("segment_labels", saved and saved.segment_labels)
  schema = experiment.look_at_shards(
    shards, names, run, not segments, given.get("frame_features")
  )
  experiment.check_labels(schema, "train_data_pattern", segments)
  run_config = experiment.resolve_config(given, saved, schema)
  if not saved and "num_classes" not in given:
    experiment.warn_of_unused_classes(run_config, schema)
  seed = run_config.seed
  if seed is None:
    seed = secrets.randbelow(2**31)
  loss_class = experiment.find_loss(run_config.label_loss)
  loss_kwargs = experiment.parameters_of(loss_class)
  # Saved whole: another version may have other defaults.
  run_config = dataclasses.replace(
    run_config,
    seed=seed,
    model_kwargs=experiment.complete_parameters(run_config),
    label_loss_kwargs=loss_kwargs | run_config.label_loss_kwargs,
  )
  experiment.build_loss(run_config)  # Refused before a model is deleted.
  return run_config, schema


def open_passes(
  run_config: ExperimentConfig,
  run: experiment.Run,
  shards: Sequence[str],
  record_bytes: int,
) -> sources.Passes:
  """This worker's part of each pass over the shards."""
  workers = run.workers
  reader = experiment.build_reader(
    run_config, run.settings.num_readers, run_config.segment_labels
  )
  return reader.training_passes(
    shards,
    workers.part_of(run_config.batch_size),
    run_config.seed,
    record_bytes,
    left_out=run.left_out,
    part=sources.Part(workers.index, workers.count),
    sample=experiment.frame_sample(run_config),
    fold=experiment.fold_of(run_config, is_left_out=True),
  )


class TrainState(NamedTuple):
  """The state that training changes and checkpoints hold.

  Attributes:
    model: with its weights.
    optimizer: built for them.
    position: how far the run has come.
    averages: moving averages of the weights, or None.
    loss_scale: that of float16, or None.
  """

  model: keras.Model
  optimizer: keras.optimizers.Optimizer
  position: checkpoints.Position
  averages: checkpoints.Averages | None = None
  loss_scale: checkpoints.LossScale | None = None

  @property
  def variables(self) -> list:
    """All variables of them."""
    return [
      *self.model.variables,
      *self.optimizer.variables,
      *self.position.counters,
      *(self.averages.values if self.averages else ()),
      *(self.loss_scale.variables if self.loss_scale else ()),
    ]


def build_train_state(
  run_config: ExperimentConfig,
  workers: cluster.Workers,
  jit_compile: bool = True,
) -> TrainState:
  """The state at the start of a run."""
  # Initialisers draw from the global generators, and the order of the videos
  # depends on TensorFlow's, so that this comes before the passes are opened.
  keras.utils.set_random_seed(run_config.seed)
  with workers.strategy.scope():
    model = experiment.build_model(
      run_config, run_config.mixed_precision, jit_compile
    )
    checkpoints.freeze_weights(model, run_config.freeze)
    optimizer = experiment.build_optimizer(run_config)
    optimizer.build(model.trainable_variables)
    averages = None
    if run_config.ema_decay is not None:
      averages = checkpoints.Averages(model, run_config.ema_decay)
  if workers.strategy.num_replicas_in_sync > 1:
    for layer in model._flatten_layers():
      if isinstance(layer, keras.layers.BatchNormalization):
        layer.synchronized = True  # Else each replica would have its own.
  loss_scale = None
  if run_config.mixed_precision == "float16":
    loss_scale = checkpoints.LossScale(run_config.batch_size)
  position = checkpoints.Position()
  return TrainState(model, optimizer, position, averages, loss_scale)


def check_memory(
  run_config: ExperimentConfig,
  run: experiment.Run,
  state: TrainState,
  shards: Sequence[str],
  batch_spec: Mapping[str, Any],
) -> str:
  """A line about the memory that this worker needs.

  Args:
    run_config: the run's configuration.
    run: the program's.
    state: the state at the start of the run.
    shards: those to train on.
    batch_spec: shapes and types of a batch.

  Raises:
    UserError: there is far less.
  """
  shards_bytes = utils.mean_file_size(shards) * len(shards)
  needs = [
    memory.of_program(min(readers.SHUFFLE_BYTES, shards_bytes)),
    memory.of_weights(state.variables, state.model.trainable_variables),
    memory.of_batches(batch_spec),
    memory.of_layers(state.model, batch_spec["features"]),
  ]
  reader = experiment.build_reader(
    run_config, of_segments=run_config.segment_labels
  )
  if run.settings.eval_data_pattern is not None and run.workers.is_chief:
    needs.append(memory.of_batches(reader.row_spec(), "evaluation"))
  return memory.check(
    needs, run_config.batch_size, run.workers.count, reader.row_name
  )


def run_training(
  run_config: ExperimentConfig,
  run: experiment.Run,
  state: TrainState,
  passes: sources.Passes,
  train_step,
  books,
) -> int:
  """Runs the steps that are left, saves, and says how it ended.

  Returns:
    The program's exit code: 0, or 128 + signal where a signal stopped it.
  """
  with program.StopSignals() as stop, books:
    try:
      training_loop(
        run_config, run, state.position, passes, train_step, books, stop
      )
    except checkpoints.DivergedError:
      raise
    except (UserError, tf.errors.OpError):
      books.save_what_was_learnt()  # A bad record costs nothing of it.
      raise
    books.finish(stop)
  if not run.workers.is_chief:
    if stop.received:
      logging.info("Stopped by signal %d.", stop.received)
    else:
      logging.info("Worker %d has finished.", run.workers.index)
  return program.exit_code(stop.received) if stop.received else 0


def training_loop(
  run_config: ExperimentConfig,
  run: experiment.Run,
  position: checkpoints.Position,
  passes: sources.Passes,
  train_step,
  books,
  stop: program.StopSignals,
):
  """Runs the steps that are left. Every worker runs this loop.

  Raises:
    UserError: a worker cannot read its shards, or too much is bad in them.
  """
  step = int(position.step.numpy())
  max_steps = run_config.max_steps or sys.maxsize
  end = run_config.num_epochs * passes.per_epoch
  for number in range(int(position.passes.numpy()), end):
    if step >= max_steps:
      return
    skip = int(position.steps_in_pass.numpy())
    batches = passes.batches(number, skip, end)
    lockstep = cluster.Lockstep(run.workers, batches, passes.blank, stop)
    for batch, step_flags in lockstep.steps(max_steps - step):
      books.before(step + 1, train_step, batch, step_flags)
      outcome = train_step(batch, step_flags)
      step += 1
      lockstep.note(outcome.flags)
      books.after(step, outcome, stop)  # Logs, saves, validates: the chief.
    lockstep.agree_on_end()
    experiment.gather_bad_records(run)
    if lockstep.is_cut_short:
      return
    position.finish_pass()


class Outcome(NamedTuple):
  """The outcome of a training step.

  Attributes:
    losses: name -> scalar float32, means over the rows of all workers: "loss",
      without regularization; "regularization_loss", without that of the
      weights; and what else the model has. With float16 also "loss_scale".
    learning_rate: scalar float32.
    flags: [2] float32, the sums over the workers of what `train_step` was
      given.
    scores: [rows, num_classes], logits where the model has them, else
      predictions: what is only logged now and then need not be computed in
      every step.
    labels: [rows, num_classes] float32; like `scores` and `weights`, of this
      worker's rows.
    weights: [rows] float32, 0 for padding.
    label_weights: [rows, num_classes] float32, below 1 where a label was not
      rated; None where all were.
  """

  losses: dict[str, tf.Tensor]
  learning_rate: tf.Tensor
  flags: tf.Tensor
  scores: tf.Tensor
  labels: tf.Tensor
  weights: tf.Tensor
  label_weights: tf.Tensor | None = None


def make_train_step(
  run_config: ExperimentConfig,
  state: TrainState,
  workers: cluster.Workers,
  jit_compile: bool,
):
  """A function that trains on one batch of this worker.

  Each replica computes the gradients of the *sum* of its rows' losses. One
  all-reduce adds up gradients, losses, numbers of rows and flags of all
  replicas; the division by the number of rows comes after it. So the result
  depends neither on how many workers there are nor on how the rows are spread
  over them, and a worker that has only padding takes part with zeros.

  With float16, a step whose gradients overflow changes neither weights nor
  their averages nor the optimizer. The position moves on: the batch was read.

  Returns:
    A function from a batch, split over the replicas, and [2] float32 flags to
    an `Outcome`.
  """
  model, optimizer, position, averages, loss_scale = state
  loss = experiment.build_loss(run_config)
  update = make_update_function(
    run_config, model, optimizer, workers, jit_compile
  )

  def replica_step(batch, flags, scale):
    gradients, sums, scores = experiment.gradient_sums(
      run_config, model, loss, batch, jit_compile, scale
    )
    sums["num_rows"] = tf.reduce_sum(batch["weights"])
    # An argument has no device, and TensorFlow finds the replicas by device.
    sums["flags"] = tf.identity(flags)
    return cluster.add_over_replicas((gradients, sums)), scores

  def change_weights(gradients, divisor):
    update(gradients, divisor)
    if averages:
      averages.update(model, position.step)

  @tf.function(autograph=False)
  def train_step(batch, flags):
    rate = experiment.learning_rate(run_config, position.num_examples)
    optimizer.learning_rate.assign(rate)
    scale = loss_scale.scale.read_value() if loss_scale else 1.0
    reduced, scores = workers.strategy.run(replica_step, (batch, flags, scale))
    gradients, sums = tf.nest.map_structure(workers.first, reduced)
    num_rows, flags = sums.pop("num_rows"), sums.pop("flags")
    losses = {name: value / num_rows for name, value in sums.items()}
    change = functools.partial(change_weights, gradients, num_rows * scale)
    # If another worker is lost in the all-reduce, no variable is changed.
    with tf.control_dependencies([num_rows, *gradients]):
      position.advance(num_rows)
      if loss_scale:
        losses["loss_scale"] = scale
        loss_scale.apply(gradients, change)
      else:
        change()
    return Outcome(
      losses=losses,
      learning_rate=rate,
      flags=flags,
      scores=workers.join_parts(scores),
      labels=workers.join_parts(batch["labels"]),
      weights=workers.join_parts(batch["weights"]),
      label_weights=workers.join_parts(batch["label_weights"])
      if "label_weights" in batch
      else None,
    )

  return train_step


def make_update_function(
  run_config: ExperimentConfig,
  model: keras.Model,
  optimizer: keras.optimizers.Optimizer,
  workers: cluster.Workers,
  jit_compile: bool,
):
  """A function that clips gradients and lets the optimizer apply them.

  It takes the sums of the gradients over the rows of the whole batch, a dense
  tensor for each trainable variable, and what they are to be divided by: the
  number of these rows, times what the loss was multiplied by. It is called
  once for all replicas: called in each, Keras would add up their gradients
  again. It adds the gradients of the weights' penalty, whose value nothing here
  needs: XLA leaves it out.
  """

  @tf.function(jit_compile=jit_compile, autograph=False)
  def average(gradients, divisor):
    with tf.GradientTape() as tape:
      penalty = experiment.weight_penalty(model)
      objective = run_config.regularization_penalty * penalty
    extra = tape.gradient(objective, model.trainable_variables)
    return [
      gradient / divisor + (0.0 if more is None else more)
      for gradient, more in zip(gradients, extra, strict=True)
    ]

  def apply(gradients, scales):
    scaled = [
      gradient * scale
      for gradient, scale in zip(gradients, scales, strict=True)
    ]
    optimizer.apply(scaled, model.trainable_variables)

  copies = workers.strategy.experimental_local_results(
    optimizer.iterations.value
  )
  if len(copies) == 1:  # What XLA compiles is of one device.
    apply = tf.function(apply, jit_compile=jit_compile, autograph=False)

  def update(gradients, divisor):
    gradients = average(gradients, divisor)
    scales = [1.0] * len(gradients)
    limit = run_config.clip_gradient_norm
    if limit > 0:
      # Outside XLA, which sums up a whole matrix with one thread.
      norms = [tf.sqrt(2.0 * tf.nn.l2_loss(part)) for part in gradients]
      scales = [limit / tf.maximum(norm, limit) for norm in norms]
    apply(gradients, scales)

  return update


def estimate_steps(
  run_config: ExperimentConfig, shards: Sequence[str], record_bytes: int
) -> int:
  """About how many steps a run will have, from the sizes of a few shards."""
  num_bytes = utils.mean_file_size(shards) * len(shards)
  num_videos = num_bytes / record_bytes
  if run_config.folds is not None:
    num_videos *= 1 - 1 / run_config.folds
  if run_config.segment_labels:
    num_videos *= segment_reader.RATED_PER_VIDEO
  num_steps = num_videos * run_config.num_epochs / run_config.batch_size
  steps = max(1, round(num_steps))
  return min(steps, run_config.max_steps or steps)


if __name__ == "__main__":
  run()
