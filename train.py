# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Trains a model on YouTube-8M shards.

  python train.py --train_data_pattern='/path/to/train*.tfrecord' \
    --train_dir=/path/to/model

What the shards hold is found from the data. A train dir that is used again
resumes from its latest checkpoint. README.md has more examples.
"""

import dataclasses
import fnmatch
import json
import os
import re
import secrets
import sys
from collections.abc import Callable
from typing import NamedTuple

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import keras
import tensorflow as tf
from absl import flags, logging

import bad_records
import checkpoints
import cluster
import evaluation
import experiment
import monitoring
import readers
import sources
import train_dir_lock
import utils
from bad_records import BadRecords

FLAGS = flags.FLAGS

# What a trainer writes to its folder, but for traces, and all that
# --start_new_model deletes.
_WRITTEN_FILES = (
  "checkpoint",
  f"{checkpoints.PREFIX}-*",
  experiment.CONFIG_FILE,
  monitoring.RESULTS_FILE,
  bad_records.REPORT_FILE,
  evaluation.RESULTS_FILE,
  "events.out.tfevents.*",
)
_CONFIG_NAMES = tuple(
  field.name for field in dataclasses.fields(experiment.ExperimentConfig)
)

# What a trainer that is the evaluator hands over to eval.py.
_EVALUATOR_FLAGS = (
  *("train_dir", "eval_data_pattern", "num_readers", "jit_compile"),
  *("on_bad_record", "max_bad_fraction", "worker_timeout_secs"),
)


def define_flags():
  """Defines the trainer's flags."""
  defaults = experiment.ExperimentConfig()
  flags.DEFINE_string(
    "train_data_pattern",
    None,
    "Shards to train on: a glob, or several separated by commas.",
    required=True,
    module_name="Data",
  )
  experiment.define_train_dir_flags()
  experiment.define_model_flags(defaults)
  _define_optimization_flags(defaults)
  _define_saving_flags()
  _define_machine_flags()


def _define_optimization_flags(defaults):
  def define(kind, name, text, **kwargs):
    value = getattr(defaults, name)
    kind(name, value, text, module_name="Optimization", **kwargs)

  def define_number(kind, name, text):
    lowest, highest = experiment.RANGES[name]
    define(kind, name, text, lower_bound=lowest, upper_bound=highest)

  def define_integer(name, text):
    define_number(flags.DEFINE_integer, name, text)

  def define_float(name, text):
    define_number(flags.DEFINE_float, name, text)

  define(flags.DEFINE_string, "label_loss", "Loss, one of those in losses.py.")
  define_integer("batch_size", "Videos per step.")
  define_integer(
    "num_epochs",
    "Passes over the data in total; a resumed run does what is left.",
  )
  define_integer("max_steps", "Stop at this step at the latest.")
  define(
    flags.DEFINE_string,
    "optimizer",
    "Any Keras optimizer by name, for instance Adam or AdamOptimizer.",
  )
  define_float("base_learning_rate", "Learning rate at the start.")
  define_float(
    "learning_rate_decay",
    "The learning rate is multiplied by this every "
    "--learning_rate_decay_examples videos, in steps (a staircase).",
  )
  define_integer(
    "learning_rate_decay_examples",
    "Videos between two decays of the learning rate.",
  )
  define_float(
    "regularization_penalty", "Weight of the model's own regularization loss."
  )
  define_float(
    "clip_gradient_norm",
    "Longest L2 norm of the gradient, per variable (not over all of them "
    "together), as in the starter code; 0 turns clipping off.",
  )
  define(
    flags.DEFINE_boolean,
    "mixed_precision",
    "Compute layers in bfloat16; weights, loss and update stay float32. Faster "
    "on processors and GPUs that have bfloat16 instructions.",
  )
  define_integer(
    "seed",
    "Seed of the weights and of the order of the data. Drawn, and saved, when "
    "not given.",
  )


def _define_saving_flags():
  def define(kind, name, value, text, **kwargs):
    kind(name, value, text, module_name="Saving and logging", **kwargs)

  define(
    flags.DEFINE_boolean,
    "start_new_model",
    False,
    "Delete what a trainer wrote to the train dir, and nothing else, and "
    "start again.",
  )
  define(
    flags.DEFINE_integer,
    "save_checkpoint_secs",
    60,
    "Seconds between two checkpoints.",
    lower_bound=0,
  )
  define(
    flags.DEFINE_integer,
    "max_to_keep",
    5,
    "Latest checkpoints kept.",
    lower_bound=1,
  )
  define(
    flags.DEFINE_integer,
    "log_every_steps",
    10,
    "Steps between two log lines, which carry the batch's metrics.",
    lower_bound=1,
  )
  define(
    flags.DEFINE_string,
    "profile_steps",
    None,
    "First and last step of a trace for TensorBoard's profile plugin, for "
    "instance 20,25; it is written to TRAIN_DIR/plugins/profile.",
  )
  define(
    flags.DEFINE_string,
    "eval_data_pattern",
    None,
    "Shards to evaluate on while training; the best model by GAP is kept in "
    "TRAIN_DIR/best.",
  )
  define(
    flags.DEFINE_integer,
    "eval_every_steps",
    1000,
    "Steps between two evaluations with --eval_data_pattern; there is one at "
    "the end too.",
    lower_bound=1,
  )


def _define_machine_flags():
  flags.DEFINE_integer(
    "num_gpu",
    None,
    "GPUs to train on. All that are visible when not given.",
    lower_bound=0,
    module_name="Machine",
  )
  flags.DEFINE_boolean(
    "log_device_placement",
    False,
    "Log the device of every operation.",
    module_name="Machine",
  )
  cluster.define_flags()


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Trains as the flags say; returns the exit code."""
  experiment.use_job_dir()
  task = cluster.read_task()
  if not cluster.has_work(task):
    return 0
  if task.role == cluster.EVALUATOR:
    become_evaluator()
  tf.debugging.set_log_device_placement(FLAGS.log_device_placement)
  profile_steps = parse_profile_steps(FLAGS.profile_steps)
  # First of all: devices cannot be chosen any more once one has been used.
  choose_devices(FLAGS.num_gpu)
  workers = cluster.start(task, FLAGS.worker_timeout_secs)
  with cluster.clear_errors(workers):
    experiment.check_same_flags(workers)
    if workers.is_chief:
      return lead(workers, profile_steps)
    return follow(workers)


def become_evaluator():
  """Runs eval.py in this process, for the model that the workers train.

  Raises:
    UserError: it is not said on what data.
  """
  if not FLAGS.eval_data_pattern:
    raise UserError(
      f"{cluster.TASK_VARIABLE} makes this the evaluator: give "
      "--eval_data_pattern, the shards to evaluate on."
    )
  folder = os.path.dirname(os.path.abspath(__file__))
  os.environ.pop(cluster.TASK_VARIABLE)
  logging.info("This is the evaluator: it runs eval.py.")
  arguments = [
    FLAGS[name].serialize()
    for name in _EVALUATOR_FLAGS
    if FLAGS[name].value is not None
  ]
  os.execv(  # noqa: S606 Nothing of it is a user's but these flags.
    sys.executable,
    [sys.executable, os.path.join(folder, "eval.py"), *arguments],
  )


def lead(
  workers: cluster.Workers, profile_steps: tuple[int, int] | None
) -> int:
  """Trains as the flags say, and writes the train dir.

  Args:
    workers: the workers of which this is the chief; or this one alone.
    profile_steps: from `parse_profile_steps`.

  Returns:
    The program's exit code.

  Raises:
    UserError: something is wrong with flags, data or folder.
  """
  shards = utils.list_shards(FLAGS.train_data_pattern, "train_data_pattern")
  # From here on: what a trainer finds in the folder must not change under it.
  with (
    train_dir_lock.TrainDirLock(FLAGS.train_dir) as lock,
    noting_bad_records(workers) as left_out,
  ):
    return train_as_chief(workers, profile_steps, shards, lock, left_out)


def noting_bad_records(workers: cluster.Workers):
  """`experiment.noting_bad_records`, in the train dir."""
  path = os.path.join(FLAGS.train_dir, bad_records.REPORT_FILE)
  return experiment.noting_bad_records(path, workers, goes_on=True)


def train_as_chief(
  workers: cluster.Workers,
  profile_steps: tuple[int, int] | None,
  shards: list[str],
  lock: train_dir_lock.TrainDirLock,
  left_out: BadRecords | None,
) -> int:
  """Trains as the flags say, in a folder that no other trainer works in.

  Args:
    workers: this one is their chief.
    profile_steps: from `parse_profile_steps`.
    shards: the shards to train on.
    lock: that of the train dir.
    left_out: takes note of bad records; None where they are not left out.

  Returns:
    The program's exit code.

  Raises:
    UserError: something is wrong with flags, data or folder.
  """
  config, schema = prepare_config(
    FLAGS.train_dir, shards, FLAGS.start_new_model, left_out
  )
  check_batch_size(config.batch_size, workers)
  workers.share(config.to_json())
  experiment.check_same_shards(workers, shards, "train_data_pattern")
  reader = experiment.build_reader(config, schema, FLAGS.num_readers)
  model, optimizer, position = state = build_train_state(config, workers)
  validation_batches = open_validation(config, left_out)
  lock.check()  # Time has passed: one that started in the same moment shows.
  if FLAGS.start_new_model:
    delete_model(FLAGS.train_dir)  # Only now that nothing is wrong.
    if left_out:
      left_out.forget_earlier_runs()

  saver = open_saver(config, lock, model, optimizer, position)
  batches, place, train_step = open_training(
    config, shards, reader, schema, state, left_out, workers
  )
  total_steps = estimate_steps(config, shards, schema.record_bytes)
  run = TrainingRun(
    config=config,
    workers=workers,
    batches=batches,
    place=place,
    train_step=train_step,
    position=position,
    saver=saver,
    logger=monitoring.Logger(
      config,
      FLAGS.train_dir,
      model,
      position,
      FLAGS.log_every_steps,
      total_steps,
    ),
    profiler=monitoring.Profiler(FLAGS.train_dir, profile_steps),
    validation=make_validation(config, model, validation_batches, lock),
  )
  exit_code = train(run)
  workers.wait_for_all()
  return exit_code


def open_saver(config, lock, model, optimizer, position) -> checkpoints.Saver:
  """Loads the train dir's latest checkpoint, if any; and writes the next."""
  saver = checkpoints.Saver(
    FLAGS.train_dir,
    model,
    FLAGS.max_to_keep,
    FLAGS.save_checkpoint_secs,
    config=config,
    lock=lock,
    optimizer=optimizer,
    position=position,
  )
  if resumed := saver.restore_latest():
    logging.info("Resuming from %s.", resumed)
  else:
    config.save(FLAGS.train_dir)
  return saver


def follow(workers: cluster.Workers) -> int:
  """Trains with a chief, which says how and writes all files.

  Returns:
    The program's exit code.

  Raises:
    UserError: something is wrong with flags or data.
  """
  shards = utils.list_shards(FLAGS.train_data_pattern, "train_data_pattern")
  config = experiment.ExperimentConfig.from_json(workers.share(None))
  experiment.check_same_shards(workers, shards, "train_data_pattern")
  with noting_bad_records(workers) as left_out:
    schema = experiment.look_at_shards(shards, config.feature_names, left_out)
    reader = experiment.build_reader(config, schema, FLAGS.num_readers)
    state = build_train_state(config, workers)
    batches, place, train_step = open_training(
      config, shards, reader, schema, state, left_out, workers
    )
    with program.StopSignals() as stop:
      for batch, other_videos, _ in workers.in_step(batches, place, stop):
        if config.max_steps and state.position.step >= config.max_steps:
          break
        train_step(batch, other_videos)
  workers.wait_for_all()
  if stop.received:
    logging.info("Stopped by signal %d.", stop.received)
    return program.exit_code(stop.received)
  logging.info("Worker %d has finished.", workers.index)
  return 0


class TrainState(NamedTuple):
  """What training changes, and checkpoints hold.

  Attributes:
    model: with its weights.
    optimizer: built for them.
    position: how far the run has come.
  """

  model: keras.Model
  optimizer: keras.optimizers.Optimizer
  position: checkpoints.Position


def build_train_state(config, workers: cluster.Workers) -> TrainState:
  """The state at the start of a run."""
  # Keras draws its initialisers' seeds from the global generators.
  keras.utils.set_random_seed(config.seed)
  with workers.strategy.scope():
    model = experiment.build_model(config, config.mixed_precision)
    optimizer = experiment.build_optimizer(config)
    optimizer.build(model.trainable_variables)
  if workers.strategy.num_replicas_in_sync > 1:
    for layer in normalising_layers(model):
      layer.synchronized = True  # Else each replica would have its own.
  return TrainState(model, optimizer, checkpoints.Position(workers.count))


def normalising_layers(
  model: keras.Model,
) -> list[keras.layers.BatchNormalization]:
  """The layers whose outputs depend on what else is in the batch."""
  return [
    layer
    for layer in model._flatten_layers()
    if isinstance(layer, keras.layers.BatchNormalization)
  ]


def open_training(config, shards, reader, schema, state, left_out, workers):
  """What each worker trains on, and with what, from the chief's state on.

  Returns:
    The batches of its part of the data, where they begin in it, and the
    function that trains on one.
  """
  model, optimizer, position = state
  variables = [*model.variables, *optimizer.variables]
  workers.copy_from_chief([*variables, *position.counters])
  place = find_place(config, position, workers)
  batches = training_batches(
    config, shards, reader, schema, place, left_out, workers
  )
  train_step = make_train_step(
    config,
    model,
    optimizer,
    experiment.build_loss(config),
    position,
    workers.strategy,
    FLAGS.jit_compile,
  )
  return batches, place, train_step


def find_place(
  config, position: checkpoints.Position, workers: cluster.Workers
) -> cluster.Place:
  """Where this worker's batches begin in its part of the data."""
  places = json.loads(workers.share(json.dumps(position.read_places())))
  position.forget_places()
  if len(places) == workers.count:  # As many go on as have stopped.
    return cluster.Place(*places[workers.index])
  # What is saved is of one that had the largest part, times their number.
  videos = int(position.epoch_videos.numpy()) // workers.count
  largest = -(-config.batch_size // workers.count)
  videos = videos * workers.part_of(config.batch_size) // largest
  return cluster.Place(int(position.epoch.numpy()), videos)


def check_batch_size(batch_size: int, workers: cluster.Workers):
  """Raises a UserError if there is not a video for each replica."""
  num_replicas = workers.strategy.num_replicas_in_sync
  if workers.count > 1 and batch_size < num_replicas:
    raise UserError(
      f"--batch_size={batch_size} is of all workers together; the "
      f"{num_replicas} replicas of {workers.count} workers need a video each."
    )


def parse_profile_steps(text: str | None) -> tuple[int, int] | None:
  """The two numbers of `--profile_steps`; None where it is not given.

  Raises:
    UserError: it is something else.
  """
  if text is None:
    return None
  match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
  first, last = map(int, match.groups()) if match else (0, 0)
  if not 1 <= first <= last:
    raise UserError(
      f"--profile_steps={text!r} should be the first and the last step to "
      "trace, for instance --profile_steps=20,25."
    )
  return first, last


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
  """All that the training loop works with.

  Attributes:
    config: the configuration.
    workers: which train together.
    batches: this worker's batches (readers.py).
    place: where they begin in its part of the data.
    train_step: made by `make_train_step`.
    position: how far the run has come.
    saver: writes the checkpoints.
    logger: shows what happens.
    profiler: traces the steps of --profile_steps.
    validation: evaluates during training; or None.
  """

  config: experiment.ExperimentConfig
  workers: cluster.Workers
  batches: readers.Batches
  place: cluster.Place
  train_step: Callable[..., dict]
  position: checkpoints.Position
  saver: checkpoints.Saver
  logger: monitoring.Logger
  profiler: monitoring.Profiler
  validation: monitoring.Validation | None


def train(run: TrainingRun) -> int:
  """Trains, saves at the end, and says how it ended.

  Returns:
    The program's exit code: 0, or 128 + signal where a signal stopped it.

  Raises:
    UserError: the data cannot be read, the folder cannot be written, or the
      loss is not finite.
  """
  logger = run.logger
  with program.StopSignals() as stop, logger, run.profiler:
    step, outcome = training_loop(run, stop)
    if outcome is not None:
      if not logger.is_due(step):
        logger.log(step, outcome)  # Before saving, whose time is no step's.
      run.saver.save(step)
      logger.log_histograms(step, outcome)
      logger.write_results(step, outcome)
      if run.validation:
        run.validation.run(step, logger, stop)
    if stop.received:
      saved = f"step {step} is saved" if step else "there was nothing to save"
      logger.note(f"Stopped by signal {stop.received}; {saved}.")
      return program.exit_code(stop.received)
    if outcome is None:
      logger.note(f"Nothing left to train: step {step} was the last one.")
    else:
      logger.note(f"Finished training at step {step}.")
  return 0


def training_loop(run: TrainingRun, stop: program.StopSignals):
  """Runs the steps.

  Returns:
    The last step's number, and what it gave (see `make_train_step`); None if
    there was no step to do.
  """
  step, outcome = int(run.position.step.numpy()), None
  try:
    for batch, other_videos, places in run.workers.in_step(
      run.batches, run.place, stop
    ):
      if run.config.max_steps and step >= run.config.max_steps:
        break
      run.logger.log_graph(run.train_step, batch, other_videos)
      with run.profiler.step(step + 1):
        outcome = run.train_step(batch, other_videos)
      step += 1
      run.position.note_places(places)
      run.logger.observe(step, outcome)
      if run.logger.is_due(step):
        run.logger.log(step, outcome)
      validates = run.validation and run.validation.is_due(step)
      # Before an evaluation too: it may take longer than one cares to lose.
      if run.saver.is_due() or validates:
        save(run, step, outcome)
      if validates:
        run.validation.run(step, run.logger, stop)
    else:
      if not stop.received:
        run.position.complete(run.config.num_epochs)
  except checkpoints.DivergedError:
    raise
  except (UserError, tf.errors.OpError):
    if outcome is not None:
      run.saver.save(step)  # A bad record costs nothing of what was learnt.
    raise
  return step, outcome


def save(run: TrainingRun, step: int, outcome: dict):
  """Saves a step whose loss is finite.

  Raises:
    UserError: it is not, or the folder cannot be written.
  """
  run.logger.check_loss()
  if run.saver.save(step):
    run.logger.log_histograms(step, outcome)


def training_batches(
  config, shards, reader, schema, place: cluster.Place, left_out, workers
):
  """The batches that are left to this worker to train on."""
  if place.videos:
    logging.info(
      "Passing over the first %d videos of epoch %d, which are done.",
      place.videos,
      place.epoch,
    )
  batches = reader.training_batches(
    shards,
    workers.part_of(config.batch_size),
    config.num_epochs,
    config.seed,
    schema.record_bytes,
    place.epoch,
    place.videos,
    left_out,
    sources.Part(workers.index, workers.count),
  )
  return batches if workers.count > 1 else batches.distributed(workers.strategy)


def make_train_step(
  config, model, optimizer, loss, position, strategy, jit_compile
):
  """A function that trains on one batch.

  Args:
    config: `experiment.ExperimentConfig`.
    model: from `experiment.build_model`.
    optimizer: built for the model's variables.
    loss: the label loss.
    position: `checkpoints.Position`; the step counts the batch there.
    strategy: the distribution strategy all of them were made under.
    jit_compile: whether to compile with XLA.

  Returns:
    A function from a batch, and the number of videos that other workers have in
    theirs, to a dict: "loss", without regularization;
    "regularization_loss", without that of the weights; and "learning_rate",
    scalars; "scores" and "labels", [batch, num_classes], and "weights",
    [batch], which are of this worker's part of the batch. Scores are logits
    where the model has them, else predictions: what is only logged now and then
    need not be computed in every step.
  """
  compute_gradients = make_gradient_function(
    config, model, loss, strategy.num_replicas_in_sync, jit_compile
  )
  update = make_update_function(config, model, optimizer, strategy, jit_compile)

  def replica_step(batch, num_videos):
    inputs = {key: batch[key] for key in ("features", "num_frames")}
    gradients, label_loss, penalty, scores = compute_gradients(
      inputs, batch["labels"], batch["weights"], num_videos
    )
    # In one go: between workers, each all-reduce takes milliseconds.
    context = tf.distribute.get_replica_context()
    sums = context.all_reduce(
      tf.distribute.ReduceOp.SUM, [label_loss, penalty, *gradients]
    )
    return sums, scores

  def whole(values):
    """The global batch of what is split over the replicas."""
    return tf.concat(strategy.experimental_local_results(values), axis=0)

  @tf.function(autograph=False)
  def train_step(batch, other_videos=0.0):
    rate = experiment.learning_rate(config, position.num_examples)
    optimizer.learning_rate.assign(rate)
    weights = whole(batch["weights"])
    # At least 1: all records of a batch may have been left out.
    num_videos = tf.maximum(tf.reduce_sum(weights) + other_videos, 1)
    sums, scores = strategy.run(replica_step, (batch, num_videos))
    # All replicas have the same.
    label_loss, penalty, *gradients = (
      strategy.experimental_local_results(values)[0] for values in sums
    )
    # Should another worker be lost now, nothing of the step is done.
    with tf.control_dependencies([label_loss, *gradients]):
      update(gradients)
      position.advance(whole(batch["epochs"]), weights, other_videos)
    return {
      "loss": label_loss,
      "regularization_loss": penalty,
      "learning_rate": rate,
      "scores": whole(scores),
      "labels": whole(batch["labels"]),
      "weights": weights,
    }

  return train_step


def make_gradient_function(config, model, loss, num_replicas, jit_compile):
  """A function from a replica's part of a batch to gradients and losses.

  XLA compiles at least the loss, whose elementwise operations it fuses, and
  all of it where that is faster. The all-reduce of several replicas is not in
  it, since it cannot be compiled; nor are layers that have one of their own.

  Returns:
    A function of a batch's inputs, labels [part, num_classes], weights [part]
    and the number of videos of the whole batch. It returns the gradients
    without those of the weights' penalty, one tensor for each trainable
    variable; the label loss and the rest of the regularization loss, scalars
    that add up over the replicas; and scores [part, num_classes].
  """

  def differentiate_loss(outputs, labels, weights, num_videos):
    """The label loss, and the gradients of the outputs it depends on."""

    # Not an argument: outputs that the loss does not use are not computed.
    @tf.function(jit_compile=jit_compile, autograph=False)
    def differentiate():
      with tf.GradientTape() as tape:
        tape.watch(outputs)
        label_losses = experiment.label_losses(loss, outputs, labels)
        label_loss = tf.reduce_sum(label_losses * weights) / num_videos
      gradients = tape.gradient(label_loss, outputs)
      return label_loss, {
        name: gradient
        for name, gradient in gradients.items()
        if gradient is not None
      }

    return differentiate()

  def compute_gradients(inputs, labels, weights, num_videos):
    with tf.GradientTape() as tape:
      outputs = model(inputs, training=True)
      # A model may return one tensor twice, whose gradient would count twice.
      outputs = {name: tf.identity(out) for name, out in outputs.items()}
      penalty = experiment.other_penalty(model, outputs) / num_replicas
      objective = config.regularization_penalty * penalty
    label_loss, output_gradients = differentiate_loss(
      outputs, labels, weights, num_videos
    )
    gradients = tape.gradient(
      [*(outputs[name] for name in output_gradients), objective],
      model.trainable_variables,
      [*output_gradients.values(), tf.ones([])],
      # Of a layer that a model makes and does not use.
      unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    # Those of an embedding are sparse, which not all that follows can take.
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    scores = outputs.get("logits", outputs["predictions"])
    return gradients, label_loss, penalty, scores

  if num_replicas > 1 and normalising_layers(model):
    return compute_gradients  # Replicas cannot meet in a function's function.
  return tf.function(
    compute_gradients,
    jit_compile=jit_compile and experiment.compiles_well(config),
    autograph=False,
  )


def make_update_function(config, model, optimizer, strategy, jit_compile):
  """A function that clips gradients and lets the optimizer apply them.

  It takes the gradients of the whole batch, a dense tensor for each trainable
  variable, and is called once for all replicas: called in each, Keras would add
  up their gradients again. It adds those of the weights' penalty, whose value
  nothing here needs: XLA leaves it out.
  """

  @tf.function(jit_compile=jit_compile, autograph=False)
  def add_penalty(gradients):
    with tf.GradientTape() as tape:
      penalty = experiment.weight_penalty(model)
      objective = config.regularization_penalty * penalty
    extra = tape.gradient(objective, model.trainable_variables)
    return [
      gradient if more is None else gradient + more
      for gradient, more in zip(gradients, extra, strict=True)
    ]

  def apply(gradients, scales):
    scaled = [
      gradient * scale
      for gradient, scale in zip(gradients, scales, strict=True)
    ]
    optimizer.apply(scaled, model.trainable_variables)

  copies = strategy.experimental_local_results(optimizer.iterations.value)
  if len(copies) == 1:  # What XLA compiles is of one device.
    apply = tf.function(apply, jit_compile=jit_compile, autograph=False)

  def update(gradients):
    gradients = add_penalty(gradients)
    scales = [1.0] * len(gradients)
    limit = config.clip_gradient_norm
    if limit > 0:
      # XLA sums up a whole matrix with one thread, TensorFlow with all; and
      # the product with the scale is fused into the optimizer's.
      norms = [tf.sqrt(2.0 * tf.nn.l2_loss(part)) for part in gradients]
      scales = [limit / tf.maximum(norm, limit) for norm in norms]
    apply(gradients, scales)

  return update


def open_validation(
  config, left_out: BadRecords | None
) -> readers.Batches | None:
  """The batches that `--eval_data_pattern` names; None where it is not given.

  Raises:
    UserError: the model cannot read them.
  """
  if FLAGS.eval_data_pattern is None:
    return None
  shards, reader = experiment.open_shards(
    config,
    FLAGS.eval_data_pattern,
    "eval_data_pattern",
    FLAGS.num_readers,
    left_out=left_out,
  )
  return reader.evaluation_batches(shards, config.batch_size, left_out=left_out)


def make_validation(
  config, model, batches: readers.Batches | None, lock
) -> monitoring.Validation | None:
  """Evaluation during training; None where there are no batches for it."""
  if batches is None:
    return None
  return monitoring.Validation(
    config,
    FLAGS.train_dir,
    model,
    experiment.build_loss(config),
    batches,
    FLAGS.eval_every_steps,
    FLAGS.jit_compile,
    lock,
  )


def prepare_config(
  train_dir: str,
  shards,
  start_new_model: bool,
  left_out: BadRecords | None,
) -> tuple[experiment.ExperimentConfig, readers.Schema]:
  """The run's configuration and how its shards are laid out.

  Raises:
    UserError: flags, train dir and data contradict each other.
  """
  given = experiment.given_flags(_CONFIG_NAMES)
  saved = None
  if not start_new_model:
    # A run that failed before its first checkpoint binds nobody.
    if checkpoints.has_checkpoint(train_dir):
      saved = load_saved_config(train_dir)
  names = given.get("feature_names", saved.feature_names if saved else None)
  schema = experiment.look_at_shards(shards, names, left_out)
  experiment.check_labels(schema, "train_data_pattern")
  config = experiment.resolve_config(given, saved, schema)
  if config.seed is None:
    config = dataclasses.replace(config, seed=secrets.randbelow(2**31))
  return config, schema


def load_saved_config(train_dir: str) -> experiment.ExperimentConfig:
  """The configuration of a train dir that has a checkpoint.

  Raises:
    UserError: there is none, so another program wrote the checkpoint.
  """
  if not experiment.has_model(train_dir):
    raise UserError(
      f"--train_dir={train_dir!r} has a checkpoint but no "
      f"{experiment.CONFIG_FILE}, so it cannot be resumed. Use another folder."
    )
  return experiment.ExperimentConfig.load(train_dir)


def delete_model(train_dir: str):
  """Deletes what a trainer wrote to a folder, and nothing else.

  Raises:
    UserError: the folder has checkpoints of another program, or something
      cannot be deleted.
  """
  if not experiment.has_model(train_dir):
    if checkpoints.has_checkpoint(train_dir):
      raise UserError(
        f"--train_dir={train_dir!r} has a checkpoint but no "
        f"{experiment.CONFIG_FILE}: another program wrote it, so it is not "
        "deleted. Use another folder."
      )
    return
  best_dir = os.path.join(train_dir, monitoring.BEST_DIR)
  for folder in (best_dir, train_dir):
    # Should it be killed on the way, what is left is no checkpoint that only
    # looks whole, and is known as a trainer's up to the end.
    for name in sorted(
      utils.list_folder(folder),
      key=lambda name: (
        name == experiment.CONFIG_FILE,
        not name.endswith(".index"),
      ),
    ):
      if any(fnmatch.fnmatchcase(name, glob) for glob in _WRITTEN_FILES):
        utils.delete(os.path.join(folder, name))


def choose_devices(num_gpu: int | None):
  """Lets TensorFlow see as many GPUs as are to be used.

  Raises:
    UserError: more GPUs were asked for than there are.
  """
  visible = tf.config.list_physical_devices("GPU")
  wanted = len(visible) if num_gpu is None else num_gpu
  if wanted > len(visible):
    raise UserError(f"--num_gpu={num_gpu}, but {len(visible)} are visible.")
  tf.config.set_visible_devices(visible[:wanted], "GPU")


def estimate_steps(config, shards, record_bytes: int) -> int:
  """About how many steps a run will have, from the sizes of a few shards."""
  num_bytes = utils.mean_file_size(shards) * len(shards)
  num_videos = num_bytes / record_bytes
  steps = max(1, round(num_videos * config.num_epochs / config.batch_size))
  return min(steps, config.max_steps or steps)


if __name__ == "__main__":
  run()
