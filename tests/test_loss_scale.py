# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Training in float16: its loss is scaled; a step that overflows is skipped."""

import json

import program  # noqa: F401 Before TensorFlow.

import numpy as np
import pytest
import tensorflow as tf
from test_train import latest, saved_position, saved_values
from test_trained_model import train_on

import checkpoints
import cluster
import losses
import train
from config import ExperimentConfig

FLAGS = np.zeros(2, np.float32)


class Run:
  """A model, one batch, and the step that trains on it."""

  def __init__(self, precision="float16", jit_compile=False, **changes):
    values = {
      "optimizer": "SGD",
      "base_learning_rate": 0.5,
      "feature_names": ("mean_rgb",),
      "feature_sizes": (6,),
      "num_classes": 5,
      "batch_size": 8,
      "seed": 1,
      "mixed_precision": precision,
      **changes,
    }
    self.config = ExperimentConfig(**values)
    self.state = train.build_train_state(
      self.config, cluster.alone(), jit_compile
    )
    self._step = train.make_train_step(
      self.config, self.state, cluster.alone(), jit_compile
    )
    rng = np.random.default_rng(5)
    features = tf.constant(rng.normal(size=(8, 6)), tf.float32)
    self.batch = {
      "features": {"mean_rgb": features},
      "num_frames": tf.ones([8], tf.int32),
      "labels": tf.constant(rng.random((8, 5)) < 0.4, tf.float32),
      "weights": tf.ones([8]),
    }

  def step(self) -> train.Outcome:
    return self._step(self.batch, FLAGS)

  def values(self) -> list[np.ndarray]:
    """All that a step of the optimizer changes."""
    model, optimizer, _, averages, _ = self.state
    parts = [*model.variables, *optimizer.variables, *averages.values]
    rate = optimizer.learning_rate  # Assigned before each step.
    return [part.numpy() for part in parts if part is not rate]


# The scale


def count(variable):
  """An update that shows that it was called."""
  variable.assign_add(1)


def test_scale_hand_worked(monkeypatch):
  monkeypatch.setattr(checkpoints.LossScale, "_NUM_GOOD_STEPS", 3)
  # The sum of 1,024 losses times 2^5 is their mean times 2^15.
  loss_scale, num_updates = checkpoints.LossScale(1024), tf.Variable(0)

  @tf.function(autograph=False)
  def apply(gradient):
    loss_scale.apply([tf.ones([2]), gradient], lambda: count(num_updates))

  found = []
  for number in (1, 1, 1, 1, np.inf, 1, 1, np.nan, 1, 1, 1):
    apply(tf.constant([0.0, number]))
    found.append((float(loss_scale.scale), int(loss_scale.num_good_steps)))
  assert found == [
    *((32, 1), (32, 2), (64, 0), (64, 1)),
    # Halved, and the steps are counted anew.
    *((32, 0), (32, 1), (32, 2), (16, 0)),
    *((16, 1), (16, 2), (32, 0)),
  ]
  assert int(num_updates) == 9


@pytest.mark.parametrize(
  ("scale", "number", "expected", "is_applied"),
  [
    (2.0**24, 1.0, 2.0**24, True),
    # A scale of 0 would hide for ever that gradients are not finite.
    (2.0**-16, np.nan, 2.0**-16, True),
    (2.0**-15, np.nan, 2.0**-16, False),
  ],
)
def test_scale_has_bounds(scale, number, expected, is_applied):
  loss_scale, num_updates = checkpoints.LossScale(8), tf.Variable(0)
  loss_scale.scale.assign(scale)
  loss_scale.num_good_steps.assign(1999)
  loss_scale.apply([tf.constant(number)], lambda: count(num_updates))
  assert float(loss_scale.scale) == expected
  assert int(num_updates) == is_applied


# The step


@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_learns_the_same_with_float32_weights(jit_compile):
  plain, mixed = Run(None, jit_compile), Run("float16", jit_compile)
  outcome = mixed.step()
  assert outcome.scores.dtype == tf.float16
  # 2^15 by the rows of a batch.
  assert float(outcome.losses["loss_scale"]) == 2**12
  model = mixed.state.model
  assert model.output["predictions"].dtype == "float32"
  assert {weight.dtype for weight in model.weights} == {"float32"}
  found = [float(outcome.losses["loss"])]
  found += [float(mixed.step().losses["loss"]) for _ in range(20)]
  expected = [float(plain.step().losses["loss"]) for _ in range(21)]
  # float16 has 11 bits: each product is off by up to 0.05%.
  assert found == pytest.approx(expected, rel=1e-3)
  assert found != expected


class FaintLoss(losses.CrossEntropyLoss):
  """A loss whose gradients are 0 in float16, where 2^-24 is the smallest."""

  def per_example_loss(self, *args, **kwargs):
    """See `BaseLoss`."""
    return 1e-8 * super().per_example_loss(*args, **kwargs)


def test_small_gradients_are_not_lost(monkeypatch):
  monkeypatch.setattr(losses, "FaintLoss", FaintLoss, raising=False)
  changes = {
    "label_loss": "FaintLoss",
    "base_learning_rate": 1e8,
    "model_kwargs": {"l2_penalty": 0.0},
  }
  kernels = []
  for precision, scale in ((None, 1.0), ("float16", 2.0**12), ("float16", 1.0)):
    run = Run(precision, **changes)
    kernel = run.state.model.trainable_variables[0]
    before = kernel.numpy()
    if precision:
      run.state.loss_scale.scale.assign(scale)
    run.step()
    kernels.append(kernel.numpy() - before)
  exact, scaled, unscaled = kernels
  np.testing.assert_allclose(scaled, exact, rtol=0.01, atol=1e-3)
  assert not unscaled.any()


def test_an_overflow_skips_the_update_and_training_goes_on():
  run = Run(optimizer="Adam", ema_decay=0.9, base_learning_rate=0.1)
  loss_scale, position = run.state.loss_scale, run.state.position
  run.step()
  # The largest float16 is below 2^16: sums of gradients are far above it.
  loss_scale.scale.assign(2.0**20)
  before = run.values()
  outcome = run.step()
  assert np.isfinite(float(outcome.losses["loss"]))
  for value, old in zip(run.values(), before, strict=True):
    np.testing.assert_array_equal(value, old)
  assert float(loss_scale.scale) == 2.0**19
  # The batch was read: a run that goes on begins behind it.
  assert (int(position.step), int(position.num_examples)) == (2, 16)
  found = [float(run.step().losses["loss"]) for _ in range(30)]
  assert float(loss_scale.scale) < 2.0**18
  assert found[-1] < 0.9 * found[0]
  for value, old in zip(run.values(), before, strict=True):
    assert (value != old).any()


# Runs


@pytest.fixture
def train_with(monkeypatch, video_shards, tmp_path):
  """A function that trains in a folder, and returns what its checkpoint has."""
  monkeypatch.setattr(checkpoints.LossScale, "_NUM_GOOD_STEPS", 3)

  def run(name, steps, precision="float16"):
    given = {
      "model": "LogisticModel",
      "num_classes": 25,
      "num_epochs": 9,
      "max_steps": steps,
      "mixed_precision": precision,
    }
    assert train_on(video_shards.train, tmp_path / name, given) == 0
    values = saved_values(latest(tmp_path / name))
    del values["save_counter/.ATTRIBUTES/VARIABLE_VALUE"]
    return {
      key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): value
      for key, value in values.items()
    }

  return run


def test_a_resumed_run_keeps_the_scale(train_with):
  whole = train_with("whole", 8)
  # 2^11 is the first one of batches of 16: doubled twice in eight steps.
  assert whole["loss_scale/scale"] == 2**13
  assert whole["loss_scale/num_good_steps"] == 2
  train_with("stopped", 4)
  resumed = train_with("stopped", 8)
  assert resumed.keys() == whole.keys()
  for key, value in whole.items():
    np.testing.assert_array_equal(resumed[key], value, err_msg=key)


def test_a_run_can_change_to_float16_and_back(train_with, tmp_path):
  assert "loss_scale/scale" not in train_with("model", 2, None)
  values = train_with("model", 7, "float16")
  assert values["loss_scale/num_good_steps"] == 5 - 3
  values = train_with("model", 9, True)
  assert "loss_scale/scale" not in values
  assert saved_position(latest(tmp_path / "model"))["step"] == 9
  config = json.loads((tmp_path / "model/model_flags.json").read_text())
  assert config["mixed_precision"] == "bfloat16"
