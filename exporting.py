# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained model as a SavedModel, for which TensorFlow alone is enough.

Everything is inside: parsing, dequantising, normalising, and the weights once.
A batch may have any number of videos, and a video any number of frames. All
frames of a video count, up to `max_frames` of the trained model. The signatures
(B videos, T frames, D numbers of each, C classes):

  serving_default  example_bytes [B] string, serialized records as those that
                   the model was trained on; they need no labels
                   -> video_id [B] string, class_indexes [B, K] int32 and
                   predictions [B, K] float32 of the best classes, best first
  predict          each feature by its name: [B, D] float32, or [B, T, D] uint8
                   codes or float32; and num_frames [B] int32, unless all
                   features are of whole videos
                   -> predictions [B, C] float32, embedding [B, size] float32
  mediapipe        rgb_and_audio [B, T, D] float32, the features of frames, not
                   normalised, audio last; and num_frames int32, [B], [B, 1], or
                   one number for all videos
                   -> predictions [B, C] float32
"""

import dataclasses
import functools
import os
import re
from collections.abc import Mapping
from typing import Any

from program import UserError

import keras
import numpy as np
import tensorflow as tf
from absl import logging

import checkpoints
import cluster
import eval_util
import experiment
import model_layers
import utils
from config import ExperimentConfig, ExportSettings
from records import CODES, FLOATS, ID_KEYS, VECTOR
from vocabulary import name_of, read_names, read_vocabulary

_MODEL_FILE = "saved_model.pb"
_VOCABULARY_FILE = "vocabulary.csv"
_LABEL_MAP_FILE = "label_map.txt"
_UNNAMED = "???"  # As MediaPipe's label map has it.


def export(settings: ExportSettings, replaces: bool = False):
  """Exports a trained model: the whole program, without its flags.

  Args:
    settings: which model, and where to.
    replaces: whether what is in the folder is replaced, not refused.

  Raises:
    UserError: there is no model, the folder is not empty or cannot be written,
      or the vocabulary cannot be read.
  """
  folder = settings.export_dir
  if not replaces and folder and utils.list_folder(folder):
    raise UserError(
      f"--export_dir={folder!r} is not empty. Name another folder, or delete "
      "this one."
    )
  config = experiment.load_config(settings.train_dir, {}, cluster.alone())
  names = None
  if settings.vocabulary_file:
    names = read_names(settings.vocabulary_file, config.num_classes)
  model = _build_model(config)
  path = checkpoints.restore_chosen_model(
    model,
    settings.train_dir,
    settings.checkpoint_step,
    settings.use_ema,
    settings.average_checkpoints,
  )
  signatures = Signatures(config, model, settings.top_k)
  with utils.new_folder(
    folder, "export_dir", last=_MODEL_FILE, replaces=replaces
  ) as place:
    save(signatures, place)
    if names is not None:
      _write_names(names, config.num_classes, settings.vocabulary_file, place)
  logging.info("Exported %s to %s.", path, folder)


def is_export(folder: str) -> bool:
  """Whether a folder has what `export` writes, or nothing."""
  names = utils.list_folder(folder)
  return not names or _MODEL_FILE in names


def _build_model(config: ExperimentConfig) -> keras.Model:
  """The model, which takes numbers for codes and has no weights yet."""
  kinds = tuple(
    FLOATS if form.kind == CODES else form.kind
    for form in config.forms.values()
  )
  # XLA would compile anew for each number of frames.
  model = experiment.build_model(
    dataclasses.replace(config, feature_kinds=kinds), jit_compile=False
  )
  for layer in model._flatten_layers():
    if hasattr(layer, "use_cudnn"):
      layer.use_cudnn = False  # An operation that no CPU has.
  return model


def _write_names(
  names: Mapping[int, str], num_classes: int, source: str, folder: str
):
  tf.io.gfile.copy(source, os.path.join(folder, _VOCABULARY_FILE))
  lines = [
    " ".join(names.get(index, _UNNAMED).splitlines())
    for index in range(num_classes)
  ]
  with tf.io.gfile.GFile(os.path.join(folder, _LABEL_MAP_FILE), "wb") as file:
    file.write("".join(f"{line}\n" for line in lines).encode())


class Signatures:
  """The functions of an exported model; see the module's docstring.

  Args:
    config: of the trained model.
    model: from `_build_model`, with its weights.
    top_k: classes that `serving_default` gives of each video.
  """

  def __init__(self, config: ExperimentConfig, model: keras.Model, top_k: int):
    self.model = model
    self._config = config
    self._forms = config.forms
    self._top_k = min(top_k, config.num_classes)
    self._frame_features = [
      name for name, form in self._forms.items() if form.kind != VECTOR
    ]
    inputs = {
      "features": {
        name: tf.TensorSpec(form.shape(None, None))
        for name, form in self._forms.items()
      },
      "num_frames": tf.TensorSpec([None], tf.int32),
    }
    # In the file once, whichever signature calls it.
    self._run = tf.function(
      functools.partial(model, training=False), autograph=False
    ).get_concrete_function(inputs)

  def functions(self) -> dict[str, Any]:
    """Name -> concrete function."""

    def trace(function, *specs):
      inputs = {spec.name: spec for spec in specs}
      traced = tf.function(function, autograph=False)
      return traced.get_concrete_function(inputs)

    num_frames = tf.TensorSpec([None], tf.int32, "num_frames")
    raw = [
      tf.TensorSpec(form.shape(None, None), form.dtype, input_name(name))
      for name, form in self._forms.items()
    ]
    if self._frame_features:
      raw.append(num_frames)
    functions = {
      "serving_default": trace(
        self._classify, tf.TensorSpec([None], tf.string, "example_bytes")
      ),
      "predict": trace(self._predict, *raw),
    }
    if len(self._frame_features) == len(self._forms):
      size = sum(form.size for form in self._forms.values())
      functions["mediapipe"] = trace(
        self._predict_for_mediapipe,
        tf.TensorSpec([None, None, size], tf.float32, "rgb_and_audio"),
        tf.TensorSpec(None, tf.int32, "num_frames"),
      )
    return functions

  def _classify(self, inputs):
    video_ids, *videos = self._parse(inputs["example_bytes"])
    predictions = self._outputs(*videos)["predictions"]
    scores, classes = tf.math.top_k(predictions, self._top_k)
    return {
      "video_id": video_ids,
      "class_indexes": classes,
      "predictions": scores,
    }

  def _predict_for_mediapipe(self, inputs):
    names = sorted(self._forms, key=lambda name: "audio" in name.lower())
    sizes = [self._forms[name].size for name in names]
    parts = tf.split(inputs["rgb_and_audio"], sizes, axis=-1)
    features = dict(zip(names, parts, strict=True))
    outputs = self._outputs(features, inputs["num_frames"])
    return {"predictions": outputs["predictions"]}

  def _predict(self, inputs):
    features = {name: inputs[input_name(name)] for name in self._forms}
    return self._outputs(features, inputs.get("num_frames"))

  def _outputs(self, features, counts):
    """Predictions [B, C] and, where the model has one, the embedding [B, size].

    Args:
      features: name -> tensor, as the signature `predict` takes it.
      counts: B numbers of frames, or one for all, in any shape; None where
        there are no frames.
    """
    num_rows = tf.shape(next(iter(features.values())))[0]
    num_frames = tf.ones([num_rows], tf.int32)
    features = {**features}
    for name in self._frame_features:
      frames = features[name][:, : self._config.max_frames]
      length = tf.shape(frames)[1]
      # Recurrent layers cannot run over no frames at all.
      missing = tf.maximum(1 - length, 0)
      frames = tf.pad(frames, [[0, 0], [0, missing], [0, 0]])
      features[name] = model_layers.dequantized(
        frames, utils.DEQUANTIZE_SCALE, utils.DEQUANTIZE_OFFSET
      )
      num_frames = tf.broadcast_to(
        tf.clip_by_value(tf.reshape(counts, [-1]), 0, length), [num_rows]
      )
    outputs = self._run({"features": features, "num_frames": num_frames})
    return {
      name: tf.cast(outputs[name], tf.float32)
      for name in ("predictions", "embedding")
      if name in outputs
    }

  def _parse(self, examples):
    """Ids [B], features and numbers of frames, of serialized records."""
    # A tf.Example is a tf.SequenceExample without feature lists.
    context = {key: tf.io.FixedLenFeature([], tf.string, "") for key in ID_KEYS}
    lists = {}
    for name, form in self._forms.items():
      if form.kind == VECTOR:
        context[name] = tf.io.FixedLenFeature([form.size], tf.float32)
      elif form.kind == FLOATS:
        lists[name] = tf.io.FixedLenSequenceFeature([form.size], tf.float32)
      else:
        lists[name] = tf.io.FixedLenSequenceFeature([], tf.string)
    context, lists, lengths = tf.io.parse_sequence_example(
      examples, context, lists
    )
    features, num_frames = {}, None
    if self._frame_features:
      first = self._frame_features[0]
      num_frames = tf.cast(lengths[first], tf.int32)
    for name in self._forms:
      if name in context:
        features[name] = context[name]
        continue
      features[name] = self._decode(name, lists[name], lengths[name])
      tf.debugging.assert_equal(
        lengths[name],
        lengths[first],
        f"Frames of {name!r} and {first!r} differ in number.",
      )
    video_ids = _first_given([context[key] for key in ID_KEYS])
    return video_ids, features, num_frames

  def _decode(self, name, frames, lengths):
    form = self._forms[name]
    if form.kind == FLOATS:
      return frames
    is_frame = tf.sequence_mask(lengths, tf.shape(frames)[1])
    tf.debugging.assert_equal(
      tf.strings.length(frames),
      tf.where(is_frame, form.size, 0),
      f"Frames of {name!r} are strings of {form.size} bytes each.",
    )
    return tf.io.decode_raw(frames, tf.uint8, fixed_length=form.size)


def input_name(name: str) -> str:
  """The name of a feature as an input of a signature."""
  return re.sub(r"\W", "_", name)


def _first_given(ids):
  """[B] string: the first of some [B] strings each that is not empty."""
  first, *others = ids
  for other in others:
    first = tf.where(first == "", other, first)
  return first


def save(signatures: Signatures, folder: str):
  """Writes a SavedModel.

  Args:
    signatures: the model's.
    folder: where to.
  """
  # A plain module: Keras' own export writes each weight twice.
  module = tf.Module()
  module.weights = [variable.value for variable in signatures.model.variables]
  tf.saved_model.save(module, folder, signatures.functions())


class LoadedModel:
  """An exported model in Python.

  Attributes:
    names: class index -> name, where they were exported.
    signatures: name -> function, see the module's docstring.

  Args:
    folder: local or gs://.
  """

  def __init__(self, folder: str):
    self._model = tf.saved_model.load(folder)
    self.signatures = self._model.signatures
    vocabulary = os.path.join(folder, _VOCABULARY_FILE)
    self.names = read_vocabulary(vocabulary) if utils.exists(vocabulary) else {}

  def outputs(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Predictions and embeddings, as the signature `predict` gives them.

    Args:
      arrays: name -> array, as the signature takes them.

    Raises:
      UserError: an array is missing, of another shape than the others or the
        input, or has values that the input's type has not.
    """
    function = self.signatures["predict"]
    _, specs = function.structured_input_signature
    inputs = {input_name(name): array for name, array in arrays.items()}
    if missing := {*specs} - {*inputs}:
      raise UserError(
        f"predict: {', '.join(sorted(missing))} missing; there is "
        f"{', '.join(arrays) or 'nothing'}."
      )
    tensors = {key: _tensor(key, inputs[key], specs[key]) for key in specs}
    lengths = {key: len(tensor) for key, tensor in tensors.items()}
    if len({*lengths.values()}) > 1:
      found = ", ".join(f"{size} {key}" for key, size in lengths.items())
      raise UserError(f"predict: there should be as many of each: {found}.")
    outputs = function(**tensors)
    return {name: value.numpy() for name, value in outputs.items()}

  def predict(self, arrays: Mapping[str, Any], top_k: int = 20):
    """The best classes of each video, by falling confidence.

    Args:
      arrays: as in `outputs`.
      top_k: classes of each video.

    Returns:
      A table with a row for each class of each video and the columns "Video",
      the number of its row in the arrays; "Index", of the class; "Name"; and
      "Confidence": a pandas.DataFrame where pandas is installed, else a dict of
      arrays.

    Raises:
      UserError: as `outputs`, or `top_k` is below 1.
    """
    if top_k < 1:
      raise UserError(f"top_k={top_k} should be at least 1.")
    predictions = self.outputs(arrays)["predictions"]
    scores, classes = eval_util.best_classes(predictions, top_k)
    indices = classes.ravel().tolist()
    names = [name_of(index, self.names) for index in indices]
    columns = {
      "Video": np.repeat(np.arange(len(scores)), scores.shape[1]),
      "Index": classes.ravel(),
      "Name": np.array(names, object),
      "Confidence": scores.ravel(),
    }
    try:
      import pandas as pd
    except ImportError:  # It is no requirement.
      return columns
    return pd.DataFrame(columns)


def _tensor(name: str, values, spec: tf.TensorSpec) -> tf.Tensor:
  values = np.asarray(values)
  if values.dtype.kind not in "biuf" or not spec.shape.is_compatible_with(
    values.shape
  ):
    shape = str(spec.shape).replace("None", "any")
    raise UserError(
      f"predict: {name} should be numbers of shape {shape}, and is "
      f"{values.dtype} of shape {values.shape}."
    )
  if not np.isfinite(values).all():
    raise UserError(f"predict: {name} has a value that is not finite.")
  converted = values.astype(spec.dtype.as_numpy_dtype)
  if spec.dtype.is_integer and (converted != values).any():
    raise UserError(
      f"predict: {name} has values that are no {spec.dtype.name}, as the model "
      f"takes it; its array is of {values.dtype}."
    )
  return tf.constant(converted)


def load(folder: str) -> LoadedModel:
  """Loads what `export_model.py` wrote.

  Args:
    folder: its `--export_dir`, local or gs://.

  Raises:
    UserError: it is no exported model.
  """
  try:
    return LoadedModel(folder)
  except (tf.errors.OpError, OSError) as error:
    raise UserError(
      f"{folder!r} is no exported model: {utils.error_text(error)}"
    ) from error
