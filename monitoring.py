# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Log lines, TensorBoard events, results and the best model of a run."""

import contextlib
import dataclasses
import json
import os
import re
import time

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging
from tensorboard.plugins.histogram import metadata as histogram_metadata

import checkpoints
import cluster
import eval_util
import evaluation
import experiment
import exporting
import train_dir as train_dirs
import utils
from config import ExperimentConfig, ExportSettings, TrainSettings
from vocabulary import read_names

_TOP_K = 20
# How the names of the weights of the last layers begin.
_HEAD = {"logits", "gates", "experts"}
# TensorBoard's tag of each figure of a batch.
_TAGS = {
  "auxiliary_loss": "auxiliary_loss",
  "loss_scale": "loss_scale",
  "hit_at_one": "model/Training_Hit@1",
  "perr": "model/Training_Perr",
  "gap": "model/Training_GAP",
}
# What `--best_metric` is called in results.
_METRICS = {
  "GAP": "gap",
  "MAP": "map",
  "Hit@1": "hit_at_one",
  "PERR": "perr",
  "MAP@K": "map_at_k",
  "loss": "loss",
}
_PIECE = 2**16  # Numbers that a histogram looks at together.
_NUM_BUCKETS = 30  # As tf.summary.histogram.
# Seconds between two flushes on gs://, where each uploads all events again.
_CLOUD_FLUSH_SECS = 30.0


class NoBooks:
  """`Books` of a worker that is not the chief: they do nothing."""

  def __enter__(self):
    return self

  def __exit__(self, *unused_error):
    pass

  def before(self, step: int, train_step, *inputs):
    """See `Books`."""

  def after(self, step: int, outcome, stop: program.StopSignals):
    """See `Books`."""

  def save_what_was_learnt(self):
    """See `Books`."""

  def finish(self, stop: program.StopSignals):
    """See `Books`."""


class Books:
  """The chief's work around the steps: it logs, saves and validates.

  It begins with the train dir's latest checkpoint, if there is one.

  Args:
    config: the run's configuration.
    run: the program's.
    folder: the train dir, held by this trainer.
    state: model, optimizer and position (`train.TrainState`).
    total_steps: the estimated number of steps, for the progress bar.

  Raises:
    UserError: the folder cannot be read or written, or the shards to evaluate
      on while training cannot be read.
  """

  def __init__(
    self,
    config: ExperimentConfig,
    run: experiment.Run,
    folder: train_dirs.TrainDir,
    state,
    total_steps: int,
  ):
    settings = self._settings = run.settings
    if settings.export_best:  # What is wrong shows now, not at the end.
      _check_export(settings, config)
    self._position = state.position
    self._outcome = None
    self._validation = None
    batches = None
    if settings.eval_data_pattern is not None:
      batches = experiment.open_batches(
        config,
        run,
        "eval_data_pattern",
        config.batch_size,
        is_divided=False,
        fold=experiment.fold_of(config),
        of_segments=config.segment_labels,
      )
    is_new = settings.start_new_model or not train_dirs.can_resume(folder.path)
    if settings.init_from and is_new:
      take_weights(state.model, config, settings.init_from)
    folder.check()  # Time has passed: who started in the same moment shows.
    if settings.start_new_model:
      folder.delete_model()  # Only now that nothing is wrong.
      if run.left_out:
        run.left_out.forget_earlier_runs()
    # The averages, where there are some, are one more part of a checkpoint.
    averages = {"averages": state.averages} if state.averages else {}
    scale = {"loss_scale": state.loss_scale} if state.loss_scale else {}
    states = checkpoints.random_states(state.model)
    random_states = {"random_states": states} if states else {}
    if batches:
      self._validation = Validation(
        config, run, folder, state.model, batches, **averages
      )
    self._saver = checkpoints.Saver(
      folder.path,
      state.model,
      settings.max_to_keep,
      settings.save_checkpoint_secs,
      config=config,
      lock=folder,
      optimizer=state.optimizer,
      position=state.position,
      **averages,
      **scale,
      **random_states,
    )
    self._logger = Logger(
      config, folder.path, state, settings.log_every_steps, total_steps
    )
    self._profiler = Profiler(folder.path, settings.profile_steps)
    if resumed := self._saver.restore_latest():
      logging.info("Resuming from %s.", resumed)
    else:
      config.save(folder.path)

  def __enter__(self):
    self._logger.open()
    return self

  def __exit__(self, *unused_error):
    self._profiler.close()
    self._logger.close()

  def before(self, step: int, train_step, *inputs):
    """Call it before each step, with what the step is called with."""
    self._logger.before(step, train_step, *inputs)
    self._profiler.before(step)

  def after(self, step: int, outcome, stop: program.StopSignals):
    """Call it after each step: logs, saves and validates when due.

    A signal ends an evaluation early.

    Raises:
      checkpoints.DivergedError: the loss or a weight is not finite.
      UserError: the folder cannot be written.
    """
    self._profiler.after(step)
    self._outcome = outcome
    self._logger.after(step, outcome)
    validates = self._validation and self._validation.is_due(step)
    # Saved before an evaluation too, which may take long.
    if self._saver.is_due() or validates:
      self._save(step)
    if validates:
      self._validation.run(step, self._logger, stop)

  def _save(self, step: int):
    self._logger.check_loss()
    if self._saver.save(step):
      self._logger.log_histograms(step, self._outcome)

  def save_what_was_learnt(self):
    """Saves the last step, where the run ends with an error of the data."""
    if self._outcome is not None:
      self._saver.save(int(self._position.step.numpy()))

  def finish(self, stop: program.StopSignals):
    """Logs, saves and validates the last step, and says how the run ended.

    Exports the best model, if asked to, unless a signal ends the run.

    Raises:
      checkpoints.DivergedError, UserError: as `after`.
    """
    step, logger = int(self._position.step.numpy()), self._logger
    if self._outcome is not None:
      logger.log(step, self._outcome)  # Before saving, whose time is no step's.
      self._save(step)
      logger.write_results(step, self._outcome)
      if self._validation:
        self._validation.run(step, logger, stop)
    if self._settings.export_best and not stop.received:
      folder = self._settings.train_dir
      export_dir = os.path.join(folder, train_dirs.EXPORT_DIR)
      exporting.export(
        ExportSettings(
          train_dir=folder,
          export_dir=export_dir,
          checkpoint_step="best",
          vocabulary_file=self._settings.vocabulary_file,
        ),
        replaces=True,
      )
    if stop.received:
      saved = f"step {step} is saved" if step else "there was nothing to save"
      logger.note(f"Stopped by signal {stop.received}; {saved}.")
    elif self._outcome is None:
      logger.note(f"Nothing left to train: step {step} was the last one.")
    else:
      logger.note(f"Finished training at step {step}.")


def _check_export(settings: TrainSettings, config: ExperimentConfig):
  """Raises a UserError if the best model could not be exported."""
  if settings.vocabulary_file:
    read_names(settings.vocabulary_file, config.num_classes)
  place = os.path.join(settings.train_dir, train_dirs.EXPORT_DIR)
  if utils.exists(place) and not exporting.is_export(place):
    raise UserError(
      f"--export_best would replace {place!r}, which it has not written. Move "
      "it elsewhere."
    )


def take_weights(model, config: ExperimentConfig, source: str):
  """Gives a new model the weights of a trained one that fit (`--init_from`).

  Args:
    model: of `config`.
    config: that of the new run.
    source: a train dir, or a checkpoint in one.

  Raises:
    UserError: there is no such model, it reads other features, or no weight of
      it fits but those of the last layer.
  """
  flag, folder, step = f"--init_from={source!r}", source.rstrip("/"), None
  if match := re.fullmatch(r"(.*)/model\.ckpt-(\d+)(?:\.index)?", source):
    folder, step = match.groups()
  if not train_dirs.has_model(folder):
    raise UserError(
      f"{flag}: {folder!r} has no {train_dirs.CONFIG_FILE}: no model was "
      "trained there."
    )
  trained_config = ExperimentConfig.load(folder)
  if trained_config.forms != config.forms:
    theirs, ours = (
      ", ".join(f"{name} {form.size}" for name, form in some.forms.items())
      for some in (trained_config, config)
    )
    raise UserError(
      f"{flag} reads the features {theirs}, but this run {ours}. Choose them "
      "with --feature_names."
    )
  trained = experiment.build_model(trained_config)
  try:
    path = checkpoints.restore_chosen_model(trained, folder, step)
  except UserError as error:
    raise UserError(f"{flag}: {error}") from error
  known, named = map(checkpoints.weights_by_name, (trained, model))
  fitting = {
    name
    for name, weight in named.items()
    if name in known and known[name].shape == weight.shape
  }
  inner = {n for n in {**known, **named} if _HEAD.isdisjoint(n.split("/"))}
  if not fitting or (inner and not fitting & inner):
    raise UserError(
      f"{flag}: no weight of that model fits but those of the last layer. It "
      f"is a {trained_config.model} with {', '.join(known)}; this one is a "
      f"{config.model} with {', '.join(named)}."
    )
  for name, weight in named.items():
    if name in fitting:
      weight.assign(known[name])
    else:
      there = (
        f"has shape {tuple(known[name].shape)}"
        if name in known
        else "is missing"
      )
      logging.info(
        "New: %s of shape %s, which %s there.", name, tuple(weight.shape), there
      )
  logging.info("Took %d of %d weights from %s.", len(fitting), len(named), path)


class Logger:
  """Log lines or a progress bar, and TensorBoard events of training.

  Args:
    config: the run's configuration, shown as text.
    train_dir: where the events go.
    state: model, whose weights are shown, and position.
    every_steps: steps between two log lines.
    total_steps: the estimated number of steps, for the progress bar.
  """

  def __init__(self, config, train_dir, state, every_steps, total_steps):
    self._config = config
    self._model = state.model
    self._position = state.position
    self._every_steps = every_steps
    self._total_steps = total_steps
    is_local = utils.is_local(train_dir)
    self._events = evaluation.Events(
      train_dir, flush_secs=0.0 if is_local else _CLOUD_FLUSH_SECS
    )
    self._display = None
    self._num_steps = 0
    self._unchecked = None  # Step and outcome.
    self._logged_step = None
    self._last_finite_loss = None
    # Time and videos at the start of the run, and at the last log line.
    self._run_start = self._window_start = (0.0, 0)
    self._rate_of_run = 0.0

  def open(self):
    """Begins the display."""
    step = int(self._position.step.numpy())
    self._display = program.ProgressDisplay("step", self._total_steps, step)
    self._run_start = self._window_start = self._now()

  def close(self):
    """Leaves the terminal as it was, and completes the events."""
    self._display.close()
    self._events.close()

  def note(self, line: str):
    """Shows a line that stays."""
    self._display.note(line)

  def before(self, step: int, train_step, *inputs):
    """Call it before each step; the first shows what is to be run."""
    if self._num_steps == 0:
      text = json.dumps(dataclasses.asdict(self._config), indent=2)
      graph = train_step.get_concrete_function(*inputs).graph
      with self._events.of_step(step - 1):
        tf.summary.text("configuration", f"```\n{text}\n```")
        tf.summary.graph(graph)
    elif self._num_steps == 1:
      # The first step is mostly compilation; the rates start after it.
      self._run_start = self._window_start = self._now()
    self._num_steps += 1

  def after(self, step: int, outcome):
    """Call it after each step; logs it when due.

    It looks at the loss of the step before, which has been computed by now,
    so that nothing waits for the device. Weights are checked at each save.

    Raises:
      checkpoints.DivergedError: a loss was not finite.
    """
    if self._unchecked:
      self.check_loss()
    self._unchecked = (step, outcome)
    if step % self._every_steps == 0:
      self.log(step, outcome)

  def check_loss(self):
    """Looks at the loss of the last step.

    Raises:
      checkpoints.DivergedError: it is not finite.
    """
    step, outcome = self._unchecked
    loss = float(outcome.losses["loss"])
    if not np.isfinite(loss):
      raise checkpoints.DivergedError(
        f"The loss is {loss} at step {step} (learning rate "
        f"{float(outcome.learning_rate):g}, last finite loss "
        f"{self._last_finite_loss}). What was saved before stays as it is. Try "
        "a lower --base_learning_rate."
      )
    self._last_finite_loss = loss

  def log(self, step: int, outcome):
    """Shows a step's figures, unless it has: those of the model before it.

    Raises:
      checkpoints.DivergedError: the loss is not finite.
    """
    if step == self._logged_step:
      return
    self._logged_step = step
    self.check_loss()
    rate = self._videos_per_second(self._window_start)
    self._rate_of_run = self._videos_per_second(self._run_start)
    self._window_start = self._now()
    losses = {name: float(value) for name, value in outcome.losses.items()}
    line = (
      f"training step {step} | Loss: {losses['loss']:.2f} "
      f"Examples/sec: {rate:.1f}"
    )
    shown = {"loss": f"{losses['loss']:.2f}", "examples_per_sec": f"{rate:.0f}"}
    metrics = batch_metrics(outcome)
    if metrics:
      line += (
        f" | Hit@1: {metrics['hit_at_one']:.2f} PERR: {metrics['perr']:.2f} "
        f"GAP: {metrics['gap']:.2f}"
      )
      shown["gap"] = f"{metrics['gap']:.2f}"
    self._display.show(step, line, **shown)
    penalty = float(experiment.weight_penalty(self._model))  # After the step.
    scalars = {
      "label_loss": losses["loss"],
      "reg_loss": penalty + losses["regularization_loss"],
      "learning_rate": float(outcome.learning_rate),
      "global_step/Examples/Second": rate,
    }
    figures = {**losses, **(metrics or {})}
    scalars |= {
      tag: figures[name] for name, tag in _TAGS.items() if name in figures
    }
    self._events.add_scalars(step, scalars)

  def _now(self):
    return time.monotonic(), int(self._position.num_examples.numpy())

  def _videos_per_second(self, start) -> float:
    seconds, num_videos = np.subtract(self._now(), start)
    return float(num_videos / max(seconds, 1e-9))

  def write_results(self, step: int, outcome):
    """Writes `train_results.json`."""
    results = {
      "step": step,
      "num_examples": int(self._position.num_examples.numpy()),
      "loss": float(outcome.losses["loss"]),
      "examples_per_second": self._rate_of_run,
    }
    utils.write_json(
      os.path.join(self._events.folder, train_dirs.TRAIN_RESULTS_FILE), results
    )

  def log_histograms(self, step: int, outcome):
    """Writes histograms of the weights and of a batch's predictions."""
    predictions = tf.cast(outcome.scores, tf.float32)
    if "logits" in self._model.output:
      predictions = tf.sigmoid(predictions)
    with self._events.of_step(step):
      for variable in self._model.weights:
        _write_histogram(f"weights/{variable.path}", variable)
      _write_histogram("predictions", predictions)


def _write_histogram(tag: str, values):
  """A histogram made in numpy: tf.summary's takes 240 bytes for each value."""
  numbers = np.asarray(tf.cast(values, tf.float32)).ravel()
  counts, edges = histogram(numbers)
  buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
  tf.summary.write(
    tag,
    tf.constant(buckets, tf.float64),
    metadata=histogram_metadata.create_summary_metadata(None, None),
  )


def histogram(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Counts finite numbers in buckets of one width, from the least to the most.

  Args:
    numbers: [N] float32.

  Returns:
    [buckets] counts and [buckets + 1] edges; one empty bucket of no number.
  """
  # In pieces: a mask and a copy of the whole would take more than it does.
  starts = range(0, numbers.size, _PIECE)
  pieces = (numbers[start : start + _PIECE] for start in starts)
  low, high = np.inf, -np.inf
  for piece in pieces:
    is_finite = np.isfinite(piece)
    low = float(piece.min(initial=low, where=is_finite))
    high = float(piece.max(initial=high, where=is_finite))
  if low > high:
    return np.zeros(1), np.array([0.0, 1.0])
  counts, edges = 0, np.array([])
  for start in starts:
    piece = numbers[start : start + _PIECE]
    piece_counts, edges = np.histogram(
      piece[np.isfinite(piece)], _NUM_BUCKETS, (low, high)
    )
    counts = counts + piece_counts
  return counts, edges


class Profiler:
  """Traces some steps, for TensorBoard's profile plugin.

  Args:
    train_dir: the trace goes to its folder `plugins/profile`.
    steps: the first and the last step to trace; an empty tuple traces none.
  """

  def __init__(self, train_dir: str, steps: tuple[int, ...] = ()):
    self._train_dir = train_dir
    self._steps = steps
    self._is_running = False
    self._traced_step = contextlib.ExitStack()

  def before(self, step: int):
    """Call it before each step."""
    if not self._steps or not self._steps[0] <= step <= self._steps[1]:
      return
    if not self._is_running:
      try:
        tf.profiler.experimental.start(self._train_dir)
      except tf.errors.OpError as error:  # Another one runs, for instance.
        logging.warning("No trace: %s", utils.error_text(error))
        self._steps = ()
        return
      self._is_running = True
    # _r=1 marks a root of the trace: TensorBoard counts time by these steps.
    self._traced_step.enter_context(
      tf.profiler.experimental.Trace("train", step_num=step, _r=1)
    )

  def after(self, step: int):
    """Call it after each step."""
    self._traced_step.close()
    if self._is_running and step == self._steps[1]:
      self._stop()

  def close(self):
    """Ends a trace that the run has not come to the end of."""
    if self._is_running:
      self._stop()
    elif self._steps:
      logging.warning(
        "No trace: the run had none of the steps %d to %d.", *self._steps
      )

  def _stop(self):
    self._is_running, self._steps = False, ()
    folder = os.path.join(self._train_dir, "plugins", "profile")
    try:
      tf.profiler.experimental.stop()
      logging.info("Wrote a trace to %s.", folder)
    except tf.errors.OpError as error:  # Days of training are worth more.
      logging.warning("No trace in %s: %s", folder, utils.error_text(error))


def batch_metrics(outcome) -> dict[str, float] | None:
  """Hit@1, PERR and GAP of this worker's rows of a step; None without rows."""
  num_rows = int(np.count_nonzero(outcome.weights.numpy()))
  if not num_rows:
    return None
  scores = tf.cast(outcome.scores, tf.float32).numpy()[:num_rows]
  labels = outcome.labels.numpy()[:num_rows]
  if outcome.label_weights is not None:
    label_weights = outcome.label_weights.numpy()[:num_rows]
    scores = eval_util.of_rated_classes(scores, label_weights)
  metrics = eval_util.EvaluationMetrics(labels.shape[1], _TOP_K)
  figures = metrics.accumulate(scores, labels, outcome.losses["loss"].numpy())
  return {**figures, "gap": float(metrics.get()["gap"])}


class Validation:
  """Evaluation while training, which keeps the best model by GAP.

  Args:
    config: the run's configuration, saved beside the best model so that the
      folder is a train dir of its own for eval.py and inference.py.
    run: the program's.
    folder: the train dir, held by this trainer.
    model: the model that is trained. Where it computes in mixed precision, one
      in float32 with its weights is evaluated, as eval.py does.
    batches: the batches to evaluate on.
    averages: of the model's weights, which are evaluated where there are some.

  Raises:
    UserError: a folder cannot be written, or the best model so far is damaged.
  """

  def __init__(
    self,
    config: ExperimentConfig,
    run: experiment.Run,
    folder: train_dirs.TrainDir,
    model,
    batches,
    averages: checkpoints.Averages | None = None,
  ):
    self._config = config
    self._averages = averages
    # The other workers do not evaluate, and the trainer checks bad records.
    self._run = run._replace(workers=cluster.alone(), left_out=None)
    self._model = model
    self._batches = batches
    self._every_steps = run.settings.eval_every_steps
    self._last_step = None
    self._events = evaluation.Events(
      os.path.join(folder.path, train_dirs.EVAL_DIR)
    )
    self._best_dir = os.path.join(folder.path, train_dirs.BEST_DIR)
    self._best_results = os.path.join(
      self._best_dir, train_dirs.EVAL_RESULTS_FILE
    )
    parts = {"averages": averages} if averages else {}
    self._saver = checkpoints.Saver(
      self._best_dir, model, max_to_keep=1, config=config, lock=folder, **parts
    )
    self._metric = run.settings.best_metric
    if self._metric == "MAP@K" and not config.segment_labels:
      raise UserError(
        "--best_metric=MAP@K is a figure of segments: give --segment_labels, "
        "too, or another metric."
      )
    self._best = self._read_best()
    self._patience = run.settings.early_stop_evals
    self._num_worse = 0  # Evaluations since the best one.
    if train_dirs.has_model(self._best_dir):
      self._saver.tidy(newer_too=False)
    jit_compile = run.settings.jit_compile
    if config.mixed_precision or averages:
      model = experiment.build_model(config, jit_compile=jit_compile)
    self._predictor = evaluation.Predictor(
      model, experiment.build_loss(config), jit_compile=jit_compile
    )

  def is_due(self, step: int) -> bool:
    """Whether to evaluate after this step."""
    return step % self._every_steps == 0

  def run(self, step: int, logger: Logger, stop: program.StopSignals):
    """Evaluates, unless this step has been, and keeps the model if best.

    A signal ends it without a result.

    Raises:
      checkpoints.DivergedError: the weights are not finite.
      UserError: the data cannot be read, or the folder not written.
    """
    if step == self._last_step:
      return
    self._last_step = step
    checkpoints.check_finite(step, self._model)
    if self._averages:
      self._averages.copy_to(self._predictor.model)
    elif self._config.mixed_precision:
      self._predictor.model.set_weights(self._model.get_weights())
    num_classes = self._config.num_classes
    results = evaluation.evaluate(
      self._predictor,
      self._batches,
      num_classes,
      _TOP_K,
      self._run,
      should_stop=lambda: stop.received is not None,
    )
    if results is None:
      return
    logger.note(evaluation.summary_line(step, results, num_classes))
    value = results[_METRICS[self._metric]]
    self._num_worse += 1
    if self._is_better(value):
      self._num_worse = 0
      utils.make_folder(self._best_dir, "train_dir")
      self._saver.save(step)
      utils.write_json(self._best_results, {"step": step, **results})
      self._best = value
      logger.note(f"Best {self._metric} so far; kept in {self._best_dir}.")
    evaluation.write_results(self._events, step, results)
    if self._patience and self._num_worse >= self._patience:
      stop.is_enough = True
      logger.note(
        f"No better {self._metric} in {self._num_worse} evaluations: training "
        "ends (--early_stop_evals)."
      )

  def _is_better(self, value: float) -> bool:
    if self._best is None:
      return True
    return value < self._best if self._metric == "loss" else value > self._best

  def _read_best(self) -> float | None:
    """The metric of the best model so far; None if there is none.

    If the file that says so is damaged, that is a UserError: to go on as if
    there were none would replace the best model with any other.
    """
    if not utils.exists(self._best_results):
      return None
    results = utils.read_json(self._best_results)
    name = _METRICS[self._metric]
    value = results.get(name) if isinstance(results, dict) else None
    highest = float("inf") if name == "loss" else 1.01
    if type(value) not in (int, float) or not 0 <= value < highest:
      raise UserError(
        f"{self._best_results!r} does not say how good the best model is: it "
        f"has no {name} from 0 to 1. Move {self._best_dir!r} to another place."
      )
    return float(value)
