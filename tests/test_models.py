# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Input normalisation and the logistic models, against plain numpy."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_layers
import models
import utils
from records import CODES, VECTOR, Form

NUM_CLASSES = 4
SIZES = (3, 2)


def normalized_input():
  return model_layers.NormalizedInput(
    utils.DEQUANTIZE_SCALE, utils.DEQUANTIZE_OFFSET, name="input"
  )


def slow_normalized(parts, num_frames=None):
  """What `NormalizedInput` should give, one vector after the other.

  Args:
    parts: arrays of one batch, [B, D] float or [B, T, D] uint8 codes.
    num_frames: [B]; needed for codes.
  """
  if num_frames is None:
    return np.array([slow_unit(row) for row in zip(*parts, strict=True)])
  videos = []
  for video, count in zip(zip(*parts, strict=True), num_frames, strict=True):
    frames = [
      # The inverse of the data set's quantisation, from its description.
      slow_unit([codes * (4 / 255) + 4 / 512 - 2 for codes in frame])
      for frame in zip(*video, strict=True)
    ]
    frames[count:] = [np.zeros_like(frame) for frame in frames[count:]]
    videos.append(frames)
  return np.array(videos)


def slow_unit(parts):
  vector = np.concatenate([np.asarray(part, np.float64) for part in parts])
  norm = np.sqrt((vector**2).sum())
  return vector / norm if norm else vector


def random_codes(num_videos=3, max_frames=4, seed=0):
  """Codes of two features; also beyond a video's last frame."""
  rng = np.random.default_rng(seed)
  return [
    rng.integers(0, 256, (num_videos, max_frames, size), np.uint8)
    for size in SIZES
  ]


def build(model_class, sizes, frame_features, num_classes, **kwargs):
  """A model as the programs build it, called with parts and num_frames."""
  kind = CODES if frame_features else VECTOR
  forms = {str(number): Form(kind, size) for number, size in enumerate(sizes)}
  model = models.build_model(model_class, forms, num_classes, kwargs)

  def call(parts, num_frames, **kwargs):
    features = dict(zip(forms, parts, strict=True))
    return model({"features": features, "num_frames": num_frames}, **kwargs)

  return model, call


def video_model(size=5, num_classes=NUM_CLASSES, **kwargs):
  """LogisticModel, without its input layer."""
  features = keras.Input((size,))
  outputs = models.LogisticModel().create_model(features, num_classes, **kwargs)
  return keras.Model(features, outputs)


def frame_model(**kwargs):
  """FrameLevelLogisticModel from codes, and the function that calls it."""
  return build(
    models.FrameLevelLogisticModel, SIZES, True, NUM_CLASSES, **kwargs
  )


def set_random_weights(model, seed=1):
  rng = np.random.default_rng(seed)
  weights = [rng.normal(0, 1, w.shape) for w in model.get_weights()]
  model.set_weights(weights)
  return weights


def sigmoid(logits):
  return 1 / (1 + np.exp(-logits))


def test_video_level_input_hand_worked():
  # (3, 0) and (4) have a joint norm of 5; zeros stay zeros.
  parts = [
    np.array([[3, 0], [0, 0]], np.float32),
    np.array([[4], [0]], np.float32),
  ]
  output = normalized_input()(parts).numpy()
  np.testing.assert_allclose(output, [[0.6, 0, 0.8], [0, 0, 0]], rtol=1e-6)
  assert output[1].tolist() == [0, 0, 0]


def test_frame_level_input_hand_worked():
  # Code 255 stands for 2.0078125, 0 for -1.9921875; two equal values of one
  # frame are 1 / sqrt(2) each. The second frame is padding, whatever is in it.
  codes = np.array([[[255, 255], [255, 0]]], np.uint8)
  output = normalized_input()([codes], np.array([1], np.int32)).numpy()
  half = math.sqrt(0.5)
  np.testing.assert_allclose(output, [[[half, half], [0, 0]]], rtol=1e-6)
  output = normalized_input()([codes], np.array([2], np.int32)).numpy()
  norm = math.hypot(2.0078125, 1.9921875)
  expected = [2.0078125 / norm, -1.9921875 / norm]
  np.testing.assert_allclose(output[0, 1], expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("max_frames", "sizes", "jit_compile"),
  [
    (9, (3, 2), False),
    *((max_frames, (3, 2), True) for max_frames in (0, 9)),
    *((10, (256,), True), (23, (1024, 128), True), (40, (1100, 7), True)),
  ],
)
def test_input_and_mean_equal_numpy_for_any_sizes(
  max_frames, sizes, jit_compile
):
  # They add up slices and halves, which not all sizes can be cut into.
  rng = np.random.default_rng(3)
  shape = (3, max_frames)
  parts = [rng.integers(0, 256, (*shape, size), np.uint8) for size in sizes]
  num_frames = np.array([max_frames, max_frames // 2, 0], np.int32)
  layers = normalized_input(), model_layers.FrameMean()

  @tf.function(jit_compile=jit_compile)
  def both(parts, num_frames):
    frames = layers[0](parts, num_frames)
    return frames, layers[1](frames, num_frames)

  frames, means = both(parts, num_frames)
  assert frames.dtype == tf.float32
  expected = slow_normalized(parts, num_frames).reshape(frames.shape)
  np.testing.assert_allclose(frames, expected, atol=1e-6)
  counts = np.maximum(num_frames, 1)[:, None]
  np.testing.assert_allclose(means, expected.sum(1) / counts, atol=1e-6)


@pytest.mark.parametrize("frame_features", [False, True])
def test_input_for_models_that_take_features_as_they_are(frame_features):
  class Unchanged(models.BaseModel):
    normalize_input = False
    takes_features = True

    def create_model(self, model_input, vocab_size, num_frames=None):
      assert list(model_input) == ["0", "1"]
      total = keras.ops.sum(model_input["1"], axis=-1)
      if frame_features:
        total = keras.ops.sum(total, axis=-1)
      predictions = keras.ops.tile(total[:, None], (1, vocab_size))
      return {"predictions": predictions, **model_input}

  _, call = build(Unchanged, SIZES, frame_features, NUM_CLASSES)
  if frame_features:
    parts, num_frames = random_codes(), np.array([0, 2, 4], np.int32)
    expected = [part * (4 / 255) + 4 / 512 - 2 for part in parts]
    for part in expected:
      part[0], part[1, 2:] = 0, 0
  else:
    parts = [np.full((3, size), 2.5, np.float32) for size in SIZES]
    expected, num_frames = parts, np.ones(3, np.int32)
  outputs = call(parts, num_frames)
  for name, part in zip("01", expected, strict=True):
    np.testing.assert_allclose(outputs[name], part, atol=1e-6)


def test_one_feature_of_several_may_be_normalised_and_left_out():
  class First(models.BaseModel):
    takes_features = True

    def create_model(self, model_input, vocab_size, num_frames=None):
      return models.logistic_layer(model_input["0"], vocab_size)

  model, call = build(First, (2, 1), False, 1)
  model.set_weights([np.ones((2, 1)), np.zeros(1)])
  # Its norm is that of both.
  parts = [np.array([[3, 0]], np.float32), np.array([[4]], np.float32)]
  logits = call(parts, np.ones(1, np.int32))["logits"]
  assert logits.numpy() == pytest.approx(0.6)


def test_logistic_model_equals_numpy():
  model = video_model()
  weights, biases = set_random_weights(model)
  features = np.random.default_rng(2).normal(0, 1, (7, 5)).astype(np.float32)
  outputs = model(features)
  logits = features @ weights + biases
  np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)
  np.testing.assert_allclose(outputs["predictions"], sigmoid(logits), atol=1e-6)
  assert set(outputs) == {"predictions", "logits", "embedding"}


def test_frame_level_model_equals_numpy():
  model, call = frame_model()
  weights, biases = set_random_weights(model)
  parts, num_frames = random_codes(), np.array([0, 1, 4], np.int32)
  totals = slow_normalized(parts, num_frames).sum(axis=1)
  means = totals / np.array([[1], [1], [4]])  # No frames: a mean of zeros.
  expected = sigmoid(means @ weights + biases)
  outputs = call(parts, num_frames)
  np.testing.assert_allclose(outputs["predictions"], expected, atol=1e-6)


def test_number_of_frames_is_that_of_the_batch():
  model, call = frame_model()
  weights, biases = set_random_weights(model)
  call = tf.function(call)
  for max_frames in (0, 1, 5, 300):
    parts = random_codes(num_videos=2, max_frames=max_frames)
    num_frames = np.array([max_frames, 0], np.int32)
    outputs = call([tf.constant(part) for part in parts], num_frames)
    frames = slow_normalized(parts, num_frames).reshape(2, max_frames, 5)
    means = frames.sum(axis=1) / max(max_frames, 1)
    np.testing.assert_allclose(
      outputs["logits"], means @ weights + biases, atol=1e-5
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_xla_compiles_input_and_mean_but_no_product(jit_compile):
  model = models.build_model(
    models.FrameLevelLogisticModel, {"rgb": Form(CODES, 3)}, 4, {}, jit_compile
  )
  batch = {
    "features": {"rgb": tf.zeros([2, 5, 3], tf.uint8)},
    "num_frames": tf.ones([2], tf.int32),
  }
  graph = tf.function(model).get_concrete_function(batch).graph
  in_library = {
    definition.signature.name: {node.op for node in definition.node_def}
    for definition in graph.as_graph_def().library.function
    if definition.attr["_XlaMustCompile"].b
  }
  outside = {node.op for node in graph.as_graph_def().node}
  assert "MatMul" in outside
  assert not any("MatMul" in kinds for kinds in in_library.values())
  # What is called from outside is one function, from codes to means.
  assert bool(in_library) == jit_compile
  assert ("Rsqrt" in outside) == (not jit_compile)


def test_a_layer_with_weights_is_not_compiled_and_gets_gradients():
  class Scaled(models.BaseModel):
    def create_model(self, model_input, vocab_size, num_frames):
      hidden = keras.layers.Dense(3, "tanh", name="hidden")(model_input)
      return models.FrameLevelLogisticModel().create_model(
        hidden, vocab_size, num_frames
      )

  model, call = build(Scaled, SIZES, True, NUM_CLASSES)
  parts = [tf.constant(part) for part in random_codes()]

  @tf.function
  def gradients():
    with tf.GradientTape() as tape:
      logits = call(parts, tf.constant([0, 2, 4]))["logits"]
    return tape.gradient(logits, model.trainable_variables)

  assert len(model.trainable_variables) == 4
  for gradient in gradients():
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_padding_has_no_influence():
  model, call = frame_model()
  set_random_weights(model)
  codes, num_frames = random_codes(), np.array([0, 1, 3], np.int32)
  expected = None
  for max_frames in (3, 4, 9):
    for filler in (0, 255):
      padded = []
      for part in codes:
        shape = (part.shape[0], max_frames, part.shape[2])
        longer = np.full(shape, filler, np.uint8)
        longer[:, :3] = part[:, :3]
        for video, count in enumerate(num_frames):
          longer[video, count:] = filler
        padded.append(longer)
      output = call(padded, num_frames)["predictions"].numpy()
      if expected is None:
        expected = output
      np.testing.assert_allclose(output, expected, atol=1e-6)


def test_videos_and_frames_do_not_depend_on_others_nor_on_their_order():
  model, call = frame_model()
  set_random_weights(model)
  parts, num_frames = random_codes(), np.array([2, 0, 4], np.int32)
  together = call(parts, num_frames)["predictions"].numpy()
  for video in range(3):
    row = slice(video, video + 1)
    alone = call([part[row] for part in parts], num_frames[row])
    np.testing.assert_allclose(alone["predictions"], together[row], atol=1e-6)
  backwards = [part[2:, ::-1] for part in parts]
  np.testing.assert_allclose(
    call(backwards, num_frames[2:])["predictions"], together[2:], atol=1e-6
  )


def test_video_level_differs_by_the_order_of_normalisation():
  # The programs normalise video-level features, which are means of raw frames.
  # Frames (4, 0) and (0, 2), scaled to (1, 0) and (0, 1), have the mean
  # (1/2, 1/2); the raw mean (2, 1) scales to (2, 1) / sqrt(5). The lengths and
  # the directions differ. With weights (1, 0) so do the logits.
  frames = np.array([[[4, 0], [0, 2]]], np.float32)
  weights = [np.array([[1.0], [0.0]]), np.zeros(1)]
  video = video_model(size=2, num_classes=1)
  video.set_weights(weights)
  video_input = normalized_input()([frames.mean(axis=1)])
  assert video(video_input)["logits"].numpy() == pytest.approx(2 / math.sqrt(5))

  # Without quantisation: the frames are normalised as vectors of their own.
  frame_input = normalized_input()([frames[0]]).numpy()[np.newaxis]
  sequence, counts = keras.Input((2, 2)), keras.Input((), dtype="int32")
  outputs = models.FrameLevelLogisticModel().create_model(sequence, 1, counts)
  model = keras.Model([sequence, counts], outputs)
  model.set_weights(weights)
  logits = model([frame_input, np.array([2], np.int32)])["logits"]
  assert logits.numpy() == pytest.approx(0.5)


@pytest.mark.parametrize(
  ("num_classes", "labels_per_video", "expected"),
  [
    # 3 of 3862 labels: ln(3 / 3859) = -7.15956.
    (3862, 3.0, -7.15956),
    # More labels than half the classes: undecided.
    (4, 3.0, 0.0),
    (2, 7.0, 0.0),
    (3862, None, 0.0),
  ],
)
def test_biases_start_at_the_log_odds_of_a_label(
  num_classes, labels_per_video, expected
):
  model = video_model(
    size=1, num_classes=num_classes, labels_per_video=labels_per_video
  )
  _, biases = model.get_weights()
  assert biases == pytest.approx(np.full(num_classes, expected), abs=1e-5)
  # A video of zeros gets a label's share as its prediction.
  share = 1 / (1 + math.exp(-expected))
  predictions = model(np.zeros((1, 1), np.float32))["predictions"].numpy()
  assert predictions == pytest.approx(
    np.full((1, num_classes), share), rel=1e-5
  )


def test_labels_per_video_is_above_zero():
  for value in (0, -1.0):
    with pytest.raises(ValueError, match="^labels_per_video=.* above 0"):
      video_model(labels_per_video=value)


def test_weight_decay():
  for penalty, expected in ((0.5, 20.0), (None, 4e-7)):
    kwargs = {} if penalty is None else {"l2_penalty": penalty}
    # 0.5 / 2 * 20 weights * 2**2; the biases are free. The default is 1e-8.
    for model in (video_model(**kwargs), frame_model(**kwargs)[0]):
      model.set_weights([np.full((5, 4), 2.0), np.full(4, 100.0)])
      assert [float(loss) for loss in model.losses] == pytest.approx([expected])


def test_layers_keep_the_numbers_that_old_checkpoints_give_them():
  # Two features and num_frames come first, then input and mean.
  video, _ = build(models.LogisticModel, SIZES, False, NUM_CLASSES)
  assert video.layers[4].name == "logits"
  assert frame_model()[0].layers[5].name == "logits"


def test_kinds_of_features():
  assert models.LogisticModel.frame_features is False
  assert models.FrameLevelLogisticModel.frame_features is True
  # A user's model says nothing and gets either.
  assert models.BaseModel.frame_features is None
  with pytest.raises(NotImplementedError):
    models.BaseModel().create_model(None, 1)
