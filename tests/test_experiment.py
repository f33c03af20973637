# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The configuration, where its values come from, and what is built from it."""

import dataclasses
import math

from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf

import cluster
import config as configs
import experiment
import losses
import models
import readers
from config import ExperimentConfig
from records import CODES, VECTOR, Form

SCHEMA = readers.Schema(
  shard="data/train0.tfrecord",
  keys=("video_id", "labels", "mean_rgb", "mean_audio"),
  id_key="video_id",
  forms={"mean_rgb": Form(VECTOR, 3), "mean_audio": Form(VECTOR, 2)},
  max_frames=1,
  record_bytes=100,
)
FRAME_SCHEMA = dataclasses.replace(
  SCHEMA, forms={"audio_embedding": Form(CODES, 4)}, max_frames=10
)


def with_vectors(**sizes) -> readers.Schema:
  forms = {name: Form(VECTOR, size) for name, size in sizes.items()}
  return dataclasses.replace(SCHEMA, forms=forms)


VIDEO = ExperimentConfig(
  num_classes=4, feature_names=("mean_rgb", "mean_audio"), feature_sizes=(3, 2)
)
FRAME = ExperimentConfig(
  model="FrameLevelLogisticModel",
  num_classes=4,
  feature_names=("rgb", "audio"),
  feature_sizes=(3, 2),
  frame_features=True,
  max_frames=6,
)

# Every field with a value that is not its default.
UNUSUAL = ExperimentConfig(
  model="FrameLevelLogisticModel",
  model_kwargs={"l2_penalty": 1e-6, "nested": {"a": [1, None, True]}},
  num_classes=527,
  feature_names=("audio_embedding", "ünïcode"),
  feature_sizes=(128, 7),
  frame_features=True,
  max_frames=10,
  label_loss="HingeLoss",
  label_loss_kwargs={"gamma": 2.0},
  batch_size=3,
  num_epochs=2,
  max_steps=100,
  base_learning_rate=0.1,
  learning_rate_decay=1.0,
  learning_rate_decay_examples=12,
  regularization_penalty=0.0,
  optimizer="SGD",
  clip_gradient_norm=0.0,
  mixed_precision=True,
  seed=2**31 - 1,
)


# Where values come from


def test_data_goes_over_defaults():
  config = experiment.resolve_config({}, None, FRAME_SCHEMA)
  assert config == ExperimentConfig(
    feature_names=("audio_embedding",),
    feature_sizes=(4,),
    feature_kinds=("codes",),
    frame_features=True,
    max_frames=10,
  )


def test_what_is_typed_goes_over_data_and_defaults():
  given = {"max_frames": 3, "num_classes": 5, "label_loss": "HingeLoss"}
  config = experiment.resolve_config(given, None, FRAME_SCHEMA)
  assert config == ExperimentConfig(
    feature_names=("audio_embedding",),
    feature_sizes=(4,),
    feature_kinds=("codes",),
    frame_features=True,
    **given,
  )


def test_sizes_alone_are_those_of_the_datas_features():
  config = experiment.resolve_config({"feature_sizes": (3, 2)}, None, SCHEMA)
  assert config.feature_names == ("mean_rgb", "mean_audio")
  with pytest.raises(UserError, match="--feature_names has 2 .* has 1 sizes"):
    experiment.resolve_config({"feature_sizes": (3,)}, None, SCHEMA)


def test_the_train_dir_goes_over_data_and_defaults():
  # A resumed run; the shards have more features than the model was built for,
  # but the reader was asked for those of the train dir.
  saved = dataclasses.replace(
    UNUSUAL,
    feature_names=("audio_embedding",),
    feature_sizes=(4,),
    max_frames=7,
  )
  config = experiment.resolve_config({}, saved, FRAME_SCHEMA)
  # Where one run was to stop says nothing about the next one.
  assert config == dataclasses.replace(saved, max_steps=None)


def test_what_is_typed_goes_over_the_train_dir():
  given = {
    "num_epochs": 9,
    "base_learning_rate": 0.5,
    "batch_size": 7,
    "max_steps": 20,
    "label_loss": "SoftmaxLoss",
    "clip_gradient_norm": 2.0,
  }
  config = experiment.resolve_config(given, VIDEO, SCHEMA)
  assert config == dataclasses.replace(VIDEO, **given)


def test_saved_parameters_stay_unless_the_loss_is_another():
  saved = dataclasses.replace(
    VIDEO,
    model_kwargs={"l2_penalty": 0.5, "labels_per_video": 2.0},
    label_loss="FocalLoss",
    label_loss_kwargs={"alpha": 0.5, "gamma": 1.0},
  )
  for given, model_kwargs, loss_kwargs in (
    ({}, saved.model_kwargs, saved.label_loss_kwargs),
    (
      {
        "label_loss_kwargs": {"gamma": 3.0},
        "model_kwargs": {"l2_penalty": 0.5},
      },
      saved.model_kwargs,
      {"alpha": 0.5, "gamma": 3.0},
    ),
    ({"label_loss": "CrossEntropyLoss"}, saved.model_kwargs, {}),
  ):
    merged = experiment.add_saved_parameters(given, saved)
    config = experiment.resolve_config(merged, saved, SCHEMA)
    assert config.model_kwargs == model_kwargs
    assert config.label_loss_kwargs == loss_kwargs


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (
      {"model": "MyModel"},
      "--model=MyModel contradicts .* model=LogisticModel. Leave the flag",
    ),
    ({"num_classes": 5}, "--num_classes=5 contradicts .* num_classes=4. "),
    (
      {"model_kwargs": {"l2_penalty": 1.0}},
      r"--model_kwargs={.l2_penalty.: 1.0} contradicts .* model_kwargs=\{\}",
    ),
    (
      {"feature_names": ("mean_rgb",)},
      "--feature_names=mean_rgb contradicts .*=mean_rgb,mean_audio. ",
    ),
    ({"feature_sizes": (9, 2)}, "--feature_sizes=9,2 contradicts .*=3,2. "),
    ({"frame_features": True}, "--frame_features=True contradicts .*=False. "),
    ({"max_frames": 7}, "--max_frames=7 contradicts .* max_frames=300. "),
    ({"optimizer": "SGD"}, "--optimizer=SGD contradicts .*=AdamOptimizer. "),
    ({"seed": 3}, "--seed=3 contradicts .* seed=None. "),
  ],
)
def test_what_a_train_dir_is_bound_to_cannot_change(given, message):
  with pytest.raises(UserError, match=message):
    experiment.resolve_config(given, VIDEO, SCHEMA)
  # The value it has may be typed again.
  (name,) = given
  again = {name: getattr(VIDEO, name)}
  assert experiment.resolve_config(again, VIDEO, SCHEMA) == VIDEO


def test_flags_that_contradict_the_data():
  message = (
    r"'data/train0.tfrecord' holds video-level features, but the model reads "
    r"frame-level ones \(--frame_features=True\)"
  )
  with pytest.raises(UserError, match=message):
    experiment.resolve_config({"frame_features": True}, None, SCHEMA)
  message = (
    r"'mean_rgb' should have size 1024 \(--feature_sizes\), but in "
    "'data/train0.tfrecord' it has size 3"
  )
  with pytest.raises(UserError, match=message):
    experiment.resolve_config({"feature_sizes": (1024, 2)}, None, SCHEMA)


def test_shards_of_another_kind_than_the_train_dirs():
  with pytest.raises(UserError, match="holds frame-level features, but the mo"):
    experiment.check_schema(VIDEO, FRAME_SCHEMA)
  other = with_vectors(mean_rgb=3, mean_audio=128)
  with pytest.raises(UserError, match="'mean_audio' .* 2 .* it has size 128"):
    experiment.check_schema(VIDEO, other)
  missing = with_vectors(mean_rgb=3)
  with pytest.raises(UserError, match="'mean_audio' .* it has size None"):
    experiment.check_schema(VIDEO, missing)
  # The order does not matter: features are found by their names.
  swapped = with_vectors(mean_audio=2, mean_rgb=3)
  experiment.check_schema(VIDEO, swapped)


ALONE = cluster.alone()


def test_a_train_dirs_configuration_is_loaded(tmp_path):
  VIDEO.save(str(tmp_path))
  given = {"num_classes": 4, "feature_sizes": (3, 2)}
  assert experiment.load_config(str(tmp_path), given, ALONE) == VIDEO
  message = "--feature_names=mean_rgb contradicts .*=mean_rgb,mean_audio"
  with pytest.raises(UserError, match=message):
    experiment.load_config(
      str(tmp_path), {"feature_names": ("mean_rgb",)}, ALONE
    )


def test_a_folder_without_a_model_is_refused(tmp_path):
  for folder in (tmp_path, tmp_path / "missing"):
    with pytest.raises(UserError, match="^--train_dir='.*no model was trained"):
      experiment.load_config(str(folder), {}, ALONE)


def test_unknown_settings_are_refused():
  with pytest.raises(UserError, match="'num_clases' is no setting. Available"):
    experiment.resolve_config({"num_clases": 3}, None, SCHEMA)


@pytest.mark.parametrize(
  ("num_classes", "advice"),
  [(3862, "527"), (51, "527"), (48, None), (25, None)],
)
def test_classes_that_no_label_comes_near(
  num_classes, advice, video_shards, caplog
):
  # Labels up to 24, in some hundred records.
  shards = sorted(tf.io.gfile.glob(video_shards.train))
  schema = readers.detect_schema(shards)
  config = ExperimentConfig(num_classes=num_classes)
  experiment.warn_of_unused_classes(config, schema)
  found = [line.rpartition(" ")[2] for line in caplog.messages]
  assert found == ([f"--num_classes={advice}."] if advice else [])


# Builders


def test_readers_are_those_of_the_level():
  reader = experiment.build_reader(VIDEO, num_readers=3)
  assert type(reader) is readers.YT8MAggregatedFeatureReader
  assert reader.num_classes == 4
  assert reader.feature_sizes == {"mean_rgb": 3, "mean_audio": 2}
  reader = experiment.build_reader(FRAME)
  assert type(reader) is readers.YT8MFrameFeatureReader
  assert reader.max_frames == 6
  # The model's order and sizes, however the shards have them.
  assert reader.feature_sizes == {"rgb": 3, "audio": 2}


def open_batches(config, pattern, with_labels=True):
  settings = configs.EvalSettings(eval_data_pattern=pattern)
  run = experiment.Run(settings, cluster.alone(), None)
  return experiment.open_batches(
    config, run, "eval_data_pattern", 61, with_labels
  )


def test_shards_are_opened_as_the_model_needs_them(video_shards):
  config = dataclasses.replace(
    VIDEO,
    num_classes=video_shards.num_classes,
    feature_names=("mean_audio",),
    feature_sizes=(video_shards.feature_sizes["mean_audio"],),
  )
  batches = open_batches(config, video_shards.validate)
  assert len(batches.shards) == 3
  (batch,) = batches
  assert batch["features"]["mean_audio"].shape == (61, 8)
  assert batch["weights"].numpy().all()


def test_shards_without_labels_are_for_inference(video_shards):
  config = dataclasses.replace(
    VIDEO, num_classes=video_shards.num_classes, feature_sizes=(16, 8)
  )
  message = "^--eval_data_pattern: .*test0000.* has no labels; .* inference.py"
  with pytest.raises(UserError, match=message):
    open_batches(config, video_shards.test)
  assert list(open_batches(config, video_shards.test, with_labels=False))


def test_shards_the_model_cannot_read_are_refused(frame_shards):
  # The feature is missing under its video-level name.
  with pytest.raises(UserError, match="feature 'mean_rgb' .* frame-level"):
    open_batches(VIDEO, frame_shards.validate)
  config = dataclasses.replace(FRAME, feature_sizes=(1024, 128))
  with pytest.raises(UserError, match="'rgb' should have size 1024 .* 16"):
    open_batches(config, frame_shards.validate)


def test_video_level_model():
  model = experiment.build_model(VIDEO)
  assert model.name == "LogisticModel"
  assert model.count_params() == 5 * 4 + 4
  batch = {
    "features": {
      "mean_rgb": np.array([[3, 0, 0]], np.float32),
      "mean_audio": np.array([[0, 4]], np.float32),
    },
    "num_frames": np.ones(1, np.int32),
  }
  weights = np.arange(20).reshape(5, 4).astype(np.float32)
  model.set_weights([weights, np.zeros(4)])
  # Normalised, mean_rgb before mean_audio: (0.6, 0, 0, 0, 0.8).
  expected = [0.6 * weights[0] + 0.8 * weights[4]]
  outputs = model(batch)
  np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-6)
  assert outputs["predictions"].dtype == tf.float32


def test_frame_level_model():
  model = experiment.build_model(FRAME)
  shapes = {
    name: (tensor.shape, tensor.dtype)
    for name, tensor in model.input["features"].items()
  }
  # Not max_frames: the number of frames is that of a batch.
  assert shapes == {
    "rgb": ((None, None, 3), "uint8"),
    "audio": ((None, None, 2), "uint8"),
  }
  batch = {
    "features": {
      "rgb": np.full((2, 6, 3), 255, np.uint8),
      "audio": np.full((2, 6, 2), 255, np.uint8),
    },
    "num_frames": np.array([0, 6], np.int32),
  }
  model.set_weights([np.ones((5, 4)), np.zeros(4)])
  logits = model(batch)["logits"]
  # No frames: zeros. Six equal frames: 5 times 1 / sqrt(5).
  expected = np.array([[0] * 4, [5**0.5] * 4])
  np.testing.assert_allclose(logits, expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("config", "model", "message"),
  [
    (
      VIDEO,
      "FrameLevelLogisticModel",
      r"--model=FrameLevelLogisticModel takes frame-level features, but the "
      r"shards hold video-level ones \(mean_rgb, mean_audio\)\. Choose another "
      r"--model: BranchesModel, GatedMoeModel, LogisticModel, MoeModel",
    ),
    (
      FRAME,
      "LogisticModel",
      r"takes video-level features, .* frame-level ones .*: "
      "AttentionPoolingModel, DbofModel, FrameLevelLogisticModel",
    ),
    (
      VIDEO,
      "LogisticModl",
      "--model: unknown 'LogisticModl'. Available: .*LogisticModel",
    ),
    # A class of another kind, and one that is no model.
    (VIDEO, "NormalizedInput", "--model: unknown 'NormalizedInput'"),
    (VIDEO, "BaseModel", "--model: unknown 'BaseModel'"),
  ],
)
def test_models_that_cannot_be_built(config, model, message):
  with pytest.raises(UserError, match=message):
    experiment.build_model(dataclasses.replace(config, model=model))


def test_model_arguments_reach_the_model():
  kwargs = {"l2_penalty": 0.5, "labels_per_video": None}
  model = experiment.build_model(
    dataclasses.replace(VIDEO, model_kwargs=kwargs)
  )
  weights, biases = model.get_weights()
  assert not biases.any()
  expected = 0.5 / 2 * (weights**2).sum()
  assert float(model.losses[0]) == pytest.approx(expected, rel=1e-6)


def test_unknown_model_arguments_list_the_known_ones():
  config = dataclasses.replace(VIDEO, model_kwargs={"l2_penalti": 1.0})
  message = (
    "^--model_kwargs: LogisticModel has no argument 'l2_penalti'. "
    "Available: l2_penalty, labels_per_video.$"
  )
  with pytest.raises(UserError, match=message):
    experiment.build_model(config)
  # What the suite itself fills in cannot be set.
  for name in ("vocab_size", "model_input", "num_frames", "self"):
    config = dataclasses.replace(VIDEO, model_kwargs={name: 1})
    with pytest.raises(UserError, match=f"has no argument '{name}'"):
      experiment.build_model(config)


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (
      {"l2_penalty": "strong"},
      '--model_kwargs: l2_penalty="strong" of LogisticModel should be a number',
    ),
    (
      {"labels_per_video": -1},
      "--model_kwargs=.*labels_per_video.* does not suit LogisticModel",
    ),
  ],
)
def test_unsuitable_model_arguments_are_named(kwargs, message):
  config = dataclasses.replace(VIDEO, model_kwargs=kwargs)
  with pytest.raises(UserError, match=message):
    experiment.build_model(config)


class HiddenLayerModel(models.BaseModel):
  """A user's model: constructor and call arguments, extra outputs."""

  def __init__(self, size=2):
    self._size = size

  def create_model(
    self, model_input, vocab_size, num_frames=None, activation="relu", flaw=None
  ):
    hidden = keras.layers.Dense(self._size, activation)(model_input)
    outputs = models.logistic_layer(hidden, vocab_size)
    outputs["regularization_loss"] = keras.ops.sum(hidden) * 0.0 + 3.0
    if flaw == "shape":
      outputs["predictions"] = hidden
    if flaw == "name":
      del outputs["predictions"]
    if flaw == "auxiliary":
      outputs["auxiliary"] = [{"logits": hidden, "weight": 1.0}]
    return outputs if flaw != "type" else outputs["predictions"]


@pytest.fixture
def users_model(monkeypatch):
  """HiddenLayerModel among the models, as a user would add it."""
  monkeypatch.setattr(
    models, "HiddenLayerModel", HiddenLayerModel, raising=False
  )
  return dataclasses.replace(VIDEO, model="HiddenLayerModel")


def test_a_users_model_is_found_by_name(users_model):
  kwargs = {"size": 7, "activation": "tanh"}
  config = dataclasses.replace(users_model, model_kwargs=kwargs)
  # 5 * 7 weights and 7 biases, 7 * 4 weights and 4 biases.
  model = experiment.build_model(config)
  assert model.count_params() == 35 + 7 + 28 + 4
  config = dataclasses.replace(users_model, model_kwargs={"depth": 2})
  with pytest.raises(UserError, match="Available: activation, flaw, size.$"):
    experiment.build_model(config)


@pytest.mark.parametrize(
  ("flaw", "message"),
  [
    ("shape", r"predictions of shape \(None, 2\) .* \(None, 4\) was expected"),
    ("auxiliary", r"auxiliary logits of shape \(None, 2\) .* was expected"),
    ("name", "should return a dict with 'predictions', but returned"),
    ("type", "should return a dict with 'predictions', but returned"),
  ],
)
def test_outputs_of_a_users_model_are_checked(users_model, flaw, message):
  config = dataclasses.replace(users_model, model_kwargs={"flaw": flaw})
  with pytest.raises(UserError, match=message):
    experiment.build_model(config)


def test_regularization_adds_up(users_model):
  model = experiment.build_model(users_model)
  batch = {
    "features": {"mean_rgb": np.ones((2, 3)), "mean_audio": np.ones((2, 2))},
    "num_frames": np.ones(2, np.int32),
  }
  model.set_weights([np.full(w.shape, 2.0) for w in model.get_weights()])
  assert float(experiment.other_penalty(model, model(batch))) == 3.0
  # 1e-8 / 2 * 8 weights * 2**2 of the last layer.
  assert float(experiment.weight_penalty(model)) == pytest.approx(1.6e-7)
  plain = experiment.build_model(VIDEO)
  plain.set_weights([np.full(w.shape, 2e3) for w in plain.get_weights()])
  assert float(experiment.other_penalty(plain, plain(batch))) == 0
  # 1e-8 / 2 * 20 * 2000**2.
  assert float(experiment.weight_penalty(plain)) == pytest.approx(0.4, rel=1e-6)


def test_losses_are_found_by_name():
  for name in ("CrossEntropyLoss", "HingeLoss", "SoftmaxLoss"):
    config = dataclasses.replace(VIDEO, label_loss=name)
    assert type(experiment.build_loss(config)) is getattr(losses, name)


@pytest.mark.parametrize("name", ["crossentropyloss", "BaseLoss", ""])
def test_unknown_losses_list_the_known_ones(name):
  message = (
    f"^--label_loss: unknown '{name}'. Available: CrossEntropyLoss, FocalLoss, "
    "HingeLoss, SoftmaxLoss.$"
  )
  with pytest.raises(UserError, match=message):
    experiment.build_loss(dataclasses.replace(VIDEO, label_loss=name))


class PowerLoss(losses.BaseLoss):
  """A user's loss, from before labels had weights."""

  def __init__(self, power=2.0, scale=1.0):
    self.power, self.scale = float(power), scale

  def per_example_loss(self, predictions, labels, logits=None):
    errors = keras.ops.abs(predictions - labels)
    return self.scale * keras.ops.sum(errors**self.power, axis=-1)


def test_a_users_loss_and_its_arguments(monkeypatch):
  monkeypatch.setattr(losses, "PowerLoss", PowerLoss, raising=False)

  def build(**kwargs):
    return experiment.build_loss(
      dataclasses.replace(
        VIDEO, label_loss="PowerLoss", label_loss_kwargs=kwargs
      )
    )

  outputs = {"predictions": tf.constant([[0.5, 0.0]])}
  for kwargs, expected in (({}, 0.25), ({"power": 3, "scale": 2.0}, 0.25)):
    loss = build(**kwargs)
    actual = experiment.label_losses(loss, outputs, tf.constant([[1.0, 0.0]]))
    assert actual.numpy().tolist() == [expected]
  with pytest.raises(UserError) as caught:
    build(powr=1)
  assert str(caught.value) == (
    "--label_loss_kwargs: PowerLoss has no argument 'powr'. "
    "Available: power, scale."
  )
  with pytest.raises(
    UserError, match='^--label_loss_kwargs: power="much" of PowerLoss should be'
  ):
    build(power="much")
  config = dataclasses.replace(
    VIDEO, label_loss="HingeLoss", label_loss_kwargs={"power": 1}
  )
  with pytest.raises(UserError, match="'power'. Available: none."):
    experiment.build_loss(config)


def test_label_losses_come_from_logits_or_from_the_model():
  labels = tf.constant([[1.0, 0.0], [0.0, 0.0]])
  logits = tf.constant([[30.0, 0.0], [0.0, 0.0]])
  loss = losses.CrossEntropyLoss()
  outputs = {"predictions": tf.sigmoid(logits), "logits": logits}
  # exp(-30) + ln 2 and 2 ln 2. The sigmoid of 30 is 1 in float32.
  expected = [np.log(2), 2 * np.log(2)]
  actual = experiment.label_losses(loss, outputs, labels).numpy()
  assert actual == pytest.approx(expected, rel=1e-6)
  # A model's own loss is taken instead, per example or for the whole batch.
  outputs["loss"] = tf.constant([5.0, 6.0])
  actual = experiment.label_losses(loss, outputs, labels).numpy()
  assert actual.tolist() == [5, 6]
  outputs["loss"] = tf.constant(7.0)
  actual = experiment.label_losses(loss, outputs, labels).numpy()
  assert actual.tolist() == [7, 7]


def test_auxiliary_outputs_have_the_label_loss_and_their_weights():
  labels = tf.constant([[1.0, 0.0], [0.0, 0.0]])
  zeros = tf.zeros([2, 2])
  loss = losses.CrossEntropyLoss()
  outputs = {
    "loss": tf.zeros([2]),  # Says nothing about the others.
    "auxiliary": [
      {"logits": tf.constant([[30.0, 0.0], [0.0, 0.0]]), "weight": 0.5},
      {"logits": zeros, "weight": tf.constant([2.0, 0.0])},
    ],
  }
  log2 = np.log(2)
  actual = experiment.auxiliary_losses(loss, outputs, labels).numpy()
  assert actual == pytest.approx([0.5 * log2 + 4 * log2, log2], rel=1e-6)
  rated = tf.constant([[1.0, 0.0], [1.0, 1.0]])
  actual = experiment.auxiliary_losses(loss, outputs, labels, rated).numpy()
  assert actual == pytest.approx([2 * log2, log2], rel=1e-6)
  assert not experiment.auxiliary_losses(loss, {}, labels).numpy().any()


# Keras' optimizers as its documentation lists them, and TensorFlow 1's names.
KERAS_OPTIMIZERS = (
  "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion Nadam RMSprop "
  "SGD"
).split()
OLD_OPTIMIZERS = {
  "AdadeltaOptimizer": "Adadelta",
  "AdagradOptimizer": "Adagrad",
  "AdamOptimizer": "Adam",
  "FtrlOptimizer": "Ftrl",
  "GradientDescentOptimizer": "SGD",
  "RMSPropOptimizer": "RMSprop",
}


def build_optimizer(name):
  return experiment.build_optimizer(
    dataclasses.replace(VIDEO, optimizer=name, base_learning_rate=0.25)
  )


@pytest.mark.parametrize(
  ("name", "expected"),
  [*zip(KERAS_OPTIMIZERS, KERAS_OPTIMIZERS, strict=True)]
  + [*OLD_OPTIMIZERS.items(), ("adam", "Adam"), ("SGDOptimizer", "SGD")],
)
def test_optimizers_are_found_by_name(name, expected):
  optimizer = build_optimizer(name)
  assert type(optimizer) is getattr(keras.optimizers, expected)
  assert float(optimizer.learning_rate) == 0.25


def refusal_of_optimizer(name):
  with pytest.raises(UserError) as caught:
    build_optimizer(name)
  return str(caught.value)


@pytest.mark.parametrize(
  "name",
  ["Adamm", "", "Optimizer", "LossScaleOptimizer", "MultiOptimizer", "get"],
)
def test_unknown_optimizers_are_refused(name):
  message = refusal_of_optimizer(name)
  assert message.startswith(f"--optimizer: unknown {name!r}. Available: Ada")


def test_every_optimizer_that_is_offered_works():
  # Also those that a newer version of Keras has.
  message = refusal_of_optimizer("unknown")
  choices = message.split("Available: ")[1].rstrip(".").split(", ")
  assert set(KERAS_OPTIMIZERS) <= set(choices)
  for choice in choices:
    if choice == "Muon" and keras.__version__ < "3.13":
      continue  # Keras 3.12 (Python 3.10) cannot run it under TensorFlow.
    optimizer = build_optimizer(choice)
    assert type(optimizer) is getattr(keras.optimizers, choice)
    variables = experiment.build_model(VIDEO).trainable_variables
    optimizer.build(variables)
    before = variables[1].numpy()
    optimizer.apply([tf.ones_like(v) for v in variables], variables)
    assert (variables[1].numpy() < before).all(), choice


@pytest.mark.parametrize(
  ("num_examples", "expected"),
  [
    # 0.01 * 0.95**n, n whole decays: a staircase.
    (0, 0.01),
    (1, 0.01),
    (3_999_999, 0.01),
    (4_000_000, 0.0095),
    (7_999_999, 0.0095),
    (8_000_000, 0.009025),
    (40_000_000, 0.01 * 0.95**10),
  ],
)
def test_learning_rate_staircase(num_examples, expected):
  rate = experiment.learning_rate(
    ExperimentConfig(), tf.constant(num_examples, tf.int64)
  )
  assert rate.dtype == tf.float32
  assert float(rate) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
  ("schedule", "num_examples", "expected"),
  [
    # Half a cosine over 1,000 examples: (1 + cos(pi t)) / 2 of 0, 1/3, 1/2, 1.
    ("cosine", 0, 0.2 * 100 / 400),
    ("cosine", 300, 0.2 * (1 + math.cos(0.3 * math.pi)) / 2),
    ("cosine", 500, 0.1),
    ("cosine", 1000, 0.0),
    ("cosine", 9999, 0.0),
    # A rise over 400 examples, of which a batch has 100.
    ("staircase", 0, 0.2 * 1 / 4),
    ("staircase", 200, 0.2 * 3 / 4),
    ("staircase", 300, 0.2),
    ("staircase", 1000, 0.1),
  ],
)
def test_learning_rate_schedules(schedule, num_examples, expected):
  config = ExperimentConfig(
    base_learning_rate=0.2,
    learning_rate_decay=0.5,
    learning_rate_decay_examples=1000,
    learning_rate_schedule=schedule,
    learning_rate_warmup_examples=400,
    batch_size=100,
  )
  rate = experiment.learning_rate(config, tf.constant(num_examples, tf.int64))
  assert rate.dtype == tf.float32
  assert float(rate) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
  ("optimizer", "decay", "expected"),
  # Without a gradient, only the decay moves a weight: 2 - 0.1 * decay * 2.
  [("SGD", 0.5, 1.9), ("AdamW", None, 2 - 0.1 * 0.004 * 2), ("SGD", None, 2.0)],
)
def test_weight_decay(optimizer, decay, expected):
  config = ExperimentConfig(
    optimizer=optimizer, base_learning_rate=0.1, weight_decay=decay
  )
  weight = keras.Variable([2.0])
  built = experiment.build_optimizer(config)
  built.build([weight])
  built.apply([tf.zeros([1])], [weight])
  assert weight.numpy() == pytest.approx([expected], rel=1e-6)


def test_learning_rate_in_a_graph():
  config = dataclasses.replace(
    VIDEO,
    base_learning_rate=1.0,
    learning_rate_decay=0.5,
    learning_rate_decay_examples=10,
  )
  examples = tf.Variable(0, dtype=tf.int64)

  @tf.function
  def rate():
    return experiment.learning_rate(config, examples)

  rates = []
  for count in (9, 10, 25):
    examples.assign(count)
    rates.append(float(rate()))
  assert rates == [1, 0.5, 0.25]
