# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of train.py: whole runs, and the step and the validation by themselves.

Runs that do the same work are compared bit by bit: on one machine, with one
seed, nothing in a run is left to chance.
"""

import json
import math
import pathlib
import re
import shutil
import signal
import time

import program
from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf

import checkpoints
import cluster
import config
import evaluation
import experiment
import models
import monitoring
import readers
import train
import train_dir as train_dirs
from config import ExperimentConfig

LOG_LINE = re.compile(
  r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO training step (?P<step>\d+) \| "
  r"Loss: (?P<loss>\d+\.\d\d) Examples/sec: \d+\.\d \| "
  r"Hit@1: [01]\.\d\d PERR: [01]\.\d\d GAP: [01]\.\d\d$",
  re.MULTILINE,
)
# Of the model in `Run`.
LEARNING_RATE = 1.0
L2_PENALTY = 0.5
REGULARIZATION_PENALTY = 0.3


def saved_values(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Everything numerical in a checkpoint, by its key there."""
  reader = tf.train.load_checkpoint(str(path))
  return {
    key: reader.get_tensor(key)
    for key in reader.get_variable_to_shape_map()
    if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
  }


def saved_position(path: str | pathlib.Path) -> dict[str, int]:
  values = saved_values(path)
  names = ("step", "num_examples", "passes", "steps_in_pass")
  return {
    name: int(values[f"position/{name}/.ATTRIBUTES/VARIABLE_VALUE"])
    for name in names
  }


def latest(train_dir: pathlib.Path) -> str:
  return checkpoints.latest_checkpoint(str(train_dir))


def copied(train_dir: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(train_dir, tmp_path / "copy"))


def checkpoint_files(train_dir: pathlib.Path) -> dict[str, bytes]:
  paths = [train_dir / "checkpoint", *train_dir.glob("model.ckpt-*")]
  return {path.name: path.read_bytes() for path in paths}


class TestFinishedRun:
  def test_steps_are_videos_times_epochs_by_batch_size(self, trained_video):
    assert trained_video.num_steps == 10 * math.ceil(121 / 16)
    last = f"Finished training at step {trained_video.num_steps}."
    assert trained_video.result.stderr.rstrip().endswith(last)

  def test_every_line_it_writes_is_known(self, trained_video):
    lines = trained_video.result.stderr.splitlines()
    assert trained_video.result.stdout == ""
    assert re.search(r" INFO Training on (GPU|\d+ CPU core)", lines[0])
    # 24 features and 25 classes: 24 * 25 weights and 25 biases.
    assert lines[1].endswith(" INFO Model: LogisticModel, 625 parameters.")
    assert re.search(r"INFO Batch: 16 videos, about 0\.8 GB of mem", lines[2])
    matches = [LOG_LINE.match(line) for line in lines[3:-1]]
    steps = [int(match["step"]) for match in matches]
    # Every tenth.
    assert steps == [*range(10, 81, 10)]

  @pytest.mark.parametrize("kind", ["trained_video", "trained_frame"])
  def test_loss_falls(self, kind, request):
    trained = request.getfixturevalue(kind)
    losses = [
      float(match["loss"]) for match in LOG_LINE.finditer(trained.result.stderr)
    ]
    assert max(losses[-2:]) < 0.95 * losses[0]

  def test_files(self, trained_video):
    last = f"model.ckpt-{trained_video.num_steps}"
    names = {path.name for path in trained_video.train_dir.iterdir()}
    (events,) = (name for name in names if name.startswith("events.out.tfev"))
    assert names - {events, "eval"} == {
      *("checkpoint", f"{last}.index", f"{last}.data-00000-of-00001"),
      *("model_flags.json", "train_results.json"),
    }

  def test_last_step_is_saved_with_its_position(self, trained_video):
    path = latest(trained_video.train_dir)
    assert checkpoints.step_of(path) == trained_video.num_steps
    # The last batch is a partial one: its padding is no video.
    assert saved_position(path) == {
      "step": trained_video.num_steps,
      "num_examples": 10 * 121,
      # All is done: a run that goes on need not read to find that out.
      "passes": 10,
      "steps_in_pass": 0,
    }

  def test_configuration_is_saved_whole(self, trained_frame):
    text = (trained_frame.train_dir / "model_flags.json").read_text()
    assert json.loads(text) == {
      "model": "FrameLevelLogisticModel",
      "model_kwargs": {
        "l2_penalty": 1e-8,
        "labels_per_video": 3.0,
        "iterations": 0,
        "sample_random_frames": True,
      },
      "segment_labels": False,
      "segment_context": 0,
      "unrated_weight": 0.0,
      "num_classes": 12,
      "feature_names": ["rgb", "audio"],
      "feature_sizes": [16, 8],
      "feature_kinds": ["codes", "codes"],
      "freeze": [],
      "folds": None,
      "fold": None,
      "frame_features": True,
      "max_frames": 300,
      "label_loss": "CrossEntropyLoss",
      "label_loss_kwargs": {"label_smoothing": 0.0},
      "batch_size": 16,
      "num_epochs": 10,
      "max_steps": None,
      "base_learning_rate": 0.01,
      "learning_rate_decay": 0.95,
      "learning_rate_decay_examples": 4_000_000,
      "learning_rate_schedule": "staircase",
      "learning_rate_warmup_examples": 0,
      "weight_decay": None,
      "ema_decay": None,
      "regularization_penalty": 1.0,
      "optimizer": "AdamOptimizer",
      "clip_gradient_norm": 1.0,
      "mixed_precision": None,
      "seed": 3,
    }

  def test_results_are_written(self, trained_video):
    text = (trained_video.train_dir / "train_results.json").read_text()
    results = json.loads(text)
    assert results["step"] == trained_video.num_steps
    assert results["num_examples"] == 10 * 121
    assert 0 < results["loss"] < math.inf
    assert results["examples_per_second"] > 0


class TestResume:
  def test_stopped_run_ends_with_the_weights_of_one_that_was_not(
    self, trained_video, fork_program, tmp_path
  ):
    flags = (f"--train_dir={tmp_path}", *trained_video.flags)
    stopped = fork_program("train", *flags, "--max_steps=29")
    assert "Finished training at step 29." in stopped.stderr
    assert saved_position(latest(tmp_path)) == {
      "step": 29,
      # Three passes of 8 steps, and 5 more.
      "num_examples": 3 * 121 + 5 * 16,
      "passes": 3,
      "steps_in_pass": 5,
    }

    resumed = fork_program("train", *flags)
    assert f"Resuming from {tmp_path}/model.ckpt-29." in resumed.stderr
    values = saved_values(latest(tmp_path))
    expected = saved_values(latest(trained_video.train_dir))
    del values["save_counter/.ATTRIBUTES/VARIABLE_VALUE"]
    del expected["save_counter/.ATTRIBUTES/VARIABLE_VALUE"]
    assert values.keys() == expected.keys()
    for key in expected:
      np.testing.assert_array_equal(values[key], expected[key], err_msg=key)

  def test_finished_run_goes_on_only_when_there_are_more_epochs(
    self, trained_video, fork_program, tmp_path
  ):
    train_dir = copied(trained_video.train_dir, tmp_path)
    before = checkpoint_files(train_dir)
    flags = (f"--train_dir={train_dir}", *trained_video.flags)

    result = fork_program("train", *flags)
    last = f"Nothing left to train: step {trained_video.num_steps} was the last"
    assert last in result.stderr
    assert checkpoint_files(train_dir) == before

    fork_program("train", *flags, "--num_epochs=11")
    position = saved_position(latest(train_dir))
    # The 10 epochs ended with a partial batch; the new one has its own.
    assert position["step"] == trained_video.num_steps + math.ceil(121 / 16)
    assert (position["passes"], position["num_examples"]) == (11, 11 * 121)

  def test_start_new_model_deletes_only_what_a_trainer_wrote(
    self, trained_video, fork_program, tmp_path
  ):
    train_dir = copied(trained_video.train_dir, tmp_path)
    (train_dir / "mine").mkdir()
    others = [
      train_dir / "notes.txt",
      train_dir / "events.csv",
      train_dir / "mine" / "model.ckpt-76.index",
      train_dir / "mine" / "checkpoint",
    ]
    for path in others:
      path.write_text("mine")
    old_events = {path.name for path in train_dir.glob("events.out.*")}

    fork_program(
      "train",
      f"--train_dir={train_dir}",
      *trained_video.flags,
      "--start_new_model",
      "--max_steps=2",
      # May change, since the model is a new one.
      "--model_kwargs={}",
      "--seed=4",
    )
    assert [path.read_text() for path in others] == ["mine"] * len(others)
    assert saved_position(latest(train_dir))["step"] == 2
    assert {path.name for path in train_dir.glob("model.ckpt*")} == {
      *("model.ckpt-2.index", "model.ckpt-2.data-00000-of-00001")
    }
    events = {path.name for path in train_dir.glob("events.out.*")}
    assert len(events) == 1
    assert not events & old_events

  @pytest.mark.parametrize(
    "wrong",
    [
      *("--model=Typo", "--optimizer=Typo", "--label_smoothing=2"),
      "--eval_data_pattern=typo*",
    ],
  )
  def test_a_wrong_flag_deletes_nothing(
    self, trained_video, fork_program, tmp_path, wrong
  ):
    train_dir = copied(trained_video.train_dir, tmp_path)
    before = checkpoint_files(train_dir)
    result = fork_program(
      "train",
      f"--train_dir={train_dir}",
      *trained_video.flags,
      "--start_new_model",
      wrong,
      check=False,
    )
    assert result.returncode == 1
    assert before
    assert checkpoint_files(train_dir) == before


@pytest.mark.parametrize(
  ("signum", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_signal_saves_the_step_that_was_under_way(
  signum, exit_code, trained_video, start_program, tmp_path
):
  process = start_program(
    "train",
    f"--train_dir={tmp_path}",
    *trained_video.flags,
    "--num_epochs=30000",
    "--save_checkpoint_secs=3600",
  )
  process.wait_for_line("training step")
  assert not list(tmp_path.glob("model.ckpt*"))
  process.signal(signum)
  result = process.wait()

  assert result.returncode == exit_code
  last_line = result.stderr.splitlines()[-1]
  step = int(re.search(rf"signal {signum}; step (\d+) is saved", last_line)[1])
  assert checkpoints.step_of(latest(tmp_path)) == step
  assert saved_position(latest(tmp_path))["num_examples"] > 0
  assert step >= max(int(m["step"]) for m in LOG_LINE.finditer(result.stderr))
  assert "Traceback" not in result.output


class TestDivergence:
  def test_no_checkpoint_ever_holds_weights_that_are_not_finite(
    self, trained_video, fork_program, tmp_path
  ):
    result = fork_program(
      "train",
      f"--train_dir={tmp_path}",
      *trained_video.flags,
      "--base_learning_rate=1e38",
      "--save_checkpoint_secs=0",
      check=False,
    )
    self.assert_stopped_with_one_line(result)
    assert list(tmp_path.glob("model.ckpt*.index"))
    for path in tmp_path.glob("model.ckpt*.index"):
      for value in saved_values(path.with_suffix("")).values():
        assert np.isfinite(value).all()

  def test_last_good_checkpoint_stays(
    self, trained_video, fork_program, tmp_path
  ):
    train_dir = copied(trained_video.train_dir, tmp_path)
    before = checkpoint_files(train_dir)
    assert len(before) == 3  # The checkpoint's two files, and `checkpoint`.
    result = fork_program(
      "train",
      f"--train_dir={train_dir}",
      *trained_video.flags,
      "--num_epochs=20",
      # The first step's loss is finite, and the weights after it are not.
      "--base_learning_rate=inf",
      "--save_checkpoint_secs=0",
      check=False,
    )
    step = self.assert_stopped_with_one_line(result)
    assert step in range(trained_video.num_steps, trained_video.num_steps + 5)
    assert checkpoint_files(train_dir) == before

  @staticmethod
  def assert_stopped_with_one_line(result) -> int:
    """Checks how it ended; returns the step that the message names."""
    assert result.returncode == 1
    *log, message = result.stderr.splitlines()
    assert all(" INFO " in line for line in log)
    assert message.startswith("train.py: error: ")
    assert "--base_learning_rate" in message
    return int(re.search(r"step (\d+)", message)[1])


class TestValidation:
  def test_best_model_is_a_train_dir_of_its_own(
    self, trained_video, fork_program, tmp_path
  ):
    validate = trained_video.shards.validate
    result = fork_program(
      "train",
      f"--train_dir={tmp_path}",
      *trained_video.flags,
      f"--eval_data_pattern={validate}",
      "--eval_every_steps=20",
    )
    evaluations = {
      int(step): float(gap)
      for step, gap in re.findall(
        r"epoch/eval number (\d+) \|.* GAP: ([\d.]+) \|", result.stderr
      )
    }
    assert list(evaluations) == [20, 40, 60, trained_video.num_steps]

    best_dir = tmp_path / "best"
    best = json.loads((best_dir / "eval_results.json").read_text())
    assert f"{best['gap']:.3f}" == f"{max(evaluations.values()):.3f}"
    assert f"{evaluations[best['step']]:.3f}" == f"{best['gap']:.3f}"
    assert checkpoints.step_of(latest(best_dir)) == best["step"]

    fork_program(
      "eval",
      f"--train_dir={best_dir}",
      f"--eval_data_pattern={validate}",
      "--run_once",
    )
    again = json.loads((best_dir / "eval" / "eval_results.json").read_text())
    assert again["gap"] == pytest.approx(best["gap"], abs=1e-6)
    assert again["num_videos"] == best["num_videos"] == 61
    fork_program(
      "inference",
      f"--train_dir={best_dir}",
      f"--input_data_pattern={validate}",
      f"--output_file={tmp_path}/predictions.csv",
    )
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 61

  def test_only_a_better_model_replaces_the_best(self, tmp_path):
    run, notes = Run(num_videos=1), NoteTaker()
    run.make_labels_of_class(0)

    def step_of_best(validation, step, score_of_class_0):
      """Validates a model that gives every video the same scores."""
      bias = np.array([score_of_class_0, 0.1, 0.2, 0.3, 0.4])
      run.set_weights(np.zeros_like(run.kernel), bias)
      validation.run(step, notes, program.StopSignals())
      best = json.loads((tmp_path / "best/eval_results.json").read_text())
      kept = saved_values(latest(tmp_path / "best"))
      assert best["gap"] == pytest.approx(1 / best["step"])
      assert checkpoints.step_of(latest(tmp_path / "best")) == best["step"]
      assert any(
        value.shape == (5,) and best_bias[best["step"]] == value[0]
        for value in kept.values()
      )
      return best["step"]

    # Class 0 is the third, the last, the second or the best: so is the GAP one
    # by the step, and the best model's step says whether it was kept.
    best_bias = {1: np.float32(0.5), 2: np.float32(0.35), 3: np.float32(0.25)}
    first = run.validation(tmp_path, every_steps=10)
    assert [step for step in range(1, 31) if first.is_due(step)] == [10, 20, 30]
    assert step_of_best(first, 3, 0.25) == 3
    assert step_of_best(first, 5, 0.0) == 3
    assert step_of_best(first, 2, 0.35) == 2
    num_notes = len(notes.lines)
    assert [i for i, line in enumerate(notes.lines) if "Best GAP" in line] == [
      *(1, 4)
    ]
    # Evaluating a step again, as at the end of a run, says nothing new.
    assert step_of_best(first, 2, 0.35) == 2
    assert len(notes.lines) == num_notes

    # A resumed run knows the best of the run before it.
    second = run.validation(tmp_path, every_steps=10)
    assert step_of_best(second, 5, 0.0) == 2
    assert step_of_best(second, 1, 0.5) == 1

  @pytest.mark.parametrize(
    ("metric", "name", "values", "best"),
    [
      ("Hit@1", "hit_at_one", [0.5, 0.7, 0.6], [1, 2, 2]),
      ("MAP", "map", [0.0, 0.0, 0.1], [1, 1, 3]),
      ("loss", "loss", [5.0, 9.0, 3.0], [1, 1, 3]),
    ],
  )
  def test_best_by_another_metric(
    self, tmp_path, monkeypatch, metric, name, values, best
  ):
    run, found = Run(), iter(values)
    others = dict.fromkeys(("hit_at_one", "perr", "map", "gap", "loss"), 0.5)
    others["videos_per_second"] = 1.0
    monkeypatch.setattr(
      evaluation, "evaluate", lambda *_, **__: {**others, name: next(found)}
    )
    for step, expected in enumerate(best, start=1):
      # Each with what the one before it has left in the folder.
      validation = run.validation(tmp_path, 1, best_metric=metric)
      validation.run(step, NoteTaker(), program.StopSignals())
      results = json.loads((tmp_path / "best/eval_results.json").read_text())
      assert results["step"] == expected

  def test_weights_that_are_not_finite_are_not_evaluated(self, tmp_path):
    run = Run()
    run.set_weights(np.full_like(run.kernel, np.nan), run.bias)
    with pytest.raises(checkpoints.DivergedError, match="after step 10"):
      run.validation(tmp_path, every_steps=10).run(
        10, NoteTaker(), program.StopSignals()
      )
    assert not list(tmp_path.rglob("model.ckpt*"))


class NoteTaker:
  """Stands in for `monitoring.Logger` in a validation."""

  def __init__(self):
    self.lines = []

  def note(self, line: str):
    self.lines.append(line)


class Run:
  """A logistic model, one batch, and the step that trains on it, by itself."""

  def __init__(self, jit_compile=False, num_videos=8, **changes):
    values = {
      "optimizer": "SGD",
      "base_learning_rate": LEARNING_RATE,
      "regularization_penalty": REGULARIZATION_PENALTY,
      "model_kwargs": {"l2_penalty": L2_PENALTY},
      "feature_names": ("mean_rgb",),
      "feature_sizes": (6,),
      "num_classes": 5,
    }
    self.config = ExperimentConfig(**{**values, **changes})
    tf.keras.utils.set_random_seed(1)
    self.model = experiment.build_model(
      self.config, self.config.mixed_precision
    )
    self.loss = experiment.build_loss(self.config)
    self.position = checkpoints.Position()
    optimizer = experiment.build_optimizer(self.config)
    optimizer.build(self.model.trainable_variables)
    step = train.make_train_step(
      self.config,
      train.TrainState(self.model, optimizer, self.position),
      cluster.alone(),
      jit_compile,
    )
    self.train_step = lambda batch: step(batch, np.zeros(2, np.float32))
    self.batch = self.make_batch(num_videos)

  def make_batch(self, num_videos):
    rng = np.random.default_rng(5)
    num_classes = self.config.num_classes
    labels = rng.random((num_videos, num_classes)) < 0.4
    return {
      "video_ids": tf.constant([b"id"] * num_videos),
      "features": {
        "mean_rgb": tf.constant(rng.normal(size=(num_videos, 6)), tf.float32)
      },
      "num_frames": tf.ones([num_videos], tf.int32),
      "labels": tf.constant(labels, tf.float32),
      "weights": tf.ones([num_videos]),
    }

  @property
  def kernel(self):
    return self.model.trainable_variables[0].numpy()

  @property
  def bias(self):
    return self.model.trainable_variables[1].numpy()

  def set_weights(self, kernel, bias):
    self.set_weights_of_all([kernel, bias])

  def set_weights_of_all(self, values):
    for variable, value in zip(
      self.model.trainable_variables, values, strict=True
    ):
      variable.assign(value)

  def make_labels_of_class(self, index):
    labels = np.zeros(self.batch["labels"].shape, np.float32)
    labels[:, index] = 1
    self.batch["labels"] = tf.constant(labels)

  def validation(self, train_dir, every_steps, **settings):
    settings = config.TrainSettings(
      train_data_pattern="any",
      eval_every_steps=every_steps,
      jit_compile=False,
      **settings,
    )
    folder = train_dirs.TrainDir(str(train_dir))
    folder.check = lambda: None  # Nobody holds it.
    return monitoring.Validation(
      self.config,
      experiment.Run(settings, cluster.alone(), None),
      folder,
      self.model,
      [self.batch],
    )

  def losses(self, num_steps):
    """Losses of that many steps on the same batch."""
    return [
      float(self.train_step(self.batch).losses["loss"])
      for _ in range(num_steps)
    ]

  def expected_loss_and_gradients(self):
    """Of the next step, from the definitions, in float64 numpy."""
    features = self.batch["features"]["mean_rgb"].numpy().astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = self.batch["labels"].numpy()
    shares = self.batch["weights"].numpy() / self.batch["weights"].numpy().sum()
    kernel = self.kernel.astype(np.float64)
    probabilities = 1 / (1 + np.exp(-(features @ kernel + self.bias)))
    of_labels = np.where(labels > 0, probabilities, 1 - probabilities)
    loss = -(shares[:, None] * np.log(of_labels)).sum()
    errors = shares[:, None] * (probabilities - labels)
    decay = REGULARIZATION_PENALTY * L2_PENALTY * kernel
    return loss, [features.T @ errors + decay, errors.sum(axis=0)]


class TestTrainStep:
  def test_a_step_that_fails_is_not_counted(self, monkeypatch):
    def fail():
      time.sleep(0.3)  # All that does not wait for it has been done by then.
      raise ValueError("lost")

    def label_losses(loss, outputs, labels, label_weights):
      del loss, labels, label_weights
      failed = tf.numpy_function(fail, [], tf.float32)
      return outputs["predictions"][:, 0] * failed

    monkeypatch.setattr(experiment, "label_losses", label_losses)
    run = Run()
    with pytest.raises(tf.errors.OpError, match="lost"):
      run.train_step(run.batch)
    assert not any(np.any(value) for value in run.position.counters)

  @pytest.mark.parametrize("clip", [0.0, 0.3, 100.0])
  def test_each_variable_is_clipped_by_itself(self, clip):
    run = Run(clip_gradient_norm=clip)
    _, gradients = run.expected_loss_and_gradients()
    norms = [np.linalg.norm(gradient) for gradient in gradients]
    assert 0.3 < min(norms)  # So that it clips both.
    before = [run.kernel, run.bias]
    run.train_step(run.batch)
    for old, new, gradient, norm in zip(
      before, (run.kernel, run.bias), gradients, norms, strict=True
    ):
      scale = min(1.0, clip / norm) if clip else 1.0
      update = (old - new) / LEARNING_RATE
      np.testing.assert_allclose(update, scale * gradient, atol=1e-6)
      if clip:
        assert np.linalg.norm(update) <= clip * (1 + 1e-5)

  def test_padding_has_no_influence(self):
    run = Run(clip_gradient_norm=0.0)
    run.batch["weights"] = tf.constant([1.0] * 5 + [0.0] * 3)
    run.batch["labels"] *= run.batch["weights"][:, None]
    loss, gradients = run.expected_loss_and_gradients()
    before = [run.kernel, run.bias]
    outcome = run.train_step(run.batch)
    assert float(outcome.losses["loss"]) == pytest.approx(loss, rel=1e-6)
    assert (
      float(outcome.losses["regularization_loss"]) == 0
    )  # The weights' is apart.
    for old, new, gradient in zip(
      before, (run.kernel, run.bias), gradients, strict=True
    ):
      np.testing.assert_allclose(old - new, gradient, atol=1e-6)
    assert int(run.position.num_examples) == 5

    # The metrics in the log are those of the five as well.
    figures = monitoring.batch_metrics(outcome)
    real = outcome._replace(
      scores=outcome.scores[:5],
      labels=outcome.labels[:5],
      weights=outcome.weights[:5],
    )
    assert figures == pytest.approx(monitoring.batch_metrics(real))
    assert figures["loss"] == pytest.approx(loss, rel=1e-6)
    # A worker without rows of its own has none, and not zeros.
    padding = outcome._replace(weights=tf.zeros([8]))
    assert monitoring.batch_metrics(padding) is None

  def test_learning_rate_falls_in_steps_by_videos_seen(self):
    run = Run(learning_rate_decay=0.5, learning_rate_decay_examples=20)
    rates = [float(run.train_step(run.batch).learning_rate) for _ in range(7)]
    # After 0, 8, 16, 24, 32, 40 and 48 videos.
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]

  def test_position_counts_steps_and_videos(self):
    run = Run()
    run.train_step(run.batch)
    run.batch["weights"] = tf.constant([1.0] * 5 + [0.0] * 3)
    run.train_step(run.batch)
    position = run.position
    assert (int(position.step), int(position.steps_in_pass)) == (2, 2)
    assert int(position.num_examples) == 13

  @pytest.mark.parametrize(
    "loss", ["CrossEntropyLoss", "HingeLoss", "SoftmaxLoss"]
  )
  def test_compilation_changes_no_result(self, loss):
    plain = Run(jit_compile=False, label_loss=loss)
    compiled = Run(jit_compile=True, label_loss=loss)
    losses = plain.losses(4)
    assert compiled.losses(4) == pytest.approx(losses, rel=1e-5)
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(compiled.kernel, plain.kernel, atol=1e-5)


class UsersModel(models.BaseModel):
  """Everything that a model may return, and that a loss may not use."""

  def create_model(
    self, model_input, vocab_size, num_frames=None, own_loss=None
  ):
    hidden = keras.layers.Dense(4, activity_regularizer="l2")(model_input)
    logits = keras.layers.Dense(vocab_size, kernel_regularizer="l2")(hidden)
    predictions = keras.ops.sigmoid(logits)
    outputs = {
      "predictions": predictions,
      "again": predictions,
      "embedding": hidden,
      "auxiliary": [
        {"logits": keras.layers.Dense(vocab_size)(hidden), "weight": 0.25},
        {"logits": logits, "weight": 0.5},
      ],
      "regularization_loss": keras.ops.mean(keras.ops.square(logits)),
    }
    if own_loss == "each":
      outputs["loss"] = keras.ops.sum(keras.ops.abs(logits), axis=1)
    if own_loss == "one":
      outputs["loss"] = keras.ops.mean(keras.ops.abs(logits))
    if own_loss == "constant":
      outputs["loss"] = keras.ops.zeros_like(logits)[:, 0]
    return outputs


class TestUsersModel:
  @pytest.mark.parametrize("jit_compile", [False, True])
  @pytest.mark.parametrize("own_loss", [None, "each", "one", "constant"])
  def test_gradients_are_those_of_one_tape(
    self, own_loss, jit_compile, monkeypatch
  ):
    monkeypatch.setattr(models, "UsersModel", UsersModel, raising=False)
    run = Run(
      jit_compile,
      model="UsersModel",
      model_kwargs={"own_loss": own_loss},
      clip_gradient_norm=0.0,
    )
    run.batch["weights"] = tf.constant([1.0] * 6 + [0.0] * 2)
    variables = run.model.trainable_variables
    inputs = {key: run.batch[key] for key in ("features", "num_frames")}
    with tf.GradientTape() as tape:
      outputs = run.model(inputs)
      losses = experiment.label_losses(run.loss, outputs, run.batch["labels"])
      loss = tf.reduce_sum(losses * run.batch["weights"]) / 6
      losses = experiment.auxiliary_losses(
        run.loss, outputs, run.batch["labels"]
      )
      auxiliary_loss = tf.reduce_sum(losses * run.batch["weights"]) / 6
      penalty = outputs["regularization_loss"] + tf.add_n(run.model.losses)
      objective = loss + auxiliary_loss + REGULARIZATION_PENALTY * penalty
    expected = tape.gradient(objective, variables)
    before = [variable.numpy() for variable in variables]
    outcome = run.train_step(run.batch)
    assert float(outcome.losses["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert float(outcome.losses["auxiliary_loss"]) == pytest.approx(
      float(auxiliary_loss), rel=1e-5
    )
    for old, new, gradient in zip(before, variables, expected, strict=True):
      update = (old - new.numpy()) / LEARNING_RATE
      np.testing.assert_allclose(update, gradient, atol=1e-6)

    run.set_weights_of_all(before)
    penalty -= experiment.weight_penalty(run.model)
    assert float(outcome.losses["regularization_loss"]) == pytest.approx(
      float(penalty), rel=1e-5
    )


class TestMixedPrecision:
  @pytest.mark.parametrize("jit_compile", [False, True])
  def test_it_learns_the_same_with_float32_weights(self, jit_compile):
    plain = Run(jit_compile)
    mixed = Run(jit_compile, mixed_precision=True)
    outcome = mixed.train_step(mixed.batch)
    assert outcome.scores.dtype == tf.bfloat16
    assert mixed.model.output["predictions"].dtype == "float32"
    assert {w.dtype for w in mixed.model.trainable_variables} == {"float32"}
    losses = [float(outcome.losses["loss"]), *mixed.losses(5)]
    # bfloat16 has 8 bits: each product is off by up to 0.4%.
    assert losses == pytest.approx(plain.losses(6), rel=0.01)
    assert losses != plain.losses(6)
    assert np.abs(mixed.kernel - plain.kernel).max() < 0.5

  def test_log_and_histograms_take_its_scores(self):
    run = Run(mixed_precision=True)
    outcome = run.train_step(run.batch)
    in_float32 = outcome._replace(scores=tf.cast(outcome.scores, tf.float32))
    figures = monitoring.batch_metrics(outcome)
    assert figures == monitoring.batch_metrics(in_float32)

  def test_validation_computes_in_float32(self, tmp_path):
    plain, mixed = Run(), Run(mixed_precision=True)
    mixed.set_weights(plain.kernel * 3, plain.bias)
    plain.set_weights(plain.kernel * 3, plain.bias)
    results = []
    for name, run in (("plain", plain), ("mixed", mixed)):
      validation = run.validation(tmp_path / name, every_steps=1)
      validation.run(1, NoteTaker(), program.StopSignals())
      path = tmp_path / name / "best" / "eval_results.json"
      results.append(json.loads(path.read_text()))
      del results[-1]["videos_per_second"]
    assert results[0] == results[1]

  def test_a_frame_level_run_can_change_to_it(
    self, tmp_path, trained_frame, fork_program
  ):
    train_dir = tmp_path / "model"
    shutil.copytree(trained_frame.train_dir, train_dir)
    fork_program(
      "train",
      f"--train_data_pattern={trained_frame.shards.train}",
      f"--train_dir={train_dir}",
      "--num_epochs=12",
      "--mixed_precision",
    )
    config = ExperimentConfig.load(str(train_dir))
    assert config.mixed_precision
    position = saved_position(latest(train_dir))
    assert position["passes"] == 12


class TestProfile:
  def test_trace_of_the_steps_that_were_asked_for(
    self, tmp_path, trained_video, run_program
  ):
    finished = run_program(
      "train",
      f"--train_data_pattern={trained_video.shards.train}",
      f"--train_dir={tmp_path}",
      "--batch_size=16",
      "--profile_steps=2, 3",
      "--max_steps=5",
    )
    (trace,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    content = trace.read_bytes()
    assert b"train_step" in content
    assert f"Wrote a trace to {tmp_path}/plugins/profile." in finished.stderr

  def test_a_run_that_ends_before_writes_what_there_is(
    self, tmp_path, trained_video, run_program
  ):
    run_program(
      "train",
      f"--train_data_pattern={trained_video.shards.train}",
      f"--train_dir={tmp_path}",
      "--batch_size=16",
      "--profile_steps=3,10",
      "--max_steps=4",
    )
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))

  @pytest.mark.parametrize(
    "steps", [(5,), (5, 4), (0, 3), (1, 2, 3), (-1, 2), (1.5, 2)]
  )
  def test_other_values_are_refused(self, steps):
    with pytest.raises(UserError, match="--profile_steps=.* should "):
      config.TrainSettings(train_data_pattern="a", profile_steps=steps)


REPLICAS_SCRIPT = """
import json
import program
import numpy as np
import tensorflow as tf
import keras
import checkpoints, cluster, experiment, models, readers, train
from config import ExperimentConfig

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
  cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
NUM_VIDEOS = 38


def batches(size):
  rng = np.random.default_rng(0)
  labels = rng.random((NUM_VIDEOS, 5)) < 0.4
  dataset = tf.data.Dataset.from_tensor_slices({
    "features": {"x": rng.normal(size=(NUM_VIDEOS, 6)).astype(np.float32)},
    "num_frames": np.ones(NUM_VIDEOS, np.int32),
    "labels": labels.astype(np.float32),
    "weights": np.ones(NUM_VIDEOS, np.float32),
  })
  dataset = dataset.batch(size)
  dataset = dataset.map(lambda batch: readers._pad_batch(batch, size))
  return list(dataset)


class Regularized(models.BaseModel):
  def create_model(self, model_input, vocab_size, num_frames=None, **kwargs):
    outputs = models.logistic_layer(model_input, vocab_size, l2_penalty=0.5)
    # 1 for each video, since features are normalised: parts of 4 and 3 agree.
    squares = keras.ops.sum(keras.ops.square(model_input), axis=1)
    return {**outputs, "regularization_loss": keras.ops.mean(squares)}


models.Regularized = Regularized


def run(strategy, batches, precision=None):
  config = ExperimentConfig(
    feature_names=("x",), feature_sizes=(6,), num_classes=5, optimizer="Adam",
    base_learning_rate=0.1, clip_gradient_norm=0.3,
    model="Regularized", regularization_penalty=0.3, seed=1,
    mixed_precision=precision,
  )
  workers = cluster.Workers(strategy)
  state = train.build_train_state(config, workers)
  model, _, position, _, loss_scale = state
  if loss_scale:  # Seven videos' sums of gradients overflow at first.
    loss_scale.scale.assign(2.0**18)
  step = train.make_train_step(config, state, workers, jit_compile=True)
  flags = np.zeros(2, np.float32)
  outcomes = [step(workers.split(batch), flags) for batch in batches]
  return {
    "losses": [float(o.losses["loss"]) for o in outcomes],
    "penalties": [float(o.losses["regularization_loss"]) for o in outcomes],
    "scores": np.concatenate([o.scores.numpy().ravel() for o in outcomes])
    .tolist(),
    "weights": np.concatenate(
      [w.numpy().ravel() for w in model.trainable_variables]
    ).tolist(),
    "position": [int(value) for value in (
      position.step.numpy(), position.num_examples.numpy()
    )],
    "loss_scales": [float(o.losses.get("loss_scale", 1)) for o in outcomes],
  }


one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
# Of 7 one replica gets 3 and the other 4; of the last batch's 3 one gets all.
print(json.dumps([
  run(strategy, batches(7), precision)
  for precision in (None, "float16") for strategy in (one, two)
]))
"""


def test_two_replicas_train_as_one(fork_program, tmp_path):
  path = tmp_path / "replicas.py"
  path.write_text(REPLICAS_SCRIPT)
  results = json.loads(fork_program(path).stdout)
  # float32, or products in float16, added up in another order.
  for (one, two), rel in ((results[:2], 1e-4), (results[2:], 1e-2)):
    assert one["position"] == two["position"] == [6, 38]
    # Of the last batch the model takes means over parts with padding.
    del one["penalties"][-1], two["penalties"][-1]
    assert one["penalties"][0] > 0.01
    for name in ("losses", "penalties", "scores", "weights"):
      assert two[name] == pytest.approx(one[name], rel=rel, abs=rel / 10)
    assert one["loss_scales"] == two["loss_scales"]
  assert one["loss_scales"][:2] == [2.0**18, 2.0**17]
  assert one["losses"][0] == pytest.approx(results[0]["losses"][0], rel=1e-3)


TWO_REPLICAS_PROGRAM = """
import program
import tensorflow as tf
import cluster
import train

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
  cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
cluster.alone = lambda: cluster.Workers(
  tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
)
train.run()
"""


def test_program_on_two_devices_trains_the_same_model(
  trained_video, fork_program, tmp_path
):
  script = tmp_path / "two_replicas.py"
  script.write_text(TWO_REPLICAS_PROGRAM)
  train_dir = tmp_path / "model"
  flags = (f"--train_dir={train_dir}", *trained_video.flags)
  fork_program(script, *flags, "--max_steps=40")
  resumed = fork_program(script, *flags)
  assert f"Resuming from {train_dir}/model.ckpt-40." in resumed.stderr
  values = saved_values(latest(train_dir))
  expected = saved_values(latest(trained_video.train_dir))
  del expected["save_counter/.ATTRIBUTES/VARIABLE_VALUE"]
  for key, value in expected.items():
    # float32, added up in another order; Adam divides small sums by small ones.
    np.testing.assert_allclose(
      values[key], value, rtol=1e-3, atol=1e-4, err_msg=key
    )


def test_bad_record_costs_nothing_of_what_was_learnt(
  trained_video, fork_program, tmp_path
):
  shards = sorted(trained_video.shards.folder.glob("train*.tfrecord"))
  records = list(tf.data.TFRecordDataset(str(shards[1])).as_numpy_iterator())
  example = tf.train.Example.FromString(records[7])
  example.features.feature["labels"].int64_list.value.append(99)
  (video_id,) = example.features.feature["id"].bytes_list.value
  records[7] = example.SerializeToString()
  bad_shard = tmp_path / shards[1].name
  with tf.io.TFRecordWriter(str(bad_shard)) as writer:
    for record in records:
      writer.write(record)

  train_dir = tmp_path / "model"
  result = fork_program(
    "train",
    *trained_video.flags,
    f"--train_dir={train_dir}",
    f"--train_data_pattern={shards[0]},{bad_shard},{shards[2]}",
    check=False,
  )
  assert result.returncode == 1
  *_, last = result.stderr.splitlines()
  assert [last] == [
    f"train.py: error: {str(bad_shard)!r}, record 7 (video "
    f"{video_id.decode()!r}): its label 99 is outside [0, 25); check "
    "--num_classes. --on_bad_record=skip leaves such records out."
  ]
  position = saved_position(latest(train_dir))
  assert position["step"] >= 1
  assert position["num_examples"] == 16 * position["step"]


class TestChoices:
  @pytest.mark.parametrize(
    ("max_steps", "expected"), [(None, 80), (50, 50), (100, 80)]
  )
  def test_number_of_steps_is_estimated_well(
    self, max_steps, expected, video_shards
  ):
    shards = sorted(tf.io.gfile.glob(video_shards.train))
    config = ExperimentConfig(num_epochs=10, batch_size=16, max_steps=max_steps)
    schema = readers.detect_schema(shards)
    estimate = train.estimate_steps(config, shards, schema.record_bytes)
    # Records differ a little in length, and the files have a frame around each.
    assert estimate == pytest.approx(expected, rel=0.15)
