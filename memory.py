# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory that a program needs, estimated before anything of it is tried.

The estimate is worked out from shapes: those of a batch, of the weights, and of
what the layers of the Keras graph give. docs/performance.md compares it with
what was measured. It is no limit: what needs more memory than there is gets a
warning, and only what needs far more is refused.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from program import UserError

import keras
import tensorflow as tf
from absl import logging

import devices
import readers
from model_layers import Compiled

# Bytes of Python, TensorFlow and what it compiles.
_PROGRAM_BYTES = 0.8e9
# Batches that are put together, padded, ready, or trained on, beside those that
# are decoded.
_BATCHES_HELD = 5
# Gradients: their sums, their means, and these clipped.
_GRADIENTS_HELD = 3
# What the layers give is kept for the way back, which takes as much again.
_LAYERS_HELD = 2
# Refused is what needs so many times the memory that there is.
_FAR_MORE = 1.5
_STRING_BYTES = 64
_GIGABYTE = 1e9
# The operation of `keras.ops.reshape`, whose class has no public name.
_RESHAPE = type(
  keras.ops.reshape(
    keras.KerasTensor((None, 4)), (-1, 2)
  )._keras_history.operation
)
_LARGEST_POWER = 17  # Of two, of a batch.


class Need(NamedTuple):
  """What a program needs for one purpose.

  Attributes:
    name: of the purpose.
    num_bytes: a function from the rows of a batch to bytes.
    is_on_gpu: whether it lies in the memory of the GPUs, where there are some.
  """

  name: str
  num_bytes: Callable[[float], float]
  is_on_gpu: bool = False


class _Place(NamedTuple):
  """A memory.

  Attributes:
    name: what it is.
    num_bytes: its size.
    needs: what lies in it.
    num_parts: parts of a batch, of which it holds one.
  """

  name: str
  num_bytes: float
  needs: Sequence[Need]
  num_parts: int = 1


def of_program(buffer_bytes: float = 0.0) -> Need:
  """The program itself, and the records that wait to be shuffled."""
  return Need("program", lambda _: _PROGRAM_BYTES + buffer_bytes)


def of_batches(spec, name: str = "batches") -> Need:
  """The batches that a pipeline holds at the same time.

  Args:
    spec: a nest of tf.TensorSpec, [rows, ...] each; see readers.py.
    name: what to call them.
  """
  row = sum(_num_bytes(item.shape[1:], item.dtype) for item in _leaves(spec))

  def num_bytes(rows):
    return (_BATCHES_HELD + readers.num_decoders(rows * row)) * rows * row

  return Need(name, num_bytes)


def of_weights(variables: Iterable, trainable: Iterable) -> Need:
  """The variables of a run, and the gradients of those that are trained."""
  total, num_trained = (
    sum(_num_bytes(variable.shape, variable.dtype) for variable in some)
    for some in (variables, trainable)
  )
  total += _GRADIENTS_HELD * num_trained
  return Need("weights", lambda _: total, is_on_gpu=True)


def of_layers(model: keras.Model, features) -> Need:
  """What the layers of a model give, and the gradients of that.

  Args:
    model: a functional model.
    features: a nest of tf.TensorSpec, [rows, T, ...] those of frames.
  """
  lengths = [item.shape[1] for item in _leaves(features) if item.shape.rank > 2]
  row = _LAYERS_HELD * _layer_bytes(model, max(lengths, default=1))
  return Need("layers", lambda rows: rows * row, is_on_gpu=True)


def _layer_bytes(model: keras.Model, num_frames: int) -> int:
  """Bytes that the layers of a model give for a row of so many frames."""
  total = 0
  num_rows = _rows_of_tensors(model, num_frames)
  for layer in model.operations:
    if isinstance(layer, keras.layers.InputLayer):
      continue
    if isinstance(layer, Compiled) and not layer.jit_compile:
      layer = layer.part  # Else nothing of what lies within is stored.
    if isinstance(layer, keras.Model):
      total += _layer_bytes(layer, num_frames)
      continue
    outputs = [
      tensor for node in layer._inbound_nodes for tensor in node.output_tensors
    ]
    total += sum(
      num_rows.get(id(tensor), 1)
      * _num_bytes(tensor.shape[1:], tensor.dtype, num_frames)
      for tensor in outputs
    )
    if isinstance(layer, keras.layers.RNN):
      # The gates of the cells, at each frame.
      kernels = [w for w in layer.cell.weights if "recurrent" in w.name]
      num_units = sum(kernel.shape[-1] for kernel in kernels)
      total += _num_bytes((None, num_units), layer.compute_dtype, num_frames)
  return total


def _rows_of_tensors(model: keras.Model, num_frames: int) -> dict[int, float]:
  """Id of each tensor -> how many rows it has for each video of a batch.

  It is 1 unless a model reshapes the attention heads of a video into rows.
  """
  num_rows = {}
  for operation in model.operations:
    is_reshape = isinstance(operation, _RESHAPE)
    for node in operation._inbound_nodes:
      inputs = node.input_tensors
      rows = max((num_rows.get(id(each), 1) for each in inputs), default=1)
      for tensor in node.output_tensors:
        num_rows[id(tensor)] = rows
        if is_reshape:
          before, after = (
            _num_bytes(each.shape[1:], each.dtype, num_frames)
            for each in (inputs[0], tensor)
          )
          num_rows[id(tensor)] = rows * before / after
  return num_rows


def _num_bytes(shape: Iterable[int | None], dtype, num_frames: int = 1) -> int:
  """Bytes of a tensor, whose unknown sizes are numbers of frames."""
  sizes = [num_frames if size is None else size for size in shape]
  return math.prod(sizes) * (tf.as_dtype(dtype).size or _STRING_BYTES)


def _leaves(spec) -> list[tf.TensorSpec]:
  return tf.nest.flatten(spec)


def check(
  needs: Sequence[Need],
  batch_size: int,
  num_workers: int = 1,
  row_name: str = "videos",
) -> str:
  """Compares what is needed with what there is.

  Args:
    needs: all that this process needs.
    batch_size: rows of a batch, of all workers together.
    num_workers: that share them.
    row_name: what the rows are.

  Returns:
    A line that says what the batch is estimated to need.

  Raises:
    UserError: it is far more than there is. The message names the largest power
      of two that will fit.
  """
  places = _places(needs)

  def needed(place: _Place, size: int) -> list[float]:
    rows = math.ceil(size / num_workers) / place.num_parts
    return [need.num_bytes(rows) for need in place.needs]

  def fits(size: int) -> bool:
    return all(sum(needed(place, size)) <= place.num_bytes for place in places)

  texts = []
  for place in places:
    amounts = needed(place, batch_size)
    texts.append(_described(place, amounts))
    if sum(amounts) > place.num_bytes:
      message = (
        f"--batch_size={batch_size} needs {texts[-1]}, but there are "
        f"{place.num_bytes / _GIGABYTE:,.1f} GB. {_advice(fits)}"
      )
      if sum(amounts) > _FAR_MORE * place.num_bytes:
        raise UserError(message)
      logging.warning("%s", message)
  return f"Batch: {batch_size:,} {row_name}, {', and '.join(texts)}."


def _advice(fits: Callable[[int], bool]) -> str:
  """Names the largest power of two that fits."""
  for power in range(_LARGEST_POWER, -1, -1):
    if fits(2**power):
      return f"--batch_size={2**power} will fit."
  return (
    "Not even --batch_size=1 fits: lower --max_frames or --num_classes, or "
    "choose a smaller model."
  )


def _places(needs: Sequence[Need]) -> list[_Place]:
  """The memories of this process, and what lies in each."""
  num_gpus = len(tf.config.get_visible_devices("GPU"))
  num_bytes = devices.memory_bytes()
  if not num_gpus:
    return [_Place("memory", num_bytes, needs)]
  of_host = [need for need in needs if not need.is_on_gpu]
  of_gpu = [need for need in needs if need.is_on_gpu]
  return [
    _Place("memory", num_bytes, of_host),
    _Place("a GPU's memory", devices.gpu_memory_bytes(), of_gpu, num_gpus),
  ]


def _described(place: _Place, amounts: Sequence[float]) -> str:
  """For instance "about 1.2 GB of memory (program 0.8, weights 0.4)"."""
  parts = [
    f"{need.name} {amount / _GIGABYTE:,.1f}"
    for need, amount in zip(place.needs, amounts, strict=True)
  ]
  total = sum(amounts) / _GIGABYTE
  return f"about {total:,.1f} GB of {place.name} ({', '.join(parts)})"
