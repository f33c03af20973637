# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""One experiment: its configuration, and what every program builds from it.

The trainer saves the configuration whole as `model_flags.json` in the train
dir; the other programs load it, so that nothing is typed, or built, twice.
"""

import contextlib
import dataclasses
import inspect
import json
import math
import os
import re
import sys
import zlib
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any, NamedTuple

from program import UserError

import keras
import tensorflow as tf
from absl import flags, logging

import cluster
import config as configs
import frame_level_models
import losses
import memory
import models
import readers
import segment_reader
import segments
import sources
import train_dir as train_dirs
import utils
import video_level_models
from bad_records import BadRecords
from config import ExperimentConfig

# With fewer labels, none of the larger half may be there by chance.
_FEWEST_LABELS = 100
_FOLD = ("folds", "fold")
# What cannot change in a train dir, beside what the model is.
_FIXED = (
  *("optimizer", "seed", "freeze", "ema_decay", *_FOLD),
  *("segment_labels", "segment_context"),
)
_MODEL_MODULES = (models, video_level_models, frame_level_models)
# Names that no parameter of a model can have, since their flags are taken.
_SETTINGS = {
  field.name
  for settings in (ExperimentConfig, configs.TrainSettings)
  for field in dataclasses.fields(settings)
}
_PARAMETER_FLAGS = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_boolean,
}
# Numbers of classes of AudioSet and of the releases of YouTube-8M.
_RELEASE_CLASSES = (527, 3862, 4716, 4800)


class Run(NamedTuple):
  """What all parts of a running program need.

  Attributes:
    settings: how the program is run.
    workers: the processes that work together.
    left_out: takes note of bad records; None where they stop the program.
  """

  settings: configs.ReadingSettings
  workers: cluster.Workers
  left_out: BadRecords | None


@contextlib.contextmanager
def start(
  settings: configs.ReadingSettings,
  given: Mapping[str, Any],
  workers: cluster.Workers,
  report_path: str | None,
  goes_on: bool = False,
) -> Iterator[Run]:
  """Context with a `Run`, at the end of which bad records are listed.

  Args:
    settings: how the program is run.
    given: values of `ExperimentConfig` that were typed.
    workers: those that work together.
    report_path: the JSON file in which the chief lists the bad records of all
      workers that were left out; None for no such file.
    goes_on: as in `BadRecords`.

  Raises:
    UserError: the workers are not the same program with the same settings.
  """
  _check_same_settings(workers, configs.shared_values(settings, given))
  path = report_path if workers.is_chief else None
  if settings.on_bad_record == "skip":
    with BadRecords(path, settings.max_bad_fraction, goes_on) as left_out:
      yield Run(settings, workers, left_out)
    return
  # The report of an earlier run would be taken for one of this run.
  if path and not goes_on and utils.is_file(path):
    try:
      utils.delete(path)
    except UserError as error:  # Of read-only storage.
      logging.warning("%s", error)
  yield Run(settings, workers, None)


def _check_same_settings(workers: cluster.Workers, values: dict[str, Any]):
  values = {"program": os.path.basename(sys.argv[0]), **values}
  first, *others = map(json.loads, workers.gather(json.dumps(values).encode()))
  different = {
    name
    for other in others
    for name in {*first, *other}
    if other.get(name) != first.get(name)
  }
  error = None
  if different:
    error = UserError(
      "The workers were not started alike: they differ in "
      f"{', '.join(sorted(different))}. Give each of them the same command."
    )
  workers.agree(error=error)


def gather_bad_records(run: Run):
  """Adds up what all workers have left out, at the end of a pass.

  Raises:
    UserError: it is more than may be left out.
  """
  if run.left_out:
    for news in filter(None, run.workers.gather(run.left_out.take_news())):
      run.left_out.add_news(news)
    run.left_out.check()


def resolve_config(
  given: Mapping[str, Any],
  saved: ExperimentConfig | None,
  schema: readers.Schema,
) -> ExperimentConfig:
  """The trainer's configuration.

  A value that was given wins; then the train dir's, where a run is resumed (but
  for `max_steps`); then what the data shows; then the default. What the model
  is cannot change in a train dir.

  Raises:
    UserError: a value is none of a setting, or contradicts the train dir or the
      data.
  """
  known = {field.name for field in dataclasses.fields(ExperimentConfig)}
  if unknown := given.keys() - known:
    raise UserError(
      f"{unknown.pop()!r} is no setting. Available: {', '.join(sorted(known))}."
    )
  if saved:
    check_agreement(given, saved, (*configs.MODEL_SETTINGS, *_FIXED))
    # --max_steps is not taken over: a resumed run is to go on.
    config = dataclasses.replace(saved, **{"max_steps": None, **given})
    check_schema(config, schema)
    return config
  if "feature_sizes" not in given and not all(schema.feature_sizes):
    raise UserError(
      f"No video that was looked at has frames, the first of them in "
      f"{schema.shard!r}; what a frame holds cannot be told. Give "
      "--feature_sizes."
    )
  found = {
    "feature_names": schema.feature_names,
    "feature_sizes": schema.feature_sizes,
    "feature_kinds": schema.feature_kinds,
    "frame_features": schema.frame_features,
    "max_frames": schema.max_frames,
  }
  config = ExperimentConfig(**{**found, **given})
  check_schema(config, schema)
  return config


def check_agreement(
  given: Mapping[str, Any],
  saved: ExperimentConfig,
  names: Collection[str] = configs.MODEL_SETTINGS,
):
  """Raises a UserError if a given value differs from the train dir's."""
  for name in names:
    if name in given and not _same(name, given[name], getattr(saved, name)):
      raise UserError(
        f"--{name}={configs.shown(given[name])} contradicts the train dir, "
        f"whose model has {name}={configs.shown(getattr(saved, name))}. Leave "
        "the flag out, or use another --train_dir."
      )


def _same(name: str, value, other) -> bool:
  if name == "optimizer":
    return _optimizer_key(value) == _optimizer_key(other)
  if name == "model_kwargs":  # Only some of them may have been given.
    return {**other, **value} == other
  return value == other


def check_schema(config: ExperimentConfig, schema: readers.Schema):
  """Raises a UserError if shards are not what the configuration says."""
  if not config.feature_names:
    raise UserError(
      f"{train_dirs.CONFIG_FILE} names no features, so the model cannot read "
      "any."
    )
  if config.frame_features != schema.frame_features:
    raise UserError(
      f"{schema.shard!r} holds {_level(schema.frame_features)} features, but "
      f"the model reads {_level(config.frame_features)} ones "
      f"(--frame_features={config.frame_features})."
    )
  for name, form in config.forms.items():
    found = schema.forms.get(name)
    if found and not found.size:
      continue  # Its videos have no frames, which would show its form.
    if found is None or found.size != form.size:
      raise UserError(
        f"Feature {name!r} should have size {form.size} (--feature_sizes), but "
        f"in {schema.shard!r} it has size {found and found.size}."
      )
    if found.kind != form.kind:
      raise UserError(
        f"Feature {name!r} should be of kind {form.kind} (--feature_kinds), "
        f"but in {schema.shard!r} it is of kind {found.kind}."
      )


def _level(frame_features: bool) -> str:
  return "frame-level" if frame_features else "video-level"


def build_reader(
  config: ExperimentConfig,
  num_readers: int | None = None,
  of_segments: bool = False,
) -> readers.BaseReader:
  """The reader for shards that `check_schema` accepts.

  Args:
    config: the configuration.
    num_readers: as in `readers.BaseReader`.
    of_segments: whether its rows are segments instead of videos.

  Raises:
    UserError: segments of features without frames.
  """
  arguments: dict[str, Any] = {
    "num_classes": config.num_classes,
    "feature_sizes": config.feature_sizes,
    "feature_names": config.feature_names,
    "feature_kinds": config.feature_kinds,
    "num_readers": num_readers,
  }
  if of_segments:
    if not config.frame_features:
      raise UserError(
        "--segment_labels: segments are some frames of a video, but the model "
        f"reads video-level features ({', '.join(config.feature_names)})."
      )
    return segment_reader.YT8MSegmentReader(
      max_frames=config.max_frames,
      context_frames=config.segment_context,
      unrated_weight=config.unrated_weight,
      **arguments,
    )
  if config.frame_features:
    return readers.YT8MFrameFeatureReader(
      max_frames=config.max_frames, **arguments
    )
  return readers.YT8MAggregatedFeatureReader(**arguments)


def complete_parameters(config: ExperimentConfig) -> dict[str, Any]:
  """The model's parameters, with the defaults of those that are not given."""
  parameters = parameters_of(find_model(config.model))
  if _may_sample(config) and (
    config.segment_labels or parameters["iterations"] >= config.row_frames
  ):
    parameters["iterations"] = 0  # Short clips, and segments, are taken whole.
  return parameters | config.model_kwargs


def frame_sample(config: ExperimentConfig) -> readers.FrameSample | None:
  """The frames of each video that training takes; None for all.

  Raises:
    UserError: the model is to be trained on more frames than videos have.
  """
  if not _may_sample(config):
    return None
  parameters = complete_parameters(config)
  size = parameters["iterations"]
  if isinstance(size, bool) or not isinstance(size, int):
    raise UserError(f"--iterations={size!r} should be a whole number.")
  if config.segment_labels and size:
    raise UserError(
      f"--iterations={size}: the frames of segments (--segment_labels) are all "
      "trained on. Leave it out."
    )
  if not 0 <= size <= config.max_frames:
    raise UserError(
      f"--iterations={size} should be from 1 to --max_frames="
      f"{config.max_frames}, or 0 for all frames."
    )
  if not size:
    return None
  is_random = parameters.get("sample_random_frames", True)
  return readers.FrameSample(size, is_random, config.seed)


def _may_sample(config: ExperimentConfig) -> bool:
  """Whether the model is one that may be trained on some of the frames."""
  model_class = find_model(config.model)
  is_one = issubclass(model_class, models.FrameModel)
  return is_one and "iterations" in parameters_of(model_class)


def fold_of(
  settings: configs.FoldSettings, is_left_out: bool = False
) -> sources.Fold | None:
  """The fold of `--folds` and `--fold`, or None."""
  if settings.folds is None:
    return None
  return sources.Fold(settings.fold, settings.folds, is_left_out)


def open_batches(
  config: ExperimentConfig,
  run: Run,
  flag_name: str,
  batch_size: int,
  with_labels: bool | None = True,
  is_divided: bool = True,
  fold: sources.Fold | None = None,
  of_segments: bool = False,
) -> sources.Batches:
  """Batches for a trained model, of shards that it can read.

  Args:
    config: the train dir's configuration.
    run: the program's.
    flag_name: the setting that has the shards' patterns.
    batch_size: rows of a batch.
    with_labels: whether shards without labels are an error; None takes labels
      where there are some.
    is_divided: whether each worker calls this, and gets its part of the rows.
    fold: which videos to keep; None for all.
    of_segments: whether a row is a segment instead of a video.

  Raises:
    UserError: no shards, shards of another kind, others at other workers, or a
      fold that is not the one that the model has not seen.
  """
  if fold and config.folds is not None:
    found = {"folds": fold.count, "fold": fold.index}
    check_agreement(found, config, _FOLD)
  elif fold:
    logging.warning(
      "--folds=%d --fold=%d: the model was trained without folds. If these are "
      "the shards that it was trained on, it has seen these videos.",
      *(fold.count, fold.index),
    )
  pattern = getattr(run.settings, flag_name)
  shards = utils.list_shards(pattern, flag_name)
  schema = look_at_shards(
    shards, config.feature_names, run, with_labels and not of_segments
  )
  check_schema(config, schema)
  if with_labels is None:
    with_labels = schema.has_labels
  if with_labels:
    check_labels(schema, flag_name, of_segments)
  part = sources.WHOLE
  if is_divided:
    check_same_shards(run.workers, shards, flag_name)
    part = sources.Part(run.workers.index, run.workers.count)
  config = dataclasses.replace(config, unrated_weight=0.0)
  reader = build_reader(config, run.settings.num_readers, of_segments)
  # A stranger's model_flags.json may say anything of frames and classes.
  needs = [memory.of_program(), memory.of_batches(reader.row_spec(with_labels))]
  memory.check(needs, batch_size, row_name=reader.row_name)
  return reader.evaluation_batches(
    shards, batch_size, with_labels, run.left_out, part, fold
  )


def open_labels(
  run: Run,
  flag_name: str,
  num_classes: int,
  batch_size: int,
  fold: sources.Fold | None = None,
) -> sources.Batches:
  """Batches of ids and labels alone, whatever features the shards have.

  Args:
    run: the program's, of one worker.
    flag_name: the setting that has the shards' patterns.
    num_classes: labels are in [0, num_classes).
    batch_size: rows of a batch.
    fold: which videos to keep; None for all.

  Raises:
    UserError: no shards, or shards without labels.
  """
  shards = utils.list_shards(getattr(run.settings, flag_name), flag_name)
  schema = look_at_shards(shards, None, run)
  check_labels(schema, flag_name)
  reader = readers.BaseReader(
    num_classes, (), (), num_readers=run.settings.num_readers
  )
  return reader.evaluation_batches(
    shards, batch_size, left_out=run.left_out, fold=fold
  )


def read_truth(
  run: Run,
  flag_name: str,
  show: Callable[[Sequence[str]], Iterable[str]] = iter,
  fold: sources.Fold | None = None,
) -> segments.Ratings:
  """The ratings of the segments in shards, without their frames.

  Args:
    run: the program's, of one worker.
    flag_name: the setting that has the shards' patterns.
    show: called with the shards, yields them as they are read.
    fold: which videos to keep; None for all.

  Raises:
    UserError: no shards, or as `segment_reader.read_truth`.
  """
  shards = utils.list_shards(getattr(run.settings, flag_name), flag_name)
  if run.left_out:  # It is told how much there is to read.
    look_at_shards(shards, None, run, need_labels=False)
  try:
    return segment_reader.read_truth(show(shards), run.left_out, fold)
  except UserError as error:
    raise UserError(f"--{flag_name}: {error}") from error


def check_same_shards(
  workers: cluster.Workers, shards: Sequence[str], flag_name: str
):
  """Makes sure that all workers read the same files, wherever they lie.

  Raises:
    UserError: they do not, so that some would be left out or come twice.
  """
  table = workers.agree([len(shards), digest_of(shards)])
  error = None
  if (table != table[0]).any():
    error = UserError(
      f"--{flag_name}: the workers see different shards; this one has "
      f"{len(shards)}, from {shards[0]!r} on, and in all they have "
      f"{', '.join(f'{number:g}' for number in table[:, 0])}. Give each the "
      "same files."
    )
  workers.agree(error=error)


def digest_of(shards: Sequence[str]) -> int:
  """A checksum of the shards' names, wherever they lie."""
  return zlib.crc32("\n".join(map(os.path.basename, shards)).encode())


def look_at_shards(
  shards: Sequence[str],
  feature_names: Sequence[str] | None,
  run: Run,
  need_labels: bool = True,
  frame_features: bool | None = None,
) -> readers.Schema:
  """How shards are laid out; tells `run.left_out` what there is to read.

  Raises:
    UserError: as `readers.detect_schema`.
  """
  left_out = run.left_out
  schema = readers.detect_schema(
    shards, feature_names, left_out is not None, need_labels, frame_features
  )
  if left_out:
    left_out.expect(shards, schema.record_bytes)
  return schema


def check_labels(
  schema: readers.Schema, flag_name: str, of_segments: bool = False
):
  """Raises a UserError if the shards have no labels, of videos or segments."""
  key = segment_reader.LABELS_KEY
  if of_segments and not readers.first_labels(schema.shard, [key]):
    raise UserError(
      f"--{flag_name}: the first videos of {schema.shard!r} have no ratings of "
      f"segments ({key}). Give the shards of 2019 that have, or leave "
      "--segment_labels out."
    )
  if not of_segments and key in schema.keys:
    logging.info(
      "%s has ratings of segments; --segment_labels uses them.", schema.shard
    )
  if not of_segments and not schema.has_labels:
    raise UserError(
      f"--{flag_name}: {schema.shard!r} has no labels; test shards are only "
      "for inference.py. Labels are the numbers of a video's classes, under "
      f"'labels' (int64_list); here is {', '.join(sorted(schema.keys))}."
    )


def warn_of_unused_classes(config: ExperimentConfig, schema: readers.Schema):
  """Warns where no label of a shard's first videos comes near `num_classes`."""
  labels = readers.first_labels(schema.shard)
  if len(labels) < _FEWEST_LABELS or max(labels) >= config.num_classes // 2:
    return
  sizes = [size for size in _RELEASE_CLASSES if size > max(labels)]
  logging.warning(
    "The labels of %s begin with %d labels up to %d, but the model has %d "
    "classes. Give the data set's number of classes, for instance "
    "--num_classes=%d.",
    schema.shard,
    len(labels),
    max(labels),
    config.num_classes,
    min(sizes, default=max(labels) + 1),
  )


def find_model(name: str) -> type[models.BaseModel]:
  """The model's class; raises a UserError that lists those there are."""
  return utils.find_class_by_name(
    name, _MODEL_MODULES, models.BaseModel, "model"
  )


def find_loss(name: str) -> type[losses.BaseLoss]:
  """The loss's class; raises a UserError that lists those there are."""
  return utils.find_class_by_name(name, [losses], losses.BaseLoss, "label_loss")


def model_classes() -> list[type[models.BaseModel]]:
  """All models, by name."""
  found = utils.concrete_classes(_MODEL_MODULES, models.BaseModel)
  return [found[name] for name in sorted(found)]


def parameters_of(owner: type) -> dict[str, Any]:
  """Name -> default of the arguments that a user may set of a model or loss."""
  functions = [owner.__init__]
  if issubclass(owner, models.BaseModel):
    functions.append(owner.create_model)
  return models.defaults_of(*functions)


def _parameter_owners() -> dict[str, tuple[str, list[type]]]:
  """Parameter -> the setting that holds it, and the classes that take it.

  Parameters that share their name with a setting, or a loss's with a model's,
  are not among them: only `--label_loss_kwargs` sets these.
  """
  of_losses = utils.concrete_classes([losses], losses.BaseLoss)
  owners: dict[str, tuple[str, list[type]]] = {}
  for setting, classes in (
    ("model_kwargs", model_classes()),
    ("label_loss_kwargs", of_losses.values()),
  ):
    for owner in classes:
      for name in parameters_of(owner):
        holder, takers = owners.setdefault(name, (setting, []))
        if holder == setting:
          takers.append(owner)
  return {name: owners[name] for name in owners if name not in _SETTINGS}


def define_parameter_flags(flag_values: flags.FlagValues = flags.FLAGS):
  """Defines a flag for each parameter of a model or a loss.

  Where it is not typed, the class's own default holds.
  """
  for name, (_, classes) in _parameter_owners().items():
    defaults = {owner.__name__: parameters_of(owner)[name] for owner in classes}
    names, (first, *_) = list(defaults), defaults.values()
    texts = [f"{owner} ({json.dumps(it)})" for owner, it in defaults.items()]
    define = _PARAMETER_FLAGS.get(type(first), flags.DEFINE_string)
    define(
      name,
      None,
      f"Argument of {', '.join(texts)}; in brackets, the default of each.",
      module_name=names[0] if len(names) == 1 else "Several models",
      flag_values=flag_values,
    )


def given_parameters(
  flag_values: flags.FlagValues = flags.FLAGS,
) -> dict[str, dict[str, Any]]:
  """Setting -> the parameters of models or losses whose flags were typed.

  Raises:
    UserError: what should be JSON is not.
  """
  given: dict[str, dict[str, Any]] = {}
  for name, (setting, classes) in _parameter_owners().items():
    if not flag_values[name].present:
      continue
    value = flag_values[name].value
    if parameters_of(classes[0])[name] is None:
      try:
        value = json.loads(value)
      except ValueError as error:
        raise UserError(f"--{name}={value!r} is not JSON: {error}.") from error
    given.setdefault(setting, {})[name] = value
  return given


def add_saved_parameters(
  given: Mapping[str, Any], saved: ExperimentConfig
) -> dict[str, Any]:
  """`given` with the saved parameters of model and loss that it leaves open.

  Those of another loss than the saved one are not taken over.
  """
  merged = dict(given)
  for setting in ("model", "label_loss"):
    kwargs = f"{setting}_kwargs"
    is_same = given.get(setting, getattr(saved, setting)) == getattr(
      saved, setting
    )
    kept = getattr(saved, kwargs) if is_same else {}
    merged[kwargs] = {**kept, **given.get(kwargs, {})}
  return merged


def build_model(
  config: ExperimentConfig,
  mixed_precision: str | None = None,
  jit_compile: bool = True,
) -> keras.Model:
  """The model, from a batch's raw features to its dict of outputs.

  Args:
    config: the configuration.
    mixed_precision: the type in which layers compute, "bfloat16" or "float16";
      None for float32. Weights, normalised features and predictions are float32
      in any case, so a checkpoint suits all. For training: the other programs
      compute in float32.
    jit_compile: as in `models.build_model`.

  Raises:
    UserError: unknown model or argument, or a model for the other kind of
      features.
  """
  model_class = find_model(config.model)
  _check_kind(config, model_class)
  if clash := _SETTINGS & {*parameters_of(model_class)}:
    raise UserError(
      f"--model={config.model} has an argument {clash.pop()!r}, which is a "
      "setting of all models. Give it another name."
    )
  previous = keras.config.dtype_policy()
  with _checked_arguments("model_kwargs", config.model_kwargs, model_class):
    # Keras keeps the policy for new layers in a global.
    keras.config.set_dtype_policy(
      f"mixed_{mixed_precision}" if mixed_precision else "float32"
    )
    try:
      return models.build_model(
        model_class,
        config.forms,
        config.num_classes,
        config.model_kwargs,
        jit_compile,
      )
    finally:
      keras.config.set_dtype_policy(previous)


def _check_kind(config: ExperimentConfig, model_class: type):
  """Refuses a video-level model for frame-level features, or the reverse."""
  kinds = (None, config.frame_features)
  if model_class.frame_features in kinds:
    return
  fitting = [
    choice.__name__
    for choice in model_classes()
    if choice.frame_features in kinds
  ]
  raise UserError(
    f"--model={config.model} takes {_level(model_class.frame_features)} "
    f"features, but the shards hold {_level(config.frame_features)} ones "
    f"({', '.join(config.feature_names)}). Choose another --model: "
    f"{', '.join(fitting)}."
  )


@contextlib.contextmanager
def _checked_arguments(
  flag_name: str, arguments: Mapping[str, Any], owner: type
) -> Iterator[None]:
  """Turns what is wrong with a user's arguments into a UserError.

  Args:
    flag_name: the flag that they came from.
    arguments: by their names.
    owner: the class that is made with them. Only arguments with defaults can
      be set; the suite itself fills in the others.
  """
  models.check_arguments(
    flag_name, arguments, owner.__name__, parameters_of(owner)
  )
  try:
    yield
  except UserError:
    raise
  except (TypeError, ValueError, OverflowError) as error:
    if "KerasTensor cannot be used as input to a TensorFlow" in str(error):
      raise UserError(
        f"--model={owner.__name__}: create_model calls a tf.* function on a "
        "symbolic tensor. Use keras.ops, or call it inside the call method of "
        f"a keras.layers.Layer. Keras says: {str(error).splitlines()[0]}"
      ) from error
    if not arguments:
      raise
    raise UserError(
      f"--{flag_name}={json.dumps(arguments)} does not suit "
      f"{owner.__name__}: {error}"
    ) from error


def build_loss(config: ExperimentConfig) -> losses.BaseLoss:
  """The label loss.

  Raises:
    UserError: unknown name or argument, or an argument out of range.
  """
  loss_class = find_loss(config.label_loss)
  arguments = config.label_loss_kwargs
  with _checked_arguments("label_loss_kwargs", arguments, loss_class):
    return loss_class(**arguments)


def label_losses(loss: losses.BaseLoss, outputs, labels, label_weights=None):
  """[batch] float32, each example's loss from a model's outputs.

  Args:
    loss: the label loss, for models that do not compute their own.
    outputs: the dict that a model returns.
    labels: [batch, num_classes] float32 in {0, 1}.
    label_weights: as in `losses.BaseLoss`.
  """
  if "loss" in outputs:
    own = tf.cast(outputs["loss"], tf.float32)
    return own + tf.zeros(tf.shape(labels)[0])
  # A user's loss may have no argument `label_weights`.
  weights = {} if label_weights is None else {"label_weights": label_weights}
  return loss.per_example_loss(
    outputs["predictions"], labels, outputs.get("logits"), **weights
  )


def auxiliary_losses(
  loss: losses.BaseLoss, outputs, labels, label_weights=None
):
  """[batch] float32, the weighted label losses of auxiliary outputs."""
  total = tf.zeros(tf.shape(labels)[0])
  for part in outputs.get("auxiliary", ()):
    scores = {
      "predictions": tf.sigmoid(tf.cast(part["logits"], tf.float32)),
      "logits": part["logits"],
    }
    each = label_losses(loss, scores, labels, label_weights)
    total += part["weight"] * each
  return total


def gradient_sums(
  config, model, loss, batch, jit_compile: bool, loss_scale=1.0
):
  """A replica's gradients and losses, each the sum over the rows of its batch.

  Such sums add up over replicas and workers. Divided by the number of videos of
  all of them, they are those of the whole batch. The gradients alone are
  multiplied by `loss_scale`, a scalar float32.

  Returns:
    The gradients without those of the weights' penalty, a dense tensor for each
    trainable variable; a dict of scalars: "loss", the label loss;
    "regularization_loss", without that of the weights; and, where a model has
    auxiliary outputs, "auxiliary_loss"; and scores [batch, num_classes], logits
    where the model has them, else predictions.
  """
  with tf.GradientTape() as tape:
    inputs = {key: batch[key] for key in ("features", "num_frames")}
    outputs = model(inputs, training=True)
    # A model may return one tensor twice, whose gradient would count twice.
    outputs = tf.nest.map_structure(tf.identity, outputs)
    penalty = other_penalty(model, outputs) * tf.reduce_sum(batch["weights"])
    objective = config.regularization_penalty * penalty
  sums, output_gradients = _differentiate(
    loss, outputs, batch, jit_compile, loss_scale
  )
  used = [
    pair
    for pair in zip(tf.nest.flatten(outputs), output_gradients, strict=True)
    if pair[1] is not None
  ]
  gradients = tape.gradient(
    [*(output for output, _ in used), objective],
    model.trainable_variables,
    [*(gradient for _, gradient in used), tf.convert_to_tensor(loss_scale)],
    # A layer that a model makes and does not use has no gradient.
    unconnected_gradients=tf.UnconnectedGradients.ZERO,
  )
  # Gradients of an embedding are sparse, which an all-reduce cannot take.
  gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
  scores = outputs.get("logits", outputs["predictions"])
  return gradients, {**sums, "regularization_loss": penalty}, scores


def _differentiate(loss, outputs, batch, jit_compile: bool, loss_scale):
  """The summed losses, and the gradient of each output; None of unused ones.

  The gradients are scaled while they are float32.
  """

  # Captured instead of passed: XLA then leaves out outputs that are not used.
  @tf.function(jit_compile=jit_compile, autograph=False)
  def differentiate():
    known = batch["labels"], batch.get("label_weights")
    with tf.GradientTape() as tape:
      tape.watch(outputs)
      each = {"loss": label_losses(loss, outputs, *known)}
      if "auxiliary" in outputs:
        each["auxiliary_loss"] = auxiliary_losses(loss, outputs, *known)
      sums = {
        name: tf.reduce_sum(values * batch["weights"])
        for name, values in each.items()
      }
      objective = loss_scale * tf.add_n(list(sums.values()))
    return sums, tape.gradient(objective, tf.nest.flatten(outputs))

  return differentiate()


def weight_penalty(model: keras.Model):
  """Scalar float32: the penalties of the weights' regularizers."""
  penalties = [weight.regularizer(weight) for weight in _regularized(model)]
  return sum(
    (tf.cast(penalty, tf.float32) for penalty in penalties), start=tf.zeros([])
  )


def other_penalty(model: keras.Model, outputs):
  """Scalar float32: penalties of layers' outputs, plus the model's own.

  Together with `weight_penalty` it is the regularization loss. The weights'
  penalty is apart since a step needs only its gradient.

  Args:
    model: just called.
    outputs: what it returned.
  """
  of_layers = model.losses  # Those of the weights come last.
  of_outputs = of_layers[: len(of_layers) - len(_regularized(model))]
  own = outputs.get("regularization_loss", tf.zeros([]))
  penalties = [tf.reduce_sum(own), *of_outputs]
  return tf.add_n([tf.cast(penalty, tf.float32) for penalty in penalties])


def _regularized(model: keras.Model) -> list[keras.Variable]:
  return [
    weight
    for weight in model.trainable_weights
    if weight.regularizer is not None
  ]


def build_optimizer(config: ExperimentConfig) -> keras.optimizers.Optimizer:
  """A Keras optimizer by its name, or its name in TensorFlow 1.

  Raises:
    UserError: unknown name; the message lists those there are.
  """
  choices = _optimizer_classes()
  key = _optimizer_key(config.optimizer)
  if key not in choices:
    names = sorted({choice.__name__ for choice in choices.values()})
    raise UserError(
      f"--optimizer: unknown {config.optimizer!r}. "
      f"Available: {', '.join(names)}."
    )
  arguments = {"learning_rate": float(config.base_learning_rate)}
  if config.weight_decay is not None:
    arguments["weight_decay"] = config.weight_decay
  return choices[key](**arguments)


def _optimizer_key(name: str) -> str:
  """The part of a name that Keras and TensorFlow 1 have in common."""
  return re.sub(r"optimizer$", "", name.lower())


def _optimizer_classes() -> dict[str, type[keras.optimizers.Optimizer]]:
  base = keras.optimizers.Optimizer
  choices = {
    name.lower(): member
    for name, member in inspect.getmembers(keras.optimizers, inspect.isclass)
    # Optimizers that wrap others have no learning rate of their own.
    if issubclass(member, base)
    and member is not base
    and "learning_rate" in inspect.signature(member).parameters
  }
  return {**choices, "gradientdescent": keras.optimizers.SGD}


def learning_rate(config: ExperimentConfig, num_examples):
  """Scalar float32: the learning rate of the next step.

  It falls in steps, once every `learning_rate_decay_examples`, or over so many
  examples as half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983,
  equation 5, without restarts); and it begins with a straight rise.

  Args:
    config: base rate and schedule.
    num_examples: scalar int64, examples trained on so far.
  """
  decay_examples = config.learning_rate_decay_examples
  if config.learning_rate_schedule == "cosine":
    progress = tf.cast(num_examples / decay_examples, tf.float32)
    decay = 0.5 + 0.5 * tf.cos(math.pi * tf.minimum(progress, 1.0))
  else:
    num_decays = tf.cast(num_examples // decay_examples, tf.float32)
    decay = tf.pow(config.learning_rate_decay, num_decays)
  if config.learning_rate_warmup_examples:
    # With this step's examples: a rate of 0 would waste the first step.
    examples = tf.cast(num_examples + config.batch_size, tf.float32)
    decay *= tf.minimum(examples / config.learning_rate_warmup_examples, 1.0)
  return config.base_learning_rate * decay


def load_config(
  train_dir: str, given: Mapping[str, Any], workers: cluster.Workers
) -> ExperimentConfig:
  """The train dir's configuration, for programs that use a trained model.

  Of several workers, only the chief looks there.

  Args:
    train_dir: the trainer's folder.
    given: values of `ExperimentConfig` that were typed.
    workers: those that use the model.

  Raises:
    UserError: there is no model, or what is given contradicts the train dir.
  """
  if not workers.is_chief:
    return ExperimentConfig.from_json(workers.share(None))
  if not train_dirs.has_model(train_dir):
    raise UserError(
      f"--train_dir={train_dir!r} has no {train_dirs.CONFIG_FILE}: no model "
      "was trained there."
    )
  config = ExperimentConfig.load(train_dir)
  check_agreement(given, config)
  workers.share(config.to_json())
  return config
