# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Layers that models share: their input, the mean of frames, the head.

XLA fuses elementwise operations and sums, which the layers here mostly are.
Matrix products are faster without it on a CPU. So nothing is compiled by its
level of features: `compiled` marks what XLA is to compile.
"""

import functools
import math

import keras
import tensorflow as tf
from keras import ops

# Lower bound of a squared norm, as in tf.math.l2_normalize: zeros stay zeros.
_NORM_EPSILON = 1e-12

# How sums are split for XLA; see `_sum_of_slices` and docs/performance.md.
_NUM_SLICES = 10
_VECTOR = 128
_LONGEST_FEATURE = 1024  # rgb and inc3.


def compiled(tensors):
  """The same symbolic tensors, computed from the inputs by one XLA function.

  XLA fuses all layers on the way, so what lies between them is never stored.
  Where one of them has weights, the tensors are returned as they are: a matrix
  product is faster outside of XLA, and XLA cannot compile an all-reduce, which
  batch normalisation needs.

  Args:
    tensors: symbolic tensor, or a list of them.
  """
  sources = {
    id(source): source
    for tensor in keras.tree.flatten(tensors)
    for source in keras.utils.get_source_inputs(tensor)
  }
  part = keras.Model(list(sources.values()), tensors)
  return tensors if part.variables else Compiled(part)(part.inputs)


class XlaLayer(keras.layers.Layer):
  """A layer that lets XLA compile some of its functions.

  A layer that is called eagerly does not compile them, since that would be done
  again in every call. Keras does not cast the inputs: a compiled function casts
  them itself, so that XLA fuses the cast with what follows.

  Args:
    dtype: of the computation.

  Attributes:
    jit_compile: whether XLA is used, in functions that are traced from now on.
  """

  def __init__(self, dtype="float32", **kwargs):
    super().__init__(dtype=dtype, autocast=False, **kwargs)
    self.jit_compile = True

  def run(self, function, *arguments):
    """What a function of tensors gives; compiled, where that is asked for."""
    if not self.jit_compile or tf.executing_eagerly():
      return function(*arguments)
    # One function per layer: a shared one would keep other models' traces
    # alive.
    compiled_function = tf.function(function, jit_compile=True, autograph=False)
    return compiled_function(*arguments)


class Compiled(XlaLayer):
  """A part of a model as one layer, which XLA compiles.

  Args:
    part: a `keras.Model`, which takes a list of tensors.
  """

  def __init__(self, part, **kwargs):
    super().__init__(**kwargs)
    self.part = part

  def call(self, inputs):
    """The outputs of the part."""
    return self.run(self.part, inputs)


def dequantized(frames, scale, offset):
  """Codes, uint8, as the float32 numbers that they stand for; others as is."""
  if keras.backend.standardize_dtype(frames.dtype) != "uint8":
    return frames
  return ops.cast(frames, "float32") * scale + offset


class NormalizedInput(keras.layers.Layer):
  """The first layer of every model: raw features to normalised tensors.

  Frame features arrive as 8-bit codes and are dequantised here, on the device
  that trains: the input pipeline moves a quarter of the bytes, and XLA fuses
  all of it with the first thing that a model does.

  Args:
    scale: what a code is multiplied by.
    offset: what is added to it then.
    normalize: whether to divide each vector by its L2 norm, which is that of
      all features together.
    concatenate: whether to make one tensor of the features.
    dtype: of the computation; float32 in mixed precision, too, since norms are
      sums of a thousand squares.

  Call arguments:
    features: list of tensors, [batch, size] float32 or [batch, T, size] uint8
      codes.
    num_frames: [batch] int32; needed at frame level. At video level it is
      only taken in: not all versions of Keras allow an input without a use.

  Returns:
    [batch, sum of sizes] or [batch, T, sum of sizes] float32, zero beyond a
    video's last frame; or a list of such tensors, one for each feature.
  """

  def __init__(
    self,
    scale,
    offset,
    normalize=True,
    concatenate=True,
    dtype="float32",
    **kwargs,
  ):
    super().__init__(dtype=dtype, **kwargs)
    self.scale = scale
    self.offset = offset
    self.normalize = normalize
    self.concatenate = concatenate

  def call(self, features, num_frames=None):
    """Normalises a batch; see the class."""
    parts = [dequantized(part, self.scale, self.offset) for part in features]
    factor = 1.0
    if self.normalize:
      # The norm of the concatenation, without concatenating twice.
      squares = sum(_sum_of_squares(part) for part in parts)
      factor = ops.rsqrt(ops.maximum(squares, _NORM_EPSILON))
    if num_frames is not None and len(parts[0].shape) == 3:
      steps = ops.arange(ops.shape(parts[0])[1], dtype="int32")
      is_frame = steps[None, :] < num_frames[:, None]
      factor = factor * ops.cast(is_frame, "float32")[..., None]
    parts = [part * factor for part in parts]
    return ops.concatenate(parts, axis=-1) if self.concatenate else parts


class FrameMean(keras.layers.Layer):
  """The mean of each video's own frames; of no frames it is zeros.

  Args:
    dtype: of the computation; float32 in mixed precision, too, since bfloat16
      loses a frame among 300.

  Call arguments:
    frames: [batch, T, size] float, zero after a video's last frame.
    num_frames: [batch] int32, each video's own frames, at most T.

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
    {"predictions", "logits"}, both [batch, vocab_size], and "embedding", the
    features.
  """
  logits = keras.layers.Dense(
    vocab_size,
    kernel_regularizer=keras.regularizers.L2(l2_penalty / 2.0),
    bias_initializer=log_odds_initializer(labels_per_video, vocab_size),
    name="logits",
  )(features)
  predictions = keras.layers.Activation(
    "sigmoid", dtype="float32", name="predictions"
  )(logits)
  return {
    "predictions": predictions,
    "logits": logits,
    "embedding": features,
  }


def log_odds_initializer(labels_per_video, vocab_size):
  """An initializer of [vocab_size] biases: the log-odds of a label.

  Args:
    labels_per_video: labels of a video on average, above 0; None gives zeros.
    vocab_size: number of classes.

  Raises:
    ValueError: `labels_per_video` is not above 0.
  """
  if labels_per_video is None:
    return keras.initializers.Zeros()
  if labels_per_video <= 0:
    raise ValueError(f"labels_per_video={labels_per_video} should be above 0.")
  # With few classes most videos may have a label; start undecided then.
  rate = min(labels_per_video / vocab_size, 0.5)
  return keras.initializers.Constant(math.log(rate / (1.0 - rate)))


def _sum_of_slices(frames):
  """[batch, size] sum over the frames of [batch, T, size].

  XLA adds up along an axis number by number, but adds tensors with vector
  instructions: so most of the sum is one of a few slices. T is not known while
  a model is built.
  """
  length = (frames.shape[1] or 0) // _NUM_SLICES
  if not length:
    return ops.sum(frames, axis=1)
  end = _NUM_SLICES * length
  slices = [frames[:, k : k + length] for k in range(0, end, length)]
  totals = ops.sum(functools.reduce(ops.add, slices), axis=1)
  if end < frames.shape[1]:
    totals = totals + ops.sum(frames[:, end:], axis=1)
  return totals


def _sum_of_squares(part):
  """[..., 1] sum over the last axis of the squares of [..., size]."""
  squares = ops.square(part)
  # Split as in `_sum_of_slices`, unless there are only a few frames.
  while len(part.shape) == 3 and squares.shape[-1] % (2 * _VECTOR) == 0:
    half = squares.shape[-1] // 2
    squares = squares[..., :half] + squares[..., half:]
  return ops.sum(squares, axis=-1, keepdims=True)
