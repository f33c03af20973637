# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Models of the frame level: pools, recurrent networks, attention.

Each makes one vector of a video's frames, and gives it to a model of the video
level, its head. Padding frames take no part: masks come from `num_frames`, and
a video without frames has a vector of zeros.
"""

import functools

from program import UserError

import keras
from keras import ops

from model_layers import FrameMean, XlaLayer, compiled
from models import FrameModel, check_at_least
from video_level_models import (
  MaskedBatchNormalization,
  classify,
  context_gate,
  frame_mask,
  refuse_losses,
  scaled_normal,
)

_ACTIVATIONS = ("sigmoid", "relu", "relu6")


class FrameMeanModel(FrameModel):
  """Means of the frames, then any model of the video level.

  The mean of all frames, or of gated attention heads (`AttentionPoolingModel`):
  what each sees is put beside what the others see, and classified together.
  """

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    attention_heads=0,
    video_level_classifier_model="MoeModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      attention_heads: number of heads; 0 for the mean of all frames.
      video_level_classifier_model: the head, a model of the video level.
      classifier_kwargs: the head's arguments.
    """
    check_at_least("attention_heads", attention_heads, 0)
    if attention_heads:
      means = _attended(model_input, num_frames, attention_heads, "frames")
      means = keras.layers.Flatten()(means)
    else:
      means = compiled(FrameMean(name="mean")(model_input, num_frames))
    return classify(
      means,
      vocab_size,
      num_frames,
      video_level_classifier_model,
      classifier_kwargs,
    )


class MaskedPool(XlaLayer):
  """One vector of each video's own frames; of no frames it is zeros.

  Args:
    method: "average"; "max", of each number; or "swap", the average in which a
      number weighs as much as it is large, sum(a |a|) / sum(|a|).

  Call arguments:
    frames: [batch, T, size] float.
    num_frames: [batch] int32.

  Returns:
    [batch, size] float32.
  """

  def __init__(self, method, **kwargs):
    super().__init__(**kwargs)
    self.method = method

  def call(self, frames, num_frames):
    """Pools a batch; see the class."""
    return self.run(self._pooled, frames, num_frames)

  def _pooled(self, frames, num_frames):
    frames = ops.cast(frames, "float32")
    mask = frame_mask(frames, num_frames)[..., None]
    if self.method == "max":
      lowest = ops.where(mask, frames, -3e38)
      has_frames = ops.any(mask, axis=1)
      return ops.where(has_frames, ops.max(lowest, axis=1, initial=-3e38), 0.0)
    weights = ops.cast(mask, "float32")
    if self.method == "swap":
      weights = weights * ops.abs(frames)
    totals = ops.sum(frames * weights, axis=1)
    return ops.divide_no_nan(totals, ops.sum(weights, axis=1))


class AttentionPool(XlaLayer):
  """The mean of each video's frames, weighed by a softmax of their scores.

  Call arguments:
    frames: [batch, T, size] float.
    scores: [batch, T, heads] float.
    num_frames: [batch] int32.

  Returns:
    [batch, heads, size] float32; zeros of a video without frames.
  """

  def call(self, frames, scores, num_frames):
    """Pools a batch; see the class."""
    return self.run(_attended_mean, frames, scores, num_frames)


def _attended_mean(frames, scores, num_frames):
  frames, scores = ops.cast(frames, "float32"), ops.cast(scores, "float32")
  mask = ops.cast(frame_mask(frames, num_frames), "float32")[..., None]
  scores = ops.where(mask > 0, scores, -3e38)
  highest = ops.max(scores, axis=1, keepdims=True, initial=-3e38)
  weights = ops.exp(scores - highest) * mask
  total = ops.sum(weights, axis=1, keepdims=True)
  weights = ops.divide_no_nan(weights, total)
  return ops.einsum("bth,btd->bhd", weights, frames)


class DbofModel(FrameModel):
  """Deep bag of frames: a wide code of each frame, pooled, then a head.

  Abu-El-Haija et al. 2016, arXiv:1609.08675, section 5.1.1.
  """

  def __init__(self, iterations=30, sample_random_frames=True):
    super().__init__(iterations, sample_random_frames)

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    dbof_cluster_size=8192,
    dbof_hidden_size=1024,
    dbof_add_batch_norm=True,
    dbof_pooling_method="max",
    dbof_activation="sigmoid",
    video_level_classifier_model="MoeModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      dbof_cluster_size: size of the code.
      dbof_hidden_size: size of the layer after the pool.
      dbof_add_batch_norm: whether to normalise batches.
      dbof_pooling_method: "average", "max", "swap" or "attention".
      dbof_activation: "sigmoid", "relu" or "relu6".
      video_level_classifier_model: the head, a model of the video level.
      classifier_kwargs: the head's arguments.
    """
    if dbof_activation not in _ACTIVATIONS:
      raise ValueError(
        f"dbof_activation={dbof_activation!r} should be one of "
        f"{', '.join(_ACTIVATIONS)}."
      )

    def normalized(tensor, name):
      if not dbof_add_batch_norm:
        return tensor
      return MaskedBatchNormalization(name=name)(tensor, num_frames)

    def dense(tensor, size, name, bias_stddev):
      return keras.layers.Dense(
        size,
        use_bias=not dbof_add_batch_norm,
        kernel_initializer=scaled_normal(tensor.shape[-1]),
        bias_initializer=keras.initializers.RandomNormal(stddev=bias_stddev),
        name=name,
      )(tensor)

    activation = keras.layers.Activation(dbof_activation)
    frames = normalized(model_input, "input_norm")
    code = dense(frames, dbof_cluster_size, "cluster", frames.shape[-1] ** -0.5)
    code = activation(normalized(code, "cluster_norm"))
    pooled = _pooled(code, num_frames, dbof_pooling_method)
    hidden = dense(pooled, dbof_hidden_size, "hidden", 0.01)
    hidden = activation(normalized(hidden, "hidden_norm"))
    return classify(
      hidden,
      vocab_size,
      num_frames,
      video_level_classifier_model,
      classifier_kwargs,
    )


def _pooled(frames, num_frames, method: str):
  if method == "attention":
    # A bias would change nothing.
    scores = keras.layers.Dense(1, use_bias=False, name="attention")(frames)
    pooled = AttentionPool(name="pool")(frames, scores, num_frames)
    return ops.squeeze(pooled, axis=1)
  if method not in ("average", "max", "swap"):
    raise ValueError(
      f"dbof_pooling_method={method!r} should be one of average, max, swap, "
      "attention."
    )
  return MaskedPool(method, name="pool")(frames, num_frames)


class RecurrentMask(keras.layers.Layer):
  """The mask of frames for a recurrent layer: [batch, T] bool.

  A row of padding only counts as one frame: on GPUs, Keras refuses a mask in
  which nothing is True. `HasFrames` sets the result of such a row to zeros.
  """

  def call(self, frames, num_frames):
    """Call it with [batch, T, size] float and [batch] int32."""
    return frame_mask(frames, ops.maximum(num_frames, 1))


class HasFrames(keras.layers.Layer):
  """Sets rows of [batch, size] to zeros where there are no frames."""

  def call(self, rows, num_frames):
    """Call it with [batch, size] float and [batch] int32."""
    return rows * ops.cast(num_frames[:, None] > 0, rows.dtype)


def _last_state(frames, num_frames, layers):
  """[batch, size]: the top layer's output at each video's last frame."""
  mask = RecurrentMask(name="mask")(frames, num_frames)
  for layer in layers:
    frames = layer(frames, mask=mask)
  return HasFrames(name="last")(frames, num_frames)


class LstmModel(FrameModel):
  """Stacked LSTMs over the frames; the last output, then a head.

  Hochreiter and Schmidhuber 1997; Ng et al. 2015, arXiv:1503.08909.
  """

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    lstm_cells=1024,
    lstm_layers=2,
    video_level_classifier_model="MoeModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      lstm_cells: size of each layer.
      lstm_layers: number of layers.
      video_level_classifier_model: the head, a model of the video level.
      classifier_kwargs: the head's arguments.
    """
    check_at_least("lstm_layers", lstm_layers, 1)
    layers = [
      keras.layers.LSTM(
        lstm_cells,
        return_sequences=number < lstm_layers - 1,
        recurrent_initializer="glorot_uniform",
        dtype="float32",  # In bfloat16, small changes would be lost.
        name=f"lstm_layer_{number}",
      )
      for number in range(lstm_layers)
    ]
    return classify(
      _last_state(model_input, num_frames, layers),
      vocab_size,
      num_frames,
      video_level_classifier_model,
      classifier_kwargs,
    )


class GruCell(keras.layers.Layer):
  """A step of a GRU, from inputs that have been multiplied already.

  Cho et al. 2014, arXiv:1406.1078: the reset gate acts before the matrix
  product of the state. It is the GRU that Keras calls `reset_after=False`; in
  training, that of Keras keeps a copy of its kernels for each frame. cuDNN has
  only the variant whose reset gate acts after the product.

  Args:
    units: size of the state.

  Call arguments:
    inputs: [batch, 3 * units] float, for the gates of update and of reset, and
      for the candidate.
    states: a list of [batch, units] float, the state before.

  Returns:
    The state after, and a list of it.
  """

  def __init__(self, units, **kwargs):
    super().__init__(**kwargs)
    self.units = self.state_size = self.output_size = units

  def build(self, inputs_shape):
    """Makes the kernels by which the state is multiplied."""
    del inputs_shape
    size = self.units

    def kernel(name, columns):
      return self.add_weight((size, columns), "glorot_uniform", name=name)

    self.gates = kernel("recurrent_gates_kernel", 2 * size)
    self.candidate = kernel("recurrent_candidate_kernel", size)

  def call(self, inputs, states):
    """Takes a step; see the class."""
    (state,) = states
    of_gates, of_candidate = ops.split(inputs, [2 * self.units], axis=-1)
    of_gates = of_gates + ops.matmul(state, self.gates)
    # Training keeps, of each frame, what the derivatives need. So the halves
    # have their own sigmoids, and the sum is not update * (state - candidate).
    update, reset = (
      ops.sigmoid(part) for part in ops.split(of_gates, 2, axis=-1)
    )
    candidate = ops.tanh(
      of_candidate + ops.matmul(reset * state, self.candidate)
    )
    state = candidate + update * state - update * candidate
    return state, [state]


def _gru_layer(frames, mask, units, return_sequences, name):
  """[batch, T, units], or, of the last step alone, [batch, units]."""
  inputs = keras.layers.Dense(
    3 * units, bias_initializer=_open_gates, name=f"{name}_inputs"
  )(frames)
  # In bfloat16, small changes of the state would be lost.
  cell = GruCell(units, dtype="float32")
  return keras.layers.RNN(
    cell, return_sequences=return_sequences, dtype="float32", name=name
  )(inputs, mask=mask)


def _open_gates(shape, dtype=None):
  """Biases of a GRU: 1 for both gates, 0 for the candidate."""
  size = shape[0] // 3
  return ops.concatenate(
    [ops.ones((2 * size,), dtype), ops.zeros((size,), dtype)]
  )


class GruModel(FrameModel):
  """Stacked GRUs over the frames; the last output, then a head.

  Cho et al. 2014, arXiv:1406.1078; see `GruCell`.
  """

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    gru_cells=1024,
    gru_layers=2,
    video_level_classifier_model="MoeModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      gru_cells: size of each layer.
      gru_layers: number of layers.
      video_level_classifier_model: the head, a model of the video level.
      classifier_kwargs: the head's arguments.
    """
    check_at_least("gru_layers", gru_layers, 1)
    layers = [
      functools.partial(
        _gru_layer,
        units=gru_cells,
        return_sequences=number < gru_layers - 1,
        name=f"gru_layer_{number}",
      )
      for number in range(gru_layers)
    ]
    return classify(
      _last_state(model_input, num_frames, layers),
      vocab_size,
      num_frames,
      video_level_classifier_model,
      classifier_kwargs,
    )


class AttentionPoolingModel(FrameModel):
  """Gated attention chooses frames; with several heads, each is classified.

  Ilse, Tomczak and Welling 2018, arXiv:1802.04712, equation 9, for each feature
  of its own. The probability of a class is the highest that any head gives it.
  """

  takes_features = True

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    attention_heads=1,
    hidden_size=1024,
    video_level_classifier_model="MoeModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      attention_heads: number of heads.
      hidden_size: size of the layer after the pool.
      video_level_classifier_model: the head, a model of the video level.
      classifier_kwargs: the head's arguments.
    """
    check_at_least("attention_heads", attention_heads, 1)
    for name, feature in model_input.items():
      if len(feature.shape) != 3:
        raise UserError(
          f"--feature_names: {name!r} has no frames, and AttentionPoolingModel "
          "takes features of frames only."
        )
    pooled = [
      _attended(frames, num_frames, attention_heads, f"stream_{number}")
      for number, frames in enumerate(model_input.values())
    ]
    size = sum(part.shape[-1] for part in pooled)
    joined = keras.layers.Concatenate(name="streams")(pooled)
    # Each head of each video is a row from here on.
    rows = ops.reshape(joined, (-1, size))
    of_rows = ops.repeat(num_frames, attention_heads)
    hidden = keras.layers.Dense(
      hidden_size,
      use_bias=False,
      kernel_initializer=scaled_normal(size),
      name="hidden",
    )(rows)
    hidden = MaskedBatchNormalization(name="hidden_norm")(hidden, of_rows)
    outputs = classify(
      context_gate(hidden, of_rows),
      vocab_size,
      of_rows,
      video_level_classifier_model,
      classifier_kwargs,
    )
    refuse_losses(outputs, video_level_classifier_model)
    predictions = ops.reshape(
      outputs["predictions"], (-1, attention_heads, vocab_size)
    )
    embedding = outputs["embedding"]
    return {
      "predictions": ops.max(predictions, axis=1),
      "embedding": ops.reshape(
        embedding, (-1, attention_heads * embedding.shape[-1])
      ),
    }


def _attended(frames, num_frames, num_heads: int, name: str):
  """[batch, heads, size]: a feature's frames, as each head weighs them."""
  frames = MaskedBatchNormalization(name=f"{name}_norm")(frames, num_frames)
  size = frames.shape[-1]
  units = max(1, min(256, size // 2))
  hidden = max(1, units // 2)

  # Gates and scores are float32 in mixed precision, too.
  def dense(tensor, units, part, activation=None, dtype="float32"):
    return keras.layers.Dense(
      units,
      activation=activation,
      use_bias=False,
      kernel_initializer=scaled_normal(tensor.shape[-1]),
      dtype=dtype,
      name=f"{name}_{part}",
    )(tensor)

  codes = dense(frames, units, "codes", dtype=None)
  codes = MaskedBatchNormalization(name=f"{name}_codes_norm")(codes, num_frames)
  scores = [
    dense(
      ops.multiply(
        dense(codes, hidden, f"tanh_{head}", "tanh"),
        dense(codes, hidden, f"gate_{head}", "sigmoid"),
      ),
      1,
      f"score_{head}",
    )
    for head in range(num_heads)
  ]
  scores = scores[0] if num_heads == 1 else ops.concatenate(scores, axis=-1)
  return AttentionPool(name=f"{name}_pool")(frames, scores, num_frames)
