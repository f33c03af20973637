# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Models: from a batch's features to a probability per class.

To add a model, subclass `BaseModel` in this file and name the class in
`--model`. Models are built from Keras layers and `keras.ops`; `tf.*` ops do
not take Keras' symbolic tensors, so put those inside a `keras.layers.Layer`.
"""

import abc
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from program import UserError

import keras
from keras import ops

import utils
from model_layers import (
  FrameMean,
  NormalizedInput,
  XlaLayer,
  compiled,
  logistic_layer,
)
from records import VECTOR, Form

_NAMES_OF_TYPES = {
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  str: "a string",
}


class BaseModel:
  """Base class of the models, which define `create_model`.

  Attributes:
    frame_features: the kind of features a model takes: True for frame-level,
      False for video-level, None for both.
    normalize_input: whether each vector is divided by its L2 norm. Without it,
      codes of frames are still turned into the numbers they stand for.
    takes_features: whether `model_input` is a dict, feature name to tensor,
      instead of the features' concatenation. Such a model may have vectors of
      whole videos beside the features of frames.
  """

  frame_features: bool | None = None
  normalize_input: bool = True
  takes_features: bool = False

  def create_model(self, model_input, vocab_size, num_frames=None):
    """Builds the graph of a model, once, from symbolic Keras tensors.

    A model may take further keyword arguments, here or in its constructor;
    they are set by `--model_kwargs` and need defaults.

    Args:
      model_input: features, float32: [batch, feature_size] at video level,
        [batch, T, feature_size] at frame level, zero after a video's last
        frame. T, the number of frames, is that of a batch: None here.
      vocab_size: number of classes.
      num_frames: [batch] int32, each video's own frames, at most T; 0 is
        possible, and is what rows have that only pad a batch. At video level,
        ones but for such rows.

    Returns:
      A dict with "predictions", [batch, vocab_size] in [0, 1], and optionally
        - "logits": [batch, vocab_size] scores before a sigmoid; a loss that
          can be computed from them is more exact;
        - "regularization_loss": a scalar, added to the losses of the layers'
          own regularizers and weighted by `--regularization_penalty`;
        - "loss": [batch] or scalar, taken instead of `--label_loss`;
        - "auxiliary": a list of {"logits", "weight"}: each has the label loss
          too, which is multiplied by the weight, a number, and trained on;
        - "embedding": [batch, size], what goes into the classifier: what a
          video looks like to the model;
        - any further tensors.
    """
    raise NotImplementedError


def defaults_of(*functions: Callable) -> dict[str, Any]:
  """Name -> default of the arguments that a user may set."""
  return {
    name: parameter.default
    for function in functions
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.default is not parameter.empty and name != "num_frames"
  }


def check_arguments(
  flag_name: str,
  arguments: Any,
  owner_name: str,
  defaults: Mapping[str, Any],
):
  """Refuses arguments that are not there, or not of the type of their default.

  Args:
    flag_name: the flag that the arguments are from.
    arguments: what should be a dict of them.
    owner_name: the class that takes them.
    defaults: name -> default of those that can be given. None is for any value,
      and any number may be left out with None.

  Raises:
    UserError: one does not suit; the message names the flag.
  """
  if not isinstance(arguments, Mapping):
    raise UserError(
      f"--{flag_name}={json.dumps(arguments)} should be a JSON object."
    )
  for name, value in arguments.items():
    if name not in defaults:
      raise UserError(
        f"--{flag_name}: {owner_name} has no argument {name!r}. "
        f"Available: {', '.join(sorted(defaults)) or 'none'}."
      )
    kind = type(defaults[name])
    accepted = (int, float, type(None)) if kind is float else kind
    # To Python, a bool is an int.
    is_bool = isinstance(value, bool) and kind is not bool
    is_wrong = is_bool or not isinstance(value, accepted)
    if is_wrong and kind in _NAMES_OF_TYPES:
      raise UserError(
        f"--{flag_name}: {name}={json.dumps(value)} of {owner_name} should be "
        f"{_NAMES_OF_TYPES[kind]}."
      )


def check_at_least(name: str, value: float, least: int):
  """Raises a ValueError if an argument of a model is too small."""
  if value < least:
    raise ValueError(f"{name}={value} should be at least {least}.")


class FrameModel(BaseModel, abc.ABC):
  """Base class of models of the frame level that may train on some frames.

  Everywhere else, all frames of a video are used.

  Args:
    iterations: frames of each video to train on, drawn anew in each pass; 0 for
      all of them.
    sample_random_frames: whether frames are drawn one by one; else they are
      adjacent ones.
  """

  frame_features = True

  def __init__(self, iterations=0, sample_random_frames=True):
    self.iterations = iterations
    self.sample_random_frames = sample_random_frames

  @abc.abstractmethod
  def create_model(self, model_input, vocab_size, num_frames):
    """See `BaseModel`."""


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


class FrameLevelLogisticModel(FrameModel):
  """The mean of a video's frames, then one fully connected layer.

  The mean is over the video's own frames, each normalised before it; padding
  takes no part. A video without frames has a mean of zeros.
  """

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames,
    l2_penalty=1e-8,
    labels_per_video=3.0,
  ):
    """See `BaseModel`, and `logistic_layer` for the further arguments."""
    # Compiled together with the input: [batch, T, size] float32 is not stored.
    means = compiled(FrameMean(name="mean")(model_input, num_frames))
    # Checkpoints number the layers: in older ones, the next is the sixth.
    means = keras.layers.Identity()(means)
    return logistic_layer(means, vocab_size, l2_penalty, labels_per_video)


def build_model(
  model_class: type[BaseModel],
  forms: Mapping[str, Form],
  num_classes: int,
  model_kwargs: Mapping[str, Any],
  jit_compile: bool = True,
) -> keras.Model:
  """A model with its input layer, from raw features to a dict of outputs.

  Args:
    model_class: what makes the outputs.
    forms: the form of each feature by its name, in their order.
    num_classes: number of classes.
    model_kwargs: arguments of the constructor and of `create_model`.
    jit_compile: whether layers may be compiled with XLA.

  Returns:
    A Keras model called with {"features", "num_frames"} of a batch.

  Raises:
    UserError: the outputs are not what `BaseModel` says.
  """
  features = {
    # Keras refuses some names that features have, "RGB/mean" for instance.
    name: keras.Input(
      form.shape(None, None)[1:],
      dtype=form.dtype.name,
      name=f"feature_{number}",
    )
    for number, (name, form) in enumerate(forms.items())
  }
  num_frames = keras.Input((), dtype="int32", name="num_frames")
  model_input = _model_input(model_class, features, num_frames)

  in_constructor = inspect.signature(model_class).parameters
  first = {k: v for k, v in model_kwargs.items() if k in in_constructor}
  others = {k: v for k, v in model_kwargs.items() if k not in in_constructor}
  outputs = model_class(**first).create_model(
    model_input, num_classes, num_frames=num_frames, **others
  )
  name = model_class.__name__
  frame_features = any(form.kind != VECTOR for form in forms.values())
  _check_outputs(name, outputs, num_classes, frame_features)
  inputs = {"features": features, "num_frames": num_frames}
  model = keras.Model(inputs, _completed(outputs), name=name)
  for layer in model._flatten_layers():
    if isinstance(layer, XlaLayer):
      layer.jit_compile = jit_compile
  return model


def _model_input(model_class, features, num_frames):
  """What `create_model` is called with: a tensor, or a dict of them."""
  takes_features = model_class.takes_features
  # Frames are normalised together, and vectors beside them are.
  of_rank = {2: {}, 3: {}}
  for name, feature in features.items():
    of_rank[len(feature.shape)][name] = feature
  if all(of_rank.values()) and not takes_features:
    raise UserError(
      f"--model={model_class.__name__} takes one tensor, but there are vectors "
      f"({', '.join(of_rank[2])}) beside frames ({', '.join(of_rank[3])}). "
      "Name features of one kind in --feature_names, or choose a model that "
      "takes each feature by its name (takes_features)."
    )
  parts = {}
  for rank, some in of_rank.items():
    if not some:
      continue
    tensors = NormalizedInput(
      utils.DEQUANTIZE_SCALE,
      utils.DEQUANTIZE_OFFSET,
      normalize=model_class.normalize_input,
      concatenate=not takes_features,
      name="input" if rank == 3 or len(some) == len(features) else "vectors",
    )(list(some.values()), num_frames)
    if rank == 3:
      tensors = compiled(tensors)
    if not takes_features:
      return tensors
    # Keras makes one tensor of a list of one.
    parts |= zip(some, keras.tree.flatten(tensors), strict=True)
  return {name: parts[name] for name in features}


def _check_outputs(name: str, outputs, num_classes: int, frame_features: bool):
  if not isinstance(outputs, dict) or "predictions" not in outputs:
    raise UserError(
      f"{name}.create_model should return a dict with 'predictions', "
      f"but returned {outputs!r}."
    )
  level = "frame-level" if frame_features else "video-level"
  scores = [("predictions", outputs["predictions"])]
  for part in outputs.get("auxiliary", ()):
    scores.append(("auxiliary logits", part["logits"]))
  for kind, tensor in scores:
    if tuple(tensor.shape) != (None, num_classes):
      raise UserError(
        f"--model={name} gives {kind} of shape {tuple(tensor.shape)} on "
        f"{level} features; (None, {num_classes}) was expected. Is it a model "
        "for the other kind of features?"
      )


def _completed(outputs):
  """A model's outputs, all of them tensors, with float32 predictions."""
  outputs = dict(outputs)
  if outputs["predictions"].dtype != "float32":
    outputs["predictions"] = ops.cast(outputs["predictions"], "float32")
  if "auxiliary" in outputs:
    outputs["auxiliary"] = [
      # Keras' models return no numbers: one for each row of the batch.
      {
        "logits": part["logits"],
        "weight": ops.full_like(
          part["logits"][:, 0], part["weight"], dtype="float32"
        ),
      }
      for part in outputs["auxiliary"]
    ]
  return outputs
