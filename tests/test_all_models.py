# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What every model must show, and hand-worked values of each."""

import dataclasses
import functools
import json
import re

import program  # noqa: F401 Before TensorFlow.
from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from pages import DOCS, section, table_rows
from sklearn import metrics

import checkpoints
import cluster
import config as configs
import experiment
import frame_level_models
import losses
import models
import train
import video_level_models
from config import ExperimentConfig
from frame_level_models import AttentionPool, MaskedPool
from records import CODES, VECTOR, Form
from tools import sample_data
from video_level_models import MaskedBatchNormalization

NUM_CLASSES, MAX_FRAMES = 5, 6
SIZES = {"rgb": 6, "audio": 4}
# Small sizes of each model; the others have none.
SMALL = {
  "ResidualMlpModel": {"hidden_size": 8},
  "BranchesModel": {"num_branches": 2, "classifier_kwargs": {"hidden_size": 8}},
  "FrameMeanModel": {"attention_heads": 2},
  "DbofModel": {"dbof_cluster_size": 16, "dbof_hidden_size": 8},
  "LstmModel": {"lstm_cells": 8},
  "GruModel": {"gru_cells": 8},
  "AttentionPoolingModel": {"hidden_size": 8, "attention_heads": 2},
}
ALL = [model_class.__name__ for model_class in experiment.model_classes()]
FRAME_LEVEL = [
  name for name in ALL if experiment.find_model(name).frame_features
]


def make_config(name, **changes) -> ExperimentConfig:
  is_frame_level = name in FRAME_LEVEL
  return ExperimentConfig(
    **{
      "model": name,
      "model_kwargs": SMALL.get(name, {}),
      "num_classes": NUM_CLASSES,
      "feature_names": tuple(SIZES),
      "feature_sizes": tuple(SIZES.values()),
      "frame_features": is_frame_level,
      "max_frames": MAX_FRAMES if is_frame_level else 1,
      "batch_size": 8,
      "base_learning_rate": 0.05,
      "seed": 3,
      **changes,
    }
  )


def make_batch(
  name, num_videos=8, num_padding=0, seed=0, max_frames=MAX_FRAMES
):
  """A batch; the second video of the frame level has no frames."""
  rng = np.random.default_rng(seed)
  rows = num_videos + num_padding
  weights = (np.arange(rows) < num_videos).astype(np.float32)
  num_frames = np.ones(rows, np.int32)
  if name in FRAME_LEVEL:
    num_frames = np.array([3, 0, 1, max_frames, 2, 5, 4, 3] * 9)[:rows]
    num_frames = np.minimum(num_frames, max_frames).astype(np.int32)
  num_frames = num_frames * weights.astype(np.int32)
  is_frame = np.arange(max_frames) < num_frames[:, None]
  features = {}
  for feature, size in SIZES.items():
    if name in FRAME_LEVEL:
      codes = rng.integers(0, 256, (rows, max_frames, size), np.uint8)
      features[feature] = codes * is_frame[..., None].astype(np.uint8)
    else:
      values = rng.normal(size=(rows, size)).astype(np.float32)
      features[feature] = values * weights[:, None]
  labels = np.eye(NUM_CLASSES, dtype=np.float32)[rng.integers(0, 5, rows)]
  return tf.nest.map_structure(
    tf.constant,
    {
      "video_ids": np.array([b"v%d" % row for row in range(rows)]),
      "features": features,
      "num_frames": num_frames,
      "labels": labels * weights[:, None],
      "weights": weights,
    },
  )


def predict(model, batch) -> np.ndarray:
  inputs = {key: batch[key] for key in ("features", "num_frames")}
  return model(inputs, training=False)["predictions"].numpy()


class Run:
  """A small training run, without a train dir."""

  def __init__(self, config, jit_compile=False):
    alone = cluster.alone()
    self.config = config
    self.state = train.build_train_state(config, alone, jit_compile)
    self.model = self.state.model
    self._step = train.make_train_step(config, self.state, alone, jit_compile)

  def step(self, batch) -> float:
    outcome = self._step(batch, np.zeros(2, np.float32))
    return float(outcome.losses["loss"])


NUM_STEPS = 50


@dataclasses.dataclass
class Trained:
  """What 50 steps on one batch have made of a model."""

  name: str
  run: Run
  batch: dict
  losses: list[float]
  before: list[np.ndarray]
  after_two: list[np.ndarray]


@pytest.fixture(scope="module", params=ALL)
def trained(request) -> Trained:
  # Its steps are compiled once: each test would take seconds for it.
  run, batch = Run(make_config(request.param)), make_batch(request.param, 8, 3)
  before = run.model.get_weights()
  losses = [run.step(batch) for _ in range(2)]
  after_two = run.model.get_weights()
  losses += [run.step(batch) for _ in range(NUM_STEPS - 2)]
  return Trained(request.param, run, batch, losses, before, after_two)


class TestEveryModel:
  def test_a_gradient_reaches_every_weight(self, trained):
    # Two steps: after the first one, what begins with zeros has moved.
    rows = zip(
      trained.run.model.weights, trained.before, trained.after_two, strict=True
    )
    for weight, before, after in rows:
      assert not weight.trainable or (before != after).any(), weight.path

  def test_it_learns_and_evaluates_what_it_has_learnt(self, trained):
    run, batch = trained.run, trained.batch
    assert trained.losses[-1] < trained.losses[0] / 2
    outputs = run.model(
      {key: batch[key] for key in ("features", "num_frames")}, training=False
    )
    loss = experiment.build_loss(run.config)
    each = experiment.label_losses(loss, outputs, batch["labels"]).numpy()
    evaluated = float(np.mean(each[:8]))
    assert evaluated == pytest.approx(
      trained.losses[-1], abs=0.15 * trained.losses[0]
    )

  def test_a_video_scores_the_same_alone_and_among_others(self, trained):
    model, batch = trained.run.model, trained.batch
    together = predict(model, batch)
    assert np.isfinite(together).all()
    assert ((together >= 0) & (together <= 1)).all()
    for row in (0, 1, 7):
      one = tf.nest.map_structure(lambda v, row=row: v[row : row + 1], batch)
      np.testing.assert_allclose(
        predict(model, one)[0], together[row], atol=1e-5
      )
    np.testing.assert_array_equal(predict(model, batch), together)

  def test_rows_of_padding_reach_nothing_and_runs_agree_to_the_bit(
    self, trained
  ):
    batch = trained.batch
    garbage = {
      "features": tf.nest.map_structure(
        lambda rows: tf.concat([rows[:8], tf.ones_like(rows[8:])], axis=0),
        batch["features"],
      ),
      "labels": tf.concat([batch["labels"][:8], tf.ones([3, 5])], axis=0),
    }
    run = Run(make_config(trained.name))
    losses = [run.step({**batch, **garbage}) for _ in range(2)]
    assert losses == trained.losses[:2]
    for value, other in zip(
      run.model.get_weights(), trained.after_two, strict=True
    ):
      np.testing.assert_array_equal(value, other)

  def test_mixed_precision_has_float32_probabilities(self, trained):
    exact = predict(trained.run.model, trained.batch)
    for precision, tolerance in (("bfloat16", 0.1), ("float16", 0.01)):
      mixed = experiment.build_model(trained.run.config, precision)
      mixed.set_weights(trained.run.model.get_weights())
      scores = predict(mixed, trained.batch)
      assert scores.dtype == np.float32
      np.testing.assert_allclose(scores, exact, atol=tolerance)

  def test_mixed_precision_has_float32_states_and_gates(self, trained):
    mixed = experiment.build_model(trained.run.config, "bfloat16")
    names = r".*_(tanh|gate|score)_\d|lstm_layer_\d|gru_layer_\d|gru_cell.*"
    found = [
      layer.compute_dtype
      for layer in mixed._flatten_layers(recursive=True)
      if re.fullmatch(names, layer.name)
    ]
    assert set(found) <= {"float32"}
    assert bool(found) == (
      trained.name.startswith(("Attention", "FrameMean", "Gru", "Lstm"))
    )

  def test_a_checkpoint_has_it_all(self, trained, tmp_path):
    checkpoints.Saver(str(tmp_path), trained.run.model, 1).save(1)
    other = experiment.build_model(trained.run.config)
    checkpoints.restore_latest_model(other, str(tmp_path))
    np.testing.assert_array_equal(
      predict(other, trained.batch), predict(trained.run.model, trained.batch)
    )

  def test_a_batch_without_any_frame(self, trained):
    # The last test: it changes the weights.
    run, batch = trained.run, trained.batch
    empty = {**batch, "num_frames": tf.zeros([11], tf.int32)}
    assert np.isfinite(predict(run.model, empty)).all()
    assert np.isfinite(run.step(empty))
    assert all(np.isfinite(value).all() for value in run.model.get_weights())


@pytest.mark.parametrize("name", ALL)
def test_one_feature_and_one_class(name):
  config = make_config(
    name, feature_names=("rgb",), feature_sizes=(6,), num_classes=1
  )
  batch = make_batch(name)
  batch = {**batch, "features": {"rgb": batch["features"]["rgb"]}}
  assert predict(experiment.build_model(config), batch).shape == (8, 1)


@pytest.mark.parametrize(
  ("name", "kwargs"),
  [
    *(
      ("DbofModel", {"dbof_pooling_method": method})
      for method in ("average", "swap", "attention")
    ),
    ("FrameMeanModel", {"attention_heads": 0}),
  ],
)
def test_other_pools_of_a_model(name, kwargs):
  run = Run(make_config(name, model_kwargs={**SMALL[name], **kwargs}))
  batch = make_batch(name)
  before = run.model.get_weights()
  losses = [run.step(batch) for _ in range(20)]
  assert losses[-1] < losses[0] / 2
  for weight, old in zip(run.model.weights, before, strict=True):
    assert not weight.trainable or (weight.numpy() != old).any(), weight.path


@pytest.mark.parametrize(
  "name", [*FRAME_LEVEL, "LogisticModel", "ResidualMlpModel"]
)
def test_the_embedding_is_what_the_classifier_sees(name):
  kwargs = {
    "video_level_classifier_model": "LogisticModel",
    **SMALL.get(name, {}),
  }
  known = experiment.parameters_of(experiment.find_model(name))
  kwargs = {key: value for key, value in kwargs.items() if key in known}
  model = experiment.build_model(make_config(name, model_kwargs=kwargs))
  named = checkpoints.weights_by_name(model)
  kernel, bias = (
    named[f"logits/{part}"].numpy() for part in ("kernel", "bias")
  )
  batch = make_batch(name)
  inputs = {key: batch[key] for key in ("features", "num_frames")}
  embedding = model(inputs, training=False)["embedding"].numpy()
  # Of several heads, each has a part of it, and the highest score counts.
  heads = embedding.reshape(len(embedding), -1, len(kernel))
  scores = (1 / (1 + np.exp(-(heads @ kernel + bias)))).max(axis=1)
  np.testing.assert_allclose(predict(model, batch), scores, atol=1e-6)


@pytest.mark.parametrize("name", FRAME_LEVEL)
def test_frames_of_padding_change_nothing(name):
  model = Run(make_config(name)).model
  batch = make_batch(name)
  longer = {
    feature: tf.pad(codes, [[0, 0], [0, 4], [0, 0]], constant_values=9)
    for feature, codes in batch["features"].items()
  }
  np.testing.assert_allclose(
    predict(model, {**batch, "features": longer}),
    predict(model, batch),
    atol=1e-6,
  )


# From the equations, with 1,152 features and 3,862 classes.
COUNTS = {
  "MoeModel": 22_252_844,
  # Four of residual layers, each with a mixture as its head.
  "BranchesModel": 4
  * (1153 * 1024 + 2 * (1025 * 1024 + 2 * 1024) + 3862 * (1024 * 5 + 2)),
  "GatedMoeModel": 22_252_844 + (1152**2 + 2 * 1152) + (3862**2 + 2 * 3862),
  "FrameMeanModel": 22_252_844,
  "DbofModel": 37_627_692,
  "LstmModel": 37_090_860,
  "GruModel": 32_763_436,
  "AttentionPoolingModel": 22_356_556,
}


def test_the_page_lists_all_models():
  rows = table_rows(section(DOCS / "models.md", "## Choose one"))
  listed = {row[0].strip("`"): int(row[3].replace(",", "")) for row in rows}
  assert listed.keys() == {*ALL}
  assert listed.items() >= COUNTS.items()
  of_several = {
    *("video_level_classifier_model", "classifier_kwargs"),
    *("iterations", "sample_random_frames"),
  }
  for row in rows:
    parameters = experiment.parameters_of(
      experiment.find_model(row[0].strip("`"))
    )
    shown = dict(re.findall(r"`(\w+)` ([\w.-]+)", row[4]))
    assert shown.keys() == parameters.keys() - of_several
    for name, value in shown.items():
      default = parameters[name]
      shown_default = value if isinstance(default, str) else json.loads(value)
      assert shown_default == default


@pytest.mark.parametrize(
  ("name", "kwargs", "count"),
  [
    *((name, {}, count) for name, count in COUNTS.items()),
    ("DbofModel", {"dbof_add_batch_norm": False}, 37_616_172),
    ("AttentionPoolingModel", {"attention_heads": 8}, 22_845_100),
  ],
)
def test_numbers_of_parameters(name, kwargs, count):
  config = make_config(
    name, feature_sizes=(1024, 128), num_classes=3862, model_kwargs=kwargs
  )
  weights = experiment.build_model(config).trainable_weights
  assert sum(np.prod(weight.shape) for weight in weights) == count


# Hand-worked values


def values_of(model_class, kwargs, forms, weights, features, num_frames=None):
  """A model's predictions with weights by name; the others are zeros."""

  class Raw(model_class):
    normalize_input = False

  model = models.build_model(Raw, forms, 2, kwargs)
  named = checkpoints.weights_by_name(model)
  for name, weight in named.items():
    weight.assign(weights.get(name, tf.zeros(weight.shape)))
  count = len(next(iter(features.values())))
  inputs = {
    "features": features,
    "num_frames": tf.constant(num_frames or [1] * count, tf.int32),
  }
  return model(inputs)["predictions"].numpy()


def test_mixture_of_experts():
  # Gates of [ln 3, 0] give 3/4 and 1/4 to the expert, whose sigmoid is 1/2.
  log_3 = np.log(3.0)
  predictions = values_of(
    video_level_models.MoeModel,
    {"moe_num_mixtures": 1},
    {"a": Form(VECTOR, 1)},
    {"gates/kernel": [[log_3, 0.0, 0.0, log_3]]},
    {"a": tf.ones([1, 1])},
  )
  np.testing.assert_allclose(predictions, [[0.375, 0.125]], atol=1e-6)


def test_branches_have_the_mean_of_their_logits():
  # sigmoid(0) of the first, sigmoid(ln 9) = 0.9 of the second; ln 9 / 2 = ln 3.
  predictions = values_of(
    video_level_models.BranchesModel,
    {"num_branches": 2, "video_level_classifier_model": "LogisticModel"},
    {"a": Form(VECTOR, 1)},
    {"branch_1/logits/kernel": [[np.log(9.0), 0.0]]},
    {"a": tf.ones([1, 1])},
  )
  np.testing.assert_allclose(predictions, [[0.75, 0.5]], atol=1e-6)


@pytest.mark.parametrize(
  ("head", "inputs"), [("ResidualMlpModel", 1), ("GatedMoeModel", 2)]
)
def test_branches_have_no_input_without_a_use(head, inputs):
  # Keras 3.12, the last for Python 3.10, refuses them.
  kwargs = {"num_branches": 2, "video_level_classifier_model": head}
  config = make_config("BranchesModel", model_kwargs=kwargs)
  layers = experiment.build_model(config)._flatten_layers()
  branches = [each for each in layers if each.name.startswith("branch_")]
  assert [len(each.inputs) for each in branches] == [inputs] * 2


def test_pools():
  # Frames of relu6(x * [1, -1]) for x of 1 and 3, and one of padding.
  frames = tf.constant([[[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]])
  count = tf.constant([2], tf.int32)
  for method, expected in (
    ("average", [2, 0]),
    ("max", [3, 0]),
    ("swap", [2.5, 0]),
  ):
    assert MaskedPool(method)(frames, count).numpy().tolist() == [expected]
  # Zeros of padding do not win over what is below them.
  low = tf.sigmoid(tf.constant([[[-1.0], [-3.0], [0.0]]]))
  assert MaskedPool("max")(low, count).numpy() == pytest.approx(
    0.2689, abs=1e-4
  )


def test_attention():
  frames = tf.constant([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
  pool = AttentionPool()
  count = tf.constant([2], tf.int32)
  pooled = pool(frames, tf.zeros([1, 3, 1]), count)
  assert pooled.numpy().tolist() == [[[0.5, 0.5]]]
  # A score of ln 3 weighs 3/4, one of padding nothing.
  scores = tf.constant([[[np.log(3.0)], [0.0], [99.0]]], tf.float32)
  np.testing.assert_allclose(pool(frames, scores, count)[0, 0], [0.75, 0.25])


def gru(size):
  return functools.partial(
    frame_level_models._gru_layer,
    units=size,
    return_sequences=False,
    name="gru",
  )


def make_recurrence(layer, size):
  """A model of one layer: [batch, T, size] and num_frames to the last state."""
  inputs = keras.Input((None, size)), keras.Input((), dtype="int32")
  return keras.Model(inputs, frame_level_models._last_state(*inputs, [layer]))


@pytest.mark.parametrize(
  ("make_layer", "bias", "expected"),
  [
    # Biases of i, f (with the 1 that is added to it), c and o.
    (keras.layers.LSTM, [0, 1, 20, 0], [0.2311, 0.3495, 0.3495]),
    # Of the gates of update and reset, and of the candidate.
    (gru, [0, 0, 20], [0.5, 0.75, 0.75]),
  ],
)
def test_recurrent_layers(make_layer, bias, expected):
  model = make_recurrence(make_layer(1), 1)
  for weight in model.weights:
    weight.assign(bias if weight.name == "bias" else tf.zeros(weight.shape))
  # One frame, two frames, and two with a third row's mask of the same.
  states = model([tf.ones([3, 3, 1]), tf.constant([1, 2, 2], tf.int32)])
  np.testing.assert_allclose(states[:, 0], expected, atol=1e-4)


def test_gru_gives_what_that_of_keras_gives():
  theirs = keras.layers.GRU(4, reset_after=False)
  random = np.random.default_rng(0)
  frames = random.normal(size=[3, 6, 5]).astype(np.float32)
  theirs.build(frames.shape)
  kernel, recurrent, bias = values = [
    random.normal(size=weight.shape) for weight in theirs.weights
  ]
  theirs.set_weights(values)
  ours = make_recurrence(gru(4), 5)
  named = {
    "kernel": kernel,
    "bias": bias,
    "recurrent_gates_kernel": recurrent[:, :8],
    "recurrent_candidate_kernel": recurrent[:, 8:],
  }
  for weight in ours.weights:
    weight.assign(named[weight.name])
  counts = np.array([6, 1, 4], np.int32)
  expected = theirs(frames, mask=np.arange(6) < counts[:, None])
  np.testing.assert_allclose(ours([frames, counts]), expected, atol=1e-6)


def test_gates_of_a_new_gru_are_open():
  config = make_config("GruModel")
  named = checkpoints.weights_by_name(experiment.build_model(config))
  (bias,) = [
    weight.numpy()
    for name, weight in named.items()
    if name.startswith("gru_layer_0_inputs/") and name.endswith("bias")
  ]
  assert bias.tolist() == [1.0] * 16 + [0.0] * 8


def test_context_gate():
  inputs = keras.Input((2,))
  count = keras.Input((), dtype="int32")
  gated = video_level_models.context_gate(inputs, count)
  model = keras.Model([inputs, count], gated)
  model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
  outputs = model([tf.constant([[2.0, 4.0]]), tf.ones([1], tf.int32)])
  assert outputs.numpy().tolist() == [[1.0, 2.0]]


# Batch normalisation


class TestBatchNormalization:
  def test_statistics_are_those_of_valid_frames(self):
    rng = np.random.default_rng(0)
    frames = rng.normal(3.0, 2.0, (4, 5, 3)).astype(np.float32)
    count = np.array([5, 0, 2, 1], np.int32)
    valid = np.concatenate([f[:n] for f, n in zip(frames, count, strict=True)])
    layer = MaskedBatchNormalization()
    outputs = layer(frames, count, training=True).numpy()
    normal = (frames - valid.mean(0)) / np.sqrt(valid.var(0) + 1e-3)
    np.testing.assert_allclose(outputs, normal, atol=1e-4)
    # After one batch the moving statistics are that batch's.
    np.testing.assert_allclose(layer.moving_mean, valid.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, valid.var(0), rtol=1e-4)
    evaluated = layer(frames, count, training=False).numpy()
    np.testing.assert_allclose(evaluated, normal, atol=1e-3)

  def test_moving_statistics_follow_the_sooner_the_fewer_there_were(self):
    layer = MaskedBatchNormalization(momentum=0.5)
    ones = tf.ones([2], tf.int32)
    expected = 0.0
    for number in range(9):
      layer(tf.fill([2, 1], float(number)), ones, training=True)
      share = max(10 / (number + 10), 0.5)
      expected += share * (number - expected)
      assert float(layer.moving_mean[0]) == pytest.approx(expected, rel=1e-5)

  def test_a_frozen_layer_computes_as_in_evaluation(self):
    layer, ones = MaskedBatchNormalization(), tf.ones([2], tf.int32)
    layer(tf.constant([[1.0], [3.0]]), ones, training=True)
    before = layer.get_weights()
    layer.trainable = False
    inputs = tf.constant([[8.0], [9.0]])
    np.testing.assert_array_equal(
      layer(inputs, ones, training=True), layer(inputs, ones, training=False)
    )
    for old, new in zip(before, layer.get_weights(), strict=True):
      np.testing.assert_array_equal(old, new)

  def test_infinite_statistics_do_not_stay(self):
    layer = MaskedBatchNormalization()
    rows, counts = tf.constant([[1.0], [3.0]]), tf.ones([2], tf.int32)
    layer(rows, counts, training=True)
    before = [value.copy() for value in layer.get_weights()]
    layer(rows * np.inf, counts, training=True)
    for value, old in zip(layer.get_weights(), before, strict=True):
      np.testing.assert_array_equal(value, old)

  def test_a_blank_batch_changes_nothing(self):
    layer = MaskedBatchNormalization()
    layer(tf.constant([[1.0], [3.0]]), tf.ones([2], tf.int32), training=True)
    before = layer.get_weights()
    blank = layer(tf.zeros([2, 1]), tf.zeros([2], tf.int32), training=True)
    assert np.isfinite(blank).all()
    for old, new in zip(before, layer.get_weights(), strict=True):
      np.testing.assert_array_equal(old, new)


# What lies in the order of frames


@pytest.mark.parametrize(
  ("name", "finds_it"),
  [("LstmModel", True), ("GruModel", True), ("FrameMeanModel", False)],
)
def test_only_recurrent_models_find_what_lies_in_the_order(
  name, finds_it, tmp_path
):
  # The videos of classes 2k and 2k + 1 have the same mean.
  shards = sample_data.write_shards(
    tmp_path,
    "v2_frame",
    num_videos=2048,
    num_classes=10,
    feature_sizes=tuple(SIZES.values()),
    min_frames=6,
    max_frames=6,
    order=True,
  )
  run = Run(make_config(name, num_classes=10, max_frames=6))
  reader = experiment.build_reader(run.config)
  batch, other = reader.evaluation_batches(list(map(str, shards)), 1024)
  for _ in range(2 * NUM_STEPS):
    run.step(batch)
  labels, scores = other["labels"].numpy(), predict(run.model, other)
  # How well the difference of their scores tells 2k from 2k + 1, in videos
  # that the model has not seen.
  areas = [
    metrics.roc_auc_score(
      labels[has_one, k], scores[has_one, k] - scores[has_one, k + 1]
    )
    for k in range(0, 10, 2)
    for has_one in [labels[:, k] != labels[:, k + 1]]
  ]
  area = np.mean(areas)
  assert (area > 0.7) if finds_it else (0.4 < area < 0.6)


# Parameters


class TestParameters:
  def parse(self, *arguments):
    values = flags.FlagValues()
    configs.define_flags(ExperimentConfig, values)
    experiment.define_parameter_flags(values)
    values(["train.py", *arguments])
    return experiment.given_parameters(values)

  def test_flags(self):
    assert self.parse() == {}
    given = self.parse(
      "--moe_num_mixtures=4",
      "--nodbof_add_batch_norm",
      "--dbof_pooling_method=swap",
      "--dropout=0.5",
      '--classifier_kwargs={"l2_penalty": 0.1}',
      "--label_smoothing=0.1",
      "--gamma=1",
    )
    assert given == {
      "model_kwargs": {
        "moe_num_mixtures": 4,
        "dbof_add_batch_norm": False,
        "dbof_pooling_method": "swap",
        "dropout": 0.5,
        "classifier_kwargs": {"l2_penalty": 0.1},
      },
      "label_loss_kwargs": {"label_smoothing": 0.1, "gamma": 1.0},
    }
    with pytest.raises(UserError, match="--classifier_kwargs='{' is not JSON"):
      self.parse("--classifier_kwargs={")

  def test_one_name_has_one_type_and_is_no_setting(self):
    settings = {
      field.name
      for settings_class in (ExperimentConfig, configs.TrainSettings)
      for field in dataclasses.fields(settings_class)
    }
    types = {}
    for model_class in experiment.model_classes():
      for name, default in experiment.parameters_of(model_class).items():
        assert types.setdefault(name, type(default)) is type(default), name
        assert name not in settings
    for loss_class in (losses.CrossEntropyLoss, losses.FocalLoss):
      assert not experiment.parameters_of(loss_class).keys() & {
        *types,
        *settings,
      }

  def test_a_parameter_that_the_model_lacks(self):
    config = make_config("MoeModel", model_kwargs={"lstm_cells": 3})
    with pytest.raises(
      UserError,
      match="has no argument 'lstm_cells'. Available: l2_penalty, labels_per_v",
    ):
      experiment.build_model(config)

  @pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
      ("MoeModel", {"moe_num_mixtures": 0}, "moe_num_mixtures=0 should be at"),
      (
        "DbofModel",
        {"dbof_pooling_method": "none"},
        "should be one of average",
      ),
      ("DbofModel", {"dbof_activation": "tanh"}, "should be one of sigmoid"),
      ("LstmModel", {"lstm_layers": 0}, "lstm_layers=0 should be at least 1"),
      ("GruModel", {"gru_layers": 0}, "gru_layers=0 should be at least 1"),
      *(
        (name, {"attention_heads": heads}, "attention_heads=.* at least")
        for name, heads in (
          ("AttentionPoolingModel", 0),
          ("FrameMeanModel", -1),
        )
      ),
      (
        "ResidualMlpModel",
        {"dropout": 1},
        "dropout=1 should be from 0 to below 1",
      ),
      (
        "DbofModel",
        {"dbof_add_batch_norm": "false"},
        'dbof_add_batch_norm="false" of DbofModel should be true or false',
      ),
      *(
        ("GruModel", {"gru_cells": cells}, "gru_cells=.* a whole number")
        for cells in ("4", None, 2.5, True)
      ),
      (
        "GruModel",
        {"classifier_kwargs": {"mixtures": 4}},
        "--classifier_kwargs: MoeModel has no argument 'mixtures'. Available",
      ),
      (
        "GruModel",
        {"classifier_kwargs": [3]},
        r"--classifier_kwargs=\[3\] should be a JSON object",
      ),
      (
        "ResidualMlpModel",
        {"num_layers": -1},
        "num_layers=-1 should be at least 0",
      ),
      (
        "AttentionPoolingModel",
        {"video_level_classifier_model": "BranchesModel"},
        "has losses of its own",
      ),
      (
        "LstmModel",
        {"video_level_classifier_model": "GruModel"},
        "--video_level_classifier_model: unknown 'GruModel'. Available: Bra",
      ),
      (
        "LstmModel",
        {"video_level_classifier_model": "FrameLevelLogisticModel"},
        "takes frames; a model of the video level is needed",
      ),
    ],
  )
  def test_wrong_values(self, name, kwargs, message):
    config = make_config(name, model_kwargs={**SMALL.get(name, {}), **kwargs})
    with pytest.raises(UserError, match=message):
      experiment.build_model(config)

  @pytest.mark.parametrize("head", ["LogisticModel", "GatedMoeModel"])
  def test_any_head(self, head):
    config = make_config(
      "FrameMeanModel", model_kwargs={"video_level_classifier_model": head}
    )
    batch = make_batch("FrameMeanModel")
    assert predict(experiment.build_model(config), batch).shape == (8, 5)

  def test_attention_needs_frames(self):
    config = make_config(
      "AttentionPoolingModel", feature_kinds=("codes", "vector")
    )
    with pytest.raises(UserError, match="'audio' has no frames, and Attention"):
      experiment.build_model(config)

  def test_an_argument_that_is_a_setting(self, monkeypatch):
    class SeedModel(models.LogisticModel):
      def create_model(self, model_input, vocab_size, num_frames=None, seed=1):
        """See `BaseModel`."""

    monkeypatch.setattr(models, "SeedModel", SeedModel, raising=False)
    with pytest.raises(
      UserError, match="has an argument 'seed', which is a se"
    ):
      experiment.build_model(make_config("LogisticModel", model="SeedModel"))


def test_forms_are_those_of_the_level():
  forms = make_config("DbofModel").forms
  assert forms == {"rgb": Form(CODES, 6), "audio": Form(CODES, 4)}
