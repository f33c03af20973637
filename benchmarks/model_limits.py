# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The least that a training step of a model takes: its matrix products.

  python -m benchmarks.model_limits --model=LstmModel --batch_size=64

Prints one line of JSON: "matmul_ms", the time of all float32 products of a
step, those of the gradients too; "matmul_rate", examples/s at that; and
"memory_mb", this process, the weights with gradients and Adam's two moments,
two batches, and the inputs and outputs of all products.
"""

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from typing import NamedTuple

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import tensorflow as tf

from benchmarks import video_parts

_FLOAT_BYTES = 4
_WEIGHT_COPIES = 4  # The weights, their gradients, and two moments.
_RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024


class Layer(NamedTuple):
  """A fully connected layer, [rows, inner] by [inner, columns].

  Attributes:
    rows: rows of its input, in one product.
    inner: size of its input.
    columns: size of its output.
    num_steps: products one after another, each of which needs the one before;
      the gradient of the weights is one product of all of them.
    has_input_gradient: whether there are weights below it.
  """

  rows: int
  inner: int
  columns: int
  num_steps: int = 1
  has_input_gradient: bool = True

  @property
  def weights(self) -> int:
    """The number of weights."""
    return self.inner * self.columns

  @property
  def numbers(self) -> int:
    """How many numbers its input and its output have."""
    return self.rows * self.num_steps * (self.inner + self.columns)

  def products(self) -> list[tuple[int, bool, bool, tuple[int, int, int]]]:
    """Of a step: how often, whether a or b is transposed, [m, k] by [k, n]."""
    rows, inner, columns, num_steps, has_input_gradient = self
    products = [
      (num_steps, False, False, (rows, inner, columns)),
      (1, True, False, (inner, rows * num_steps, columns)),
    ]
    if has_input_gradient:
      products.append((num_steps, False, True, (rows, columns, inner)))
    return products


class Shape(NamedTuple):
  """Sizes of a batch: videos, frames of each, of each feature, and classes."""

  batch: int
  frames: int
  features: Sequence[int]
  classes: int


def moe_layers(shape: Shape, inner: int, has_input_gradient=True):
  """Gates of three, and two experts."""
  return [
    Layer(
      shape.batch,
      inner,
      shape.classes * number,
      has_input_gradient=has_input_gradient,
    )
    for number in (3, 2)
  ]


def moe_model(shape: Shape) -> list[Layer]:
  """The layers of `MoeModel`."""
  return moe_layers(shape, sum(shape.features), has_input_gradient=False)


def recurrent_model(shape: Shape, num_gates: int) -> list[Layer]:
  """The layers of two recurrent layers of 1024, whose input is one product."""
  layers, inner = [], sum(shape.features)
  for number in range(2):
    all_rows = shape.batch * shape.frames
    layers += [
      Layer(all_rows, inner, num_gates * 1024, has_input_gradient=number > 0),
      Layer(shape.batch, 1024, num_gates * 1024, num_steps=shape.frames),
    ]
    inner = 1024
  return [*layers, *moe_layers(shape, 1024)]


def dbof_model(shape: Shape) -> list[Layer]:
  """The layers of `DbofModel` for 30 sampled frames."""
  frames = shape.batch * min(30, shape.frames)
  return [
    Layer(frames, sum(shape.features), 8192),
    Layer(shape.batch, 8192, 1024),
    *moe_layers(shape, 1024),
  ]


def attention_model(shape: Shape) -> list[Layer]:
  """The layers of `AttentionPoolingModel` with one head."""
  layers, rows = [], shape.batch * shape.frames
  for size in shape.features:
    units = max(1, min(256, size // 2))
    hidden = max(1, units // 2)
    layers += [Layer(rows, size, units), Layer(rows, hidden, 1)]
    layers += 2 * [Layer(rows, units, hidden)]
  return [
    *layers,
    Layer(shape.batch, sum(shape.features), 1024),
    Layer(shape.batch, 1024, 1024),
    *moe_layers(shape, 1024),
  ]


MODELS = {
  "MoeModel": moe_model,
  "DbofModel": dbof_model,
  "LstmModel": lambda shape: recurrent_model(shape, 4),
  "GruModel": lambda shape: recurrent_model(shape, 3),
  "AttentionPoolingModel": attention_model,
}


def make_product(transpose_a: bool, transpose_b: bool, sizes):
  """A function without arguments that computes a product, [m, k] by [k, n]."""
  rows, inner, columns = sizes
  a = tf.random.normal([inner, rows] if transpose_a else [rows, inner])
  b = tf.random.normal([columns, inner] if transpose_b else [inner, columns])

  @tf.function
  def product():
    # One number of it: copying all of them would be measured too.
    return tf.matmul(a, b, transpose_a, transpose_b)[0, 0]

  return product


def matmul_seconds(layers: Sequence[Layer], repeats: int) -> float:
  """The time of all products of a step, each measured by itself."""
  seconds = 0.0
  for count, *kind in (part for layer in layers for part in layer.products()):
    product = make_product(*kind)
    times = video_parts.median_seconds({"product": product}, repeats)
    seconds += count * times["product"]
  return seconds


def memory_bytes(layers: Sequence[Layer], shape: Shape) -> int:
  """Of what a training step cannot do without; see the module."""
  process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RESIDENT_UNIT
  weights = _WEIGHT_COPIES * sum(layer.weights for layer in layers)
  numbers = weights + sum(layer.numbers for layer in layers)
  codes = 2 * shape.batch * shape.frames * sum(shape.features)
  return process + _FLOAT_BYTES * numbers + codes


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--model", choices=MODELS, required=True)
  parser.add_argument("--batch_size", type=int, default=1024)
  parser.add_argument("--frames", type=int, default=1)
  parser.add_argument("--feature_sizes", default="1024,128")
  parser.add_argument("--num_classes", type=int, default=3862)
  parser.add_argument("--repeats", type=int, default=5)
  options = parser.parse_args(argv)
  shape = Shape(
    options.batch_size,
    options.frames,
    [int(size) for size in options.feature_sizes.split(",")],
    options.num_classes,
  )
  layers = MODELS[options.model](shape)
  num_bytes = memory_bytes(layers, shape)
  seconds = matmul_seconds(layers, options.repeats)
  results = {
    "matmul_ms": 1e3 * seconds,
    "matmul_rate": options.batch_size / seconds,
    "memory_mb": num_bytes / 1e6,
  }
  print(json.dumps(results))


if __name__ == "__main__":
  main()
