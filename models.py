# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Models: from normalised features to a probability per class.

To add a model, subclass `BaseModel` in this file and name the class in
`--model`. Models are built from Keras layers and `keras.ops`; `tf.*` ops do
not take Keras' symbolic tensors, so put those inside a `keras.layers.Layer`.
"""

import functools
import math

import keras
from keras import ops

# As tf.math.l2_normalize: a vector of zeros stays zero.
_NORM_EPSILON = 1e-12

# How sums are split for XLA; see `_sum_of_slices` and docs/performance.md.
_NUM_SLICES = 10
_VECTOR = 128
_LONGEST_FEATURE = 1024  # rgb and inc3.


class BaseModel:
  """What every model provides: `create_model`.

  Attributes:
    frame_features: the kind of features a model takes: True for frame-level,
      False for video-level, None for both.
  """

  frame_features: bool | None = None

  def create_model(self, model_input, vocab_size, num_frames=None):
    """Builds the graph of a model, once, from symbolic Keras tensors.

    A model may take further keyword arguments, here or in its constructor;
    they are set by `--model_kwargs` and need defaults.

    Args:
      model_input: L2-normalised features, float32: [batch, feature_size] at
        video level, [batch, max_frames, feature_size] at frame level, zero
        after a video's last frame.
      vocab_size: number of classes.
      num_frames: [batch] int32, each video's own frames, at most max_frames;
        0 is possible. At video level, ones.

    Returns:
      A dict with "predictions", [batch, vocab_size] in [0, 1], and optionally
        - "logits": [batch, vocab_size] scores before a sigmoid; a loss that
          can be computed from them is more exact;
        - "regularization_loss": a scalar, added to the losses of the layers'
          own regularizers and weighted by `--regularization_penalty`;
        - "loss": [batch] or scalar, taken instead of `--label_loss`.
    """
    raise NotImplementedError


class LogisticModel(BaseModel):
  """One fully connected layer with a sigmoid, at video level."""

  frame_features = False

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames=None,
    l2_penalty=1e-8,
    labels_per_video=3.0,
  ):
    """See `BaseModel`, and `logistic_layer` for the further arguments."""
    return logistic_layer(model_input, vocab_size, l2_penalty, labels_per_video)


class FrameLevelLogisticModel(BaseModel):
  """The mean of a video's frames, then one fully connected layer.

  The mean is over the video's own frames, each normalised before it; padding
  takes no part. A video without frames has a mean of zeros.
  """

  frame_features = True

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    l2_penalty=1e-8,
    labels_per_video=3.0,
  ):
    """See `BaseModel`, and `logistic_layer` for the further arguments."""
    means = FrameMean(name="mean")(model_input, num_frames)
    return logistic_layer(means, vocab_size, l2_penalty, labels_per_video)


def logistic_layer(features, vocab_size, l2_penalty=1e-8, labels_per_video=3.0):
  """A sigmoid unit per class on `features`.

  Args:
    features: [batch, feature_size] float.
    vocab_size: number of classes.
    l2_penalty: the weights' L2 penalty, l2_penalty * sum(w^2) / 2 as in the
      starter code; the biases have none.
    labels_per_video: how many labels a video has on average. The biases start
      at the log-odds of a label, so training need not spend its first epochs
      on learning that labels are rare. None starts them at 0.

  Returns:
    {"predictions", "logits"}, both [batch, vocab_size].
  """
  logits = keras.layers.Dense(
    vocab_size,
    kernel_regularizer=keras.regularizers.L2(l2_penalty / 2.0),
    bias_initializer=_log_odds_initializer(labels_per_video, vocab_size),
    name="logits",
  )(features)
  predictions = keras.layers.Activation(
    "sigmoid", dtype="float32", name="predictions"
  )(logits)
  return {"predictions": predictions, "logits": logits}


def _log_odds_initializer(labels_per_video, vocab_size):
  if labels_per_video is None:
    return keras.initializers.Zeros()
  if labels_per_video <= 0:
    raise ValueError(f"labels_per_video={labels_per_video} should be above 0.")
  # With few classes most videos may have a label; start undecided then.
  rate = min(labels_per_video / vocab_size, 0.5)
  return keras.initializers.Constant(math.log(rate / (1.0 - rate)))


class FrameMean(keras.layers.Layer):
  """The mean of each video's own frames; of no frames it is zeros.

  Args:
    dtype: of the computation; float32 in mixed precision, too, since bfloat16
      loses a frame among 300.

  Call arguments:
    frames: [batch, max_frames, size] float, zero after a video's last frame.
    num_frames: [batch] int32, each video's own frames.

  Returns:
    [batch, size] float32.
  """

  def __init__(self, dtype="float32", **kwargs):
    super().__init__(dtype=dtype, **kwargs)

  def call(self, frames, num_frames):
    """Averages a batch; see the class."""
    # Block by block: the input is a concatenation of features, and XLA would
    # choose between them for every single number. It sees through a block that
    # is a whole feature, as those of YouTube-8M are.
    starts = range(0, frames.shape[-1], _LONGEST_FEATURE)
    totals = ops.concatenate(
      [
        _sum_of_slices(frames[..., start : start + _LONGEST_FEATURE])
        for start in starts
      ],
      axis=-1,
    )  # Padding is zero: nothing to mask.
    counts = ops.cast(ops.expand_dims(num_frames, -1), totals.dtype)
    return ops.divide_no_nan(totals, counts)


def _sum_of_slices(frames):
  """[batch, size] sum over the frames of [batch, max_frames, size].

  XLA adds up along an axis number by number, but adds tensors with vector
  instructions: so most of the sum is one of a few slices.
  """
  length = frames.shape[1] // _NUM_SLICES
  if not length:
    return ops.sum(frames, axis=1)
  end = _NUM_SLICES * length
  slices = [frames[:, k : k + length] for k in range(0, end, length)]
  totals = ops.sum(functools.reduce(ops.add, slices), axis=1)
  if end < frames.shape[1]:
    totals = totals + ops.sum(frames[:, end:], axis=1)
  return totals


class NormalizedInput(keras.layers.Layer):
  """The first layer of every model: raw features to one normalised tensor.

  Frame features arrive as 8-bit codes and are dequantised here, on the device
  that trains: the input pipeline moves a quarter of the bytes, and XLA fuses
  all of it with the first thing that a model does.

  Args:
    scale: what a code is multiplied by.
    offset: what is added to it then.
    dtype: of the computation; float32 in mixed precision, too, since norms are
      sums of a thousand squares.

  Call arguments:
    features: list of tensors, [batch, size] float32 or [batch, max_frames,
      size] uint8 codes.
    num_frames: [batch] int32; needed at frame level. At video level it is
      only taken in: not all versions of Keras allow an input without a use.

  Returns:
    [batch, sum of sizes] or [batch, max_frames, sum of sizes], divided by its
    L2 norm over the last axis, and zero beyond a video's last frame.
  """

  def __init__(self, scale, offset, dtype="float32", **kwargs):
    super().__init__(dtype=dtype, **kwargs)
    self.scale = scale
    self.offset = offset

  def call(self, features, num_frames=None):
    """Normalises a batch; see the class."""
    parts = [self._dequantized(part) for part in features]
    # The norm of the concatenation, without concatenating twice.
    squares = sum(_sum_of_squares(part) for part in parts)
    scale = ops.rsqrt(ops.maximum(squares, _NORM_EPSILON))
    if num_frames is not None and len(parts[0].shape) == 3:
      steps = ops.arange(parts[0].shape[1], dtype="int32")
      is_frame = steps[None, :] < num_frames[:, None]
      scale = scale * ops.cast(is_frame, scale.dtype)[..., None]
    return ops.concatenate([part * scale for part in parts], axis=-1)

  def _dequantized(self, part):
    if keras.backend.standardize_dtype(part.dtype) != "uint8":
      return part
    return ops.cast(part, "float32") * self.scale + self.offset

  def get_config(self):
    """The constructor's arguments, so that an exported model can be loaded."""
    return {
      **super().get_config(),
      "scale": self.scale,
      "offset": self.offset,
    }


def _sum_of_squares(part):
  """[..., 1] sum over the last axis of the squares of [..., size]."""
  squares = ops.square(part)
  # As in `_sum_of_slices`. Without many frames there is little to gain.
  while len(part.shape) == 3 and squares.shape[-1] % (2 * _VECTOR) == 0:
    half = squares.shape[-1] // 2
    squares = squares[..., :half] + squares[..., half:]
  return ops.sum(squares, axis=-1, keepdims=True)
