# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Trains a model on YouTube-8M shards.

  python train.py --train_data_pattern='/path/to/train*.tfrecord' \
    --train_dir=/path/to/model

What the shards hold is found from the data. A train dir that is used again
resumes from its latest checkpoint. README.md has more examples.
"""

import dataclasses
import json
import os
import secrets
import time

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

import checkpoints
import eval_util
import evaluation
import experiment
import readers
import utils

FLAGS = flags.FLAGS

BEST_DIR = "best"
RESULTS_FILE = "train_results.json"
# What a trainer writes to its folder, and all that --start_new_model deletes.
_WRITTEN_FILES = (
  "checkpoint",
  f"{checkpoints.PREFIX}-*",
  experiment.CONFIG_FILE,
  RESULTS_FILE,
  "events.out.tfevents.*",
)
_CONFIG_NAMES = tuple(
  field.name for field in dataclasses.fields(experiment.ExperimentConfig)
)
_METRICS_TOP_K = 20


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

  def define_integer(name, text, lowest, highest=None):
    define(
      flags.DEFINE_integer, name, text, lower_bound=lowest, upper_bound=highest
    )

  def define_float(name, text):
    define(flags.DEFINE_float, name, text, lower_bound=0.0)

  define(flags.DEFINE_string, "label_loss", "Loss, one of those in losses.py.")
  define_integer("batch_size", "Videos per step.", 1)
  define_integer(
    "num_epochs",
    "Passes over the data in total; a resumed run does what is left.",
    1,
  )
  define_integer("max_steps", "Stop at this step at the latest.", 1)
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
    1,
  )
  define_float(
    "regularization_penalty", "Weight of the model's own regularization loss."
  )
  define_float(
    "clip_gradient_norm",
    "Longest L2 norm of the gradient, per variable (not over all of them "
    "together), as in the starter code; 0 turns clipping off.",
  )
  define_integer(
    "seed",
    "Seed of the weights and of the order of the data. Drawn, and saved, when "
    "not given.",
    0,
    2**31 - 1,
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


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Trains as the flags say; returns the exit code."""
  tf.debugging.set_log_device_placement(FLAGS.log_device_placement)
  if FLAGS.start_new_model:
    delete_model(FLAGS.train_dir)
  shards = utils.list_shards(FLAGS.train_data_pattern, "train_data_pattern")
  config, schema = prepare_config(FLAGS.train_dir, shards)
  utils.make_folder(FLAGS.train_dir, "train_dir")
  strategy = choose_strategy(FLAGS.num_gpu)
  # Keras draws its initialisers' seeds from the global generators.
  keras.utils.set_random_seed(config.seed)
  with strategy.scope():
    model = experiment.build_model(config)
    optimizer = experiment.build_optimizer(config)
    optimizer.build(model.trainable_variables)
    position = checkpoints.Position()
  loss = experiment.build_loss(config)
  saver = checkpoints.Saver(
    FLAGS.train_dir,
    model,
    FLAGS.max_to_keep,
    FLAGS.save_checkpoint_secs,
    optimizer=optimizer,
    position=position,
  )
  if resumed := saver.restore_latest():
    logging.info("Resuming from %s.", resumed)
  config.save(FLAGS.train_dir)

  reader = experiment.build_reader(config, schema, FLAGS.num_readers)
  batches = reader.training_batches(
    shards,
    config.batch_size,
    config.num_epochs,
    config.seed,
    schema.record_bytes,
    # numpy(), since int() does not take the variables of several replicas.
    first_epoch=int(position.epoch.numpy()),
    skip_videos=int(position.epoch_videos.numpy()),
  ).distributed(strategy)
  train_step = make_train_step(
    config, model, optimizer, loss, position, strategy, FLAGS.jit_compile
  )
  validation = make_validation(config, model, loss)
  total_steps = estimate_steps(config, shards, schema.record_bytes)
  logger = Logger(
    config, FLAGS.train_dir, model, position, FLAGS.log_every_steps, total_steps
  )
  first_step = int(position.step.numpy())
  return train(
    batches, train_step, first_step, config.max_steps, saver, logger, validation
  )


def train(
  batches, train_step, first_step, max_steps, saver, logger, validation
) -> int:
  """Trains, saves at the end, and says how it ended.

  Args:
    batches: an iterable of batches (readers.py).
    train_step: made by `make_train_step`.
    first_step: steps done before.
    max_steps: the step to stop at, or None.
    saver: `checkpoints.Saver`.
    logger: `Logger`.
    validation: `Validation`, or None.

  Returns:
    The program's exit code: 0, or 128 + signal where a signal stopped it.
  """
  with program.StopSignals() as stop, logger:
    step, outcome = training_loop(
      batches,
      train_step,
      first_step,
      max_steps,
      saver,
      logger,
      validation,
      stop,
    )
    if outcome is None:
      logger.note(f"Nothing left to train: step {step} was the last one.")
    else:
      if not logger.is_due(step):
        logger.log(step, outcome)
      if saver.save(step):
        logger.log_histograms(step, outcome)
    if stop.received:
      logger.note(f"Stopped by signal {stop.received}; step {step} is saved.")
      return program.exit_code(stop.received)
    if outcome is not None:
      logger.write_results(step, outcome)
      if validation:
        validation.run(step, logger)
    logger.note(f"Finished training at step {step}.")
  return 0


def training_loop(
  batches, train_step, step, max_steps, saver, logger, validation, stop
):
  """Runs the steps; returns the last step's number and outcome."""
  outcome = None
  try:
    for batch in batches:
      if stop.received or (max_steps and step >= max_steps):
        break
      if outcome is None:
        logger.log_graph(train_step.get_concrete_function(batch).graph)
      outcome = train_step(batch)
      step += 1
      logger.observe(step, outcome)
      if logger.is_due(step):
        logger.log(step, outcome)
      if saver.is_due() and saver.save(step):
        logger.log_histograms(step, outcome)
      if validation and validation.is_due(step):
        validation.run(step, logger)
  except checkpoints.DivergedError:
    raise
  except UserError:
    if outcome is not None:
      saver.save(step)  # A bad record costs nothing of what was learnt.
    raise
  return step, outcome


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
    A function from a batch to a dict: "loss" (without regularization),
    "regularization_loss" and "learning_rate", scalars; "scores" and "labels",
    [batch, num_classes], and "weights", [batch]. Scores are logits where the
    model has them, else predictions: what is only logged now and then need
    not be computed in every step.
  """
  num_replicas = strategy.num_replicas_in_sync
  compute_gradients = make_gradient_function(
    config, model, loss, num_replicas, jit_compile
  )
  update = make_update_function(
    config, model, optimizer, num_replicas, jit_compile
  )

  def replica_step(batch, num_videos):
    inputs = {key: batch[key] for key in ("features", "num_frames")}
    gradients, *outcome = compute_gradients(
      inputs, batch["labels"], batch["weights"], num_videos
    )
    context = tf.distribute.get_replica_context()
    update(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
    return outcome

  def whole(values):
    """The global batch of what is split over the replicas."""
    return tf.concat(strategy.experimental_local_results(values), axis=0)

  @tf.function
  def train_step(batch):
    rate = experiment.learning_rate(config, position.num_examples)
    optimizer.learning_rate.assign(rate)
    weights = whole(batch["weights"])
    num_videos = tf.reduce_sum(weights)
    label_loss, penalty, scores = strategy.run(
      replica_step, (batch, num_videos)
    )
    position.advance(whole(batch["epochs"]), weights)
    add_up = tf.distribute.ReduceOp.SUM
    return {
      "loss": strategy.reduce(add_up, label_loss, axis=None),
      "regularization_loss": strategy.reduce(add_up, penalty, axis=None),
      "learning_rate": rate,
      "scores": whole(scores),
      "labels": whole(batch["labels"]),
      "weights": weights,
    }

  return train_step


def make_gradient_function(config, model, loss, num_replicas, jit_compile):
  """A function from a replica's part of a batch to gradients and losses.

  XLA fuses what is elementwise around the matrix products. The all-reduce of
  several replicas is not in it, since it cannot be compiled.
  """

  @tf.function(jit_compile=jit_compile)
  def compute_gradients(inputs, labels, weights, num_videos):
    with tf.GradientTape() as tape:
      outputs = model(inputs, training=True)
      label_losses = experiment.label_losses(loss, outputs, labels)
      label_loss = tf.reduce_sum(label_losses * weights) / num_videos
      penalty = experiment.regularization_loss(model, outputs) / num_replicas
      objective = label_loss + config.regularization_penalty * penalty
    gradients = tape.gradient(objective, model.trainable_variables)
    scores = outputs.get("logits", outputs["predictions"])
    return gradients, label_loss, penalty, scores

  return compute_gradients


def make_update_function(config, model, optimizer, num_replicas, jit_compile):
  """A function that clips gradients and lets the optimizer apply them."""

  def update(gradients):
    if config.clip_gradient_norm > 0:
      gradients = [
        tf.clip_by_norm(gradient, config.clip_gradient_norm)
        for gradient in gradients
      ]
    # Keras adds up the replicas' gradients; they have been added up already.
    optimizer.apply(
      [gradient / num_replicas for gradient in gradients],
      model.trainable_variables,
    )

  if num_replicas > 1:
    return update
  return tf.function(update, jit_compile=jit_compile)


class Logger:
  """What a run shows: log lines or a progress bar, and TensorBoard events.

  Args:
    config: the run's configuration, shown as text.
    train_dir: where the events go.
    model: whose weights are shown as histograms.
    position: `checkpoints.Position`, which counts steps and videos.
    every_steps: steps between two log lines.
    total_steps: the estimated number of steps, for the progress bar.
  """

  def __init__(
    self, config, train_dir, model, position, every_steps, total_steps
  ):
    self._config = config
    self._train_dir = train_dir
    self._model = model
    self._position = position
    self._every_steps = every_steps
    self._total_steps = total_steps
    # Flushed when a checkpoint is saved: on gs:// each flush uploads the file.
    self._writer = tf.summary.create_file_writer(
      train_dir, max_queue=10_000, flush_millis=3_600_000
    )
    self._display = None
    self._unchecked = None
    self._last_finite_loss = None
    self._window = self._first_window = (0.0, 0)

  def __enter__(self):
    step = int(self._position.step.numpy())
    self._display = program.ProgressDisplay("step", self._total_steps, step)
    self._window = self._now()
    text = json.dumps(dataclasses.asdict(self._config), indent=2)
    with self._writer.as_default(step=step):
      tf.summary.text("configuration", f"```\n{text}\n```")
    return self

  def __exit__(self, *unused_error):
    self._writer.close()
    self._display.close()

  def note(self, line: str):
    """Shows a line that stays."""
    self._display.note(line)

  def is_due(self, step: int) -> bool:
    """Whether this step is to be logged."""
    return step % self._every_steps == 0

  def observe(self, step: int, outcome):
    """Takes note of every step; stops a run whose loss is not finite.

    It looks at the loss of the step before, which has been computed by now,
    so that nothing waits for the device. Weights are checked at each save.

    Raises:
      checkpoints.DivergedError: the loss of the step before was not finite.
    """
    if self._unchecked is None:
      # The first step is mostly compilation; the rate starts after it.
      self._first_window = self._now()
      if not self.is_due(step):
        self._window = self._first_window
    else:
      self._check_loss()
    self._unchecked = (step, outcome)

  def _check_loss(self):
    step, outcome = self._unchecked
    loss = float(outcome["loss"])
    if not np.isfinite(loss):
      raise checkpoints.DivergedError(
        f"The loss is {loss} at step {step} (learning rate "
        f"{float(outcome['learning_rate']):g}, last finite loss "
        f"{self._last_finite_loss}). What was saved before stays as it is. Try "
        "a lower --base_learning_rate."
      )
    self._last_finite_loss = loss

  def _now(self):
    return time.monotonic(), int(self._position.num_examples.numpy())

  def _examples_per_second(self, window) -> float:
    start, num_examples = window
    num_examples = int(self._position.num_examples.numpy()) - num_examples
    return num_examples / max(time.monotonic() - start, 1e-9)

  def log(self, step: int, outcome):
    """Shows a step's figures, and those of its batch as it was before it.

    Raises:
      checkpoints.DivergedError: the loss is not finite.
    """
    self._check_loss()
    metrics = batch_metrics(outcome)
    rate = self._examples_per_second(self._window)
    self._window = self._now()
    loss = float(outcome["loss"])
    line = (
      f"training step {step} | Loss: {loss:.2f} Examples/sec: {rate:.1f} | "
      f"Hit@1: {metrics['hit_at_one']:.2f} PERR: {metrics['perr']:.2f} "
      f"GAP: {metrics['gap']:.2f}"
    )
    self._display.show(
      step,
      line,
      loss=f"{loss:.2f}",
      gap=f"{metrics['gap']:.2f}",
      examples_per_sec=f"{rate:.0f}",
    )
    with self._writer.as_default(step=step):
      tf.summary.scalar("label_loss", loss)
      tf.summary.scalar("reg_loss", outcome["regularization_loss"])
      tf.summary.scalar("learning_rate", outcome["learning_rate"])
      tf.summary.scalar("model/Training_Hit@1", metrics["hit_at_one"])
      tf.summary.scalar("model/Training_Perr", metrics["perr"])
      tf.summary.scalar("model/Training_GAP", metrics["gap"])
      tf.summary.scalar("global_step/Examples/Second", rate)

  def write_results(self, step: int, outcome):
    """Writes `train_results.json`."""
    results = {
      "step": step,
      "num_examples": int(self._position.num_examples.numpy()),
      "loss": float(outcome["loss"]),
      "examples_per_second": self._examples_per_second(self._first_window),
    }
    utils.write_json(os.path.join(self._train_dir, RESULTS_FILE), results)

  def log_graph(self, graph):
    """Writes the graph of a step to TensorBoard."""
    with self._writer.as_default(step=0):
      tf.summary.graph(graph)

  def log_histograms(self, step: int, outcome):
    """Writes histograms of the weights and of a batch's predictions."""
    with self._writer.as_default(step=step):
      for variable in self._model.weights:
        tf.summary.histogram(f"weights/{variable.path}", variable)
      tf.summary.histogram("predictions", self._predictions(outcome["scores"]))
    self._writer.flush()

  def _predictions(self, scores):
    return tf.sigmoid(scores) if "logits" in self._model.output else scores


@tf.function
def _rank(scores, labels):
  return evaluation.rank(scores, labels, _METRICS_TOP_K)


def batch_metrics(outcome) -> dict[str, float]:
  """Hit@1, PERR and GAP of the batch that a step was trained on."""
  scores, labels = outcome["scores"], outcome["labels"]
  ranked = evaluation.to_ranked(
    _rank(scores, labels), int(tf.reduce_sum(outcome["weights"]))
  )
  metrics = eval_util.EvaluationMetrics(labels.shape[1], _METRICS_TOP_K)
  figures = metrics.accumulate_ranked(ranked, outcome["loss"].numpy())
  return {**figures, "gap": float(metrics.get()["gap"])}


class Validation:
  """Evaluation during training, which keeps the best model by GAP.

  Args:
    config: the run's configuration, saved beside the best model so that the
      folder is a train dir of its own for eval.py and inference.py.
    train_dir: the trainer's folder.
    model: the model that is trained.
    loss: the label loss.
    batches: the batches to evaluate on.
    every_steps: steps between two evaluations.
    jit_compile: whether to compile with XLA.
  """

  def __init__(
    self, config, train_dir, model, loss, batches, every_steps, jit_compile
  ):
    self._config = config
    self._model = model
    self._batches = batches
    self._every_steps = every_steps
    self._eval_dir = os.path.join(train_dir, evaluation.EVAL_DIR)
    self._best_dir = os.path.join(train_dir, BEST_DIR)
    self._best_results = os.path.join(self._best_dir, evaluation.RESULTS_FILE)
    self._saver = checkpoints.Saver(self._best_dir, model, max_to_keep=1)
    self._writer = tf.summary.create_file_writer(self._eval_dir)
    self._step = evaluation.make_evaluation_step(
      model, loss, _METRICS_TOP_K, jit_compile
    )
    self._last_step = None

  def is_due(self, step: int) -> bool:
    """Whether to evaluate after this step."""
    return step % self._every_steps == 0

  def run(self, step: int, logger: Logger):
    """Evaluates, unless this step has been, and keeps the model if best."""
    if step == self._last_step:
      return
    self._last_step = step
    checkpoints.check_finite(step, self._model)
    num_classes = self._config.num_classes
    results = evaluation.evaluate(
      self._step, self._batches, num_classes, _METRICS_TOP_K
    )
    logger.note(evaluation.summary_line(step, results, num_classes))
    evaluation.write_results(self._eval_dir, self._writer, step, results)
    if results["gap"] > self._best_gap():
      utils.make_folder(self._best_dir, "train_dir")
      self._config.save(self._best_dir)
      self._saver.save(step)
      utils.write_json(self._best_results, {"step": step, **results})
      logger.note(f"Best GAP so far; kept in {self._best_dir}.")

  def _best_gap(self) -> float:
    if not tf.io.gfile.exists(self._best_results):
      return -1.0
    return float(utils.read_json(self._best_results)["gap"])


def make_validation(config, model, loss) -> Validation | None:
  """What `--eval_data_pattern` asks for; None where it is not given."""
  if FLAGS.eval_data_pattern is None:
    return None
  shards, reader = experiment.open_shards(
    config, FLAGS.eval_data_pattern, "eval_data_pattern", FLAGS.num_readers
  )
  return Validation(
    config,
    FLAGS.train_dir,
    model,
    loss,
    reader.evaluation_batches(shards, config.batch_size),
    FLAGS.eval_every_steps,
    FLAGS.jit_compile,
  )


def prepare_config(
  train_dir: str, shards
) -> tuple[experiment.ExperimentConfig, readers.Schema]:
  """The run's configuration and how its shards are laid out.

  Raises:
    UserError: flags, train dir and data contradict each other.
  """
  given = experiment.given_flags(_CONFIG_NAMES)
  saved = None
  # A run that failed before its first checkpoint binds nobody.
  if checkpoints.latest_checkpoint(train_dir):
    if not experiment.has_model(train_dir):
      raise UserError(
        f"--train_dir={train_dir!r} has a checkpoint but no "
        f"{experiment.CONFIG_FILE}, so it cannot be resumed. Use another "
        "folder, or --start_new_model."
      )
    saved = experiment.ExperimentConfig.load(train_dir)
  names = given.get("feature_names", saved.feature_names if saved else None)
  schema = readers.detect_schema(shards, names)
  experiment.check_labels(schema, "train_data_pattern")
  config = experiment.resolve_config(given, saved, schema)
  if config.seed is None:
    config = dataclasses.replace(config, seed=secrets.randbelow(2**31))
  return config, schema


def delete_model(train_dir: str):
  """Deletes what a trainer wrote to a folder, and nothing else."""
  best_dir = os.path.join(train_dir, BEST_DIR)
  for folder in (train_dir, best_dir):
    for pattern in (*_WRITTEN_FILES, evaluation.RESULTS_FILE):
      for path in tf.io.gfile.glob(os.path.join(folder, pattern)):
        tf.io.gfile.remove(path)


def choose_strategy(num_gpu: int | None) -> tf.distribute.Strategy:
  """One replica for each GPU that is to be used.

  Raises:
    UserError: more GPUs were asked for than there are.
  """
  visible = tf.config.list_physical_devices("GPU")
  wanted = len(visible) if num_gpu is None else num_gpu
  if wanted > len(visible):
    raise UserError(f"--num_gpu={num_gpu}, but {len(visible)} are visible.")
  tf.config.set_visible_devices(visible[:wanted], "GPU")
  if wanted > 1:
    return tf.distribute.MirroredStrategy()
  return tf.distribute.get_strategy()


def estimate_steps(config, shards, record_bytes: int) -> int:
  """About how many steps a run will have, from the sizes of a few shards."""
  sample = shards[:: max(1, len(shards) // 16)]
  num_bytes = sum(tf.io.gfile.stat(shard).length for shard in sample)
  num_videos = num_bytes / len(sample) * len(shards) / record_bytes
  steps = max(1, round(num_videos * config.num_epochs / config.batch_size))
  return min(steps, config.max_steps or steps)


if __name__ == "__main__":
  run()
