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
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from program import UserError

import keras
import tensorflow as tf
from absl import flags

import cluster
import losses
import models
import readers
import sources
import utils
from bad_records import BadRecords

CONFIG_FILE = "model_flags.json"
_LISTS = ("feature_names", "feature_sizes")

# Flags that say what the model is: a train dir has one value of each.
MODEL_FLAGS = (
  "model",
  "model_kwargs",
  "num_classes",
  "feature_names",
  "feature_sizes",
  "frame_features",
  "max_frames",
)
# A stranger's model_flags.json must not make us allocate without bounds.
_MAX_SIZE = 10_000_000
_MAX_WEIGHTS = 2**33
_MAX_VIDEO_BYTES = 2**30
# All batches are padded to their full size, however few videos there are.
MAX_BATCH_SIZE = 2**17
# Lowest and highest value of each number, typed or read from a file.
RANGES = {
  "num_classes": (1, _MAX_SIZE),
  "max_frames": (1, _MAX_SIZE),
  "batch_size": (1, MAX_BATCH_SIZE),
  "num_epochs": (1, sources.MAX_EPOCHS),
  "max_steps": (1, 2**62),
  "base_learning_rate": (0.0, float("inf")),
  "learning_rate_decay": (0.0, float("inf")),
  "learning_rate_decay_examples": (1, 2**62),
  "regularization_penalty": (0.0, float("inf")),
  "clip_gradient_norm": (0.0, float("inf")),
  "seed": (0, 2**31 - 1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
  """Everything that decides what is trained and how.

  Raises:
    UserError: a value is of the wrong type or out of range; the message names
      the flag.
  """

  model: str = "LogisticModel"
  model_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
  num_classes: int = 3862  # The vocabulary of 2018 and later.
  feature_names: tuple[str, ...] = ()
  feature_sizes: tuple[int, ...] = ()
  frame_features: bool = False
  max_frames: int = readers.MAX_FRAMES
  label_loss: str = "CrossEntropyLoss"
  batch_size: int = 1024
  num_epochs: int = 5
  max_steps: int | None = None
  base_learning_rate: float = 0.01
  learning_rate_decay: float = 0.95
  learning_rate_decay_examples: int = 4_000_000
  regularization_penalty: float = 1.0
  optimizer: str = "AdamOptimizer"
  clip_gradient_norm: float = 1.0
  mixed_precision: bool = False
  seed: int | None = None

  def __post_init__(self):
    _check_types(self)
    for name, (lowest, highest) in RANGES.items():
      if getattr(self, name) is not None:
        _check_range(name, getattr(self, name), lowest, highest)
    for size in self.feature_sizes:
      _check_range("feature_sizes", size, 1, _MAX_SIZE)
    self._check_features()

  def _check_features(self):
    """Names and sizes must match, and must not take all the memory."""
    if len(self.feature_names) != len(self.feature_sizes):
      raise UserError(
        f"--feature_names has {len(self.feature_names)} names "
        f"({','.join(self.feature_names)}), --feature_sizes has "
        f"{len(self.feature_sizes)} sizes; give one size for each name."
      )
    if len(set(self.feature_names)) < len(self.feature_names):
      raise UserError(
        f"--feature_names={','.join(self.feature_names)} names a feature twice."
      )
    video_bytes = self.max_frames * sum(self.feature_sizes)
    if self.frame_features and video_bytes > _MAX_VIDEO_BYTES:
      raise UserError(
        f"--max_frames={self.max_frames} times --feature_sizes="
        f"{_shown(self.feature_sizes)} makes {video_bytes:,} bytes a video, "
        f"more than {_MAX_VIDEO_BYTES:,}. One of them must be wrong."
      )
    weights = sum(self.feature_sizes) * self.num_classes
    if weights > _MAX_WEIGHTS:
      raise UserError(
        f"--num_classes={self.num_classes} times --feature_sizes="
        f"{_shown(self.feature_sizes)} makes {weights:,} weights, "
        f"more than {_MAX_WEIGHTS:,}. One of them must be wrong."
      )

  def to_json(self) -> str:
    """The configuration as text."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, text: str) -> "ExperimentConfig":
    """The configuration of which `to_json` gave the text."""
    return cls._from_values(json.loads(text))

  @classmethod
  def _from_values(cls, values: dict[str, Any]) -> "ExperimentConfig":
    """From what JSON has, which has no tuples."""
    tuples = {
      name: tuple(values[name])
      for name in _LISTS
      if isinstance(values.get(name), list)
    }
    return cls(**values | tuples)

  def save(self, train_dir: str):
    """Writes `model_flags.json`."""
    path = os.path.join(train_dir, CONFIG_FILE)
    utils.write_json(path, dataclasses.asdict(self))

  @classmethod
  def load(cls, train_dir: str) -> "ExperimentConfig":
    """Reads `model_flags.json`.

    Raises:
      UserError: there is none, or it is not one of ours.
    """
    path = os.path.join(train_dir, CONFIG_FILE)
    values = utils.read_json(path)
    known = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(values, dict) or not values.keys() <= known:
      raise UserError(
        f"{path!r} was not written by this trainer: expected an object with "
        f"the keys {', '.join(sorted(known))}."
      )
    try:
      # As the starter code's file of the same name has them.
      if any(isinstance(values.get(name), str) for name in _LISTS):
        raise UserError("features are strings; lists were expected.")
      return cls._from_values(values)
    except UserError as error:
      raise UserError(
        f"{path!r}: {error} Train anew with --start_new_model, or bring back "
        "the file that the trainer wrote."
      ) from error


def _check_types(config: ExperimentConfig):
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    default = getattr(ExperimentConfig, field.name, {})
    optional = field.name in ("max_steps", "seed")
    expected = int if optional else type(default)
    accepted = (int, float) if expected is float else expected
    is_bool = isinstance(value, bool) and expected is not bool
    if optional and value is None:
      continue
    if is_bool or not isinstance(value, accepted):
      raise UserError(
        f"--{field.name}={value!r} should be of type {expected.__name__}."
      )
  for name, expected in (("feature_names", str), ("feature_sizes", int)):
    values = getattr(config, name)
    if any(type(value) is not expected for value in values):
      raise UserError(
        f"--{name}={_shown(values)} should each be of type {expected.__name__}."
      )


def _check_range(name: str, value: float, lowest: float, highest: float):
  # A file may have integers that cannot become the floats that are meant.
  is_too_long = value > sys.float_info.max and isinstance(value, int)
  if is_too_long or not lowest <= value <= highest:
    raise UserError(f"--{name}={value} should be from {lowest} to {highest:,}.")


def define_train_dir_flags():
  """Flags of every program: where the model is and how data is read."""
  flags.DEFINE_string(
    "train_dir",
    "/tmp/yt8m_model/",  # noqa: S108 The starter code's default.
    "Folder of the model: checkpoints, model_flags.json, TensorBoard events. "
    "Local or gs://.",
    module_name="Model folder",
  )
  flags.DEFINE_string(
    "job-dir",  # As gcloud spells it.
    None,
    "What Google Cloud's training services pass on: the --train_dir where that "
    "is not given.",
    module_name="Model folder",
  )
  flags.DEFINE_integer(
    "num_readers",
    None,
    "Shards read at the same time; no more than 16 are. Found from the machine "
    "when not given.",
    lower_bound=1,
    upper_bound=1024,
    module_name="Data",
  )
  _define_bad_record_flags()
  flags.DEFINE_boolean(
    "jit_compile",
    True,
    "Compile with XLA what is faster compiled: loss and update, and, at frame "
    "level or on a GPU, the model.",
    module_name="Machine",
  )


def use_job_dir():
  """Sets --train_dir from --job-dir where only that is given."""
  job_dir = flags.FLAGS["job-dir"].value
  train_dir = flags.FLAGS["train_dir"]
  if job_dir and not (train_dir.present and train_dir.value):
    flags.FLAGS.train_dir = job_dir


# Groups of flags of which all workers need the same.
_SHARED_GROUPS = ("Data", "Model", "Optimization", "Evaluation", "Output")


def check_same_flags(workers: cluster.Workers):
  """Makes sure that workers are the same program, with the same flags.

  Paths may differ from machine to machine, but not whether they are given.

  Raises:
    UserError: they are not.
  """
  groups = flags.FLAGS.flags_by_module_dict()
  values = {"program": os.path.basename(sys.argv[0])} | {
    f"--{flag.name}": (
      flag.value is not None
      if flag.name.endswith(("_pattern", "_file"))
      else flag.value
    )
    for group in _SHARED_GROUPS
    for flag in groups.get(group, ())
    if flag.name != "num_readers"
  }
  gathered = workers.gather(json.dumps(values).encode())
  first, *others = map(json.loads, gathered)
  different = {
    name
    for other in others
    for name in {*first, *other}
    if other.get(name) != first.get(name)
  }
  if different:
    workers.make_sure_all_know()
    raise UserError(
      "The workers were not started alike: they differ in "
      f"{', '.join(sorted(different))}. Give each of them the same command."
    )


def _define_bad_record_flags():
  flags.DEFINE_enum(
    "on_bad_record",
    "stop",
    ["stop", "skip"],
    "What to do at a record, or a part of a shard, that cannot be used: stop "
    "and say what is wrong, or leave it out, and count, log and list it.",
    module_name="Data",
  )
  flags.DEFINE_float(
    "max_bad_fraction",
    0.01,
    "With --on_bad_record=skip: the largest part of the data that may be left "
    "out. More stops the program.",
    lower_bound=0.0,
    upper_bound=1.0,
    module_name="Data",
  )


@contextlib.contextmanager
def noting_bad_records(
  report_path: str, workers: cluster.Workers, goes_on: bool = False
) -> Iterator[BadRecords | None]:
  """What takes note of bad records while they are left out; or None.

  Args:
    report_path: the JSON file in which the chief lists those of all workers.
    workers: the workers that leave them out.
    goes_on: as in `BadRecords`.
  """
  if flags.FLAGS.on_bad_record == "stop":
    # Of another run; it must not lie beside results without bad records.
    if workers.is_chief and not goes_on and utils.is_file(report_path):
      utils.delete(report_path)
    yield None
    return
  max_fraction = flags.FLAGS.max_bad_fraction
  if not 0 <= max_fraction <= 1:  # As NaN, which the flag lets pass.
    raise UserError(f"--max_bad_fraction={max_fraction} should be from 0 to 1.")
  path = report_path if workers.is_chief else None
  with (
    BadRecords(path, max_fraction, goes_on) as left_out,
    workers.sharing(left_out),
  ):
    yield left_out


def define_model_flags(defaults: ExperimentConfig | None):
  """Flags that say what the model is.

  Args:
    defaults: the values shown as defaults, for the trainer; None for programs
      that take them from the train dir and only compare what is given.
  """
  from_dir = "Read from the train dir; an error if it disagrees. "
  note = "" if defaults else from_dir

  def default(name):
    return getattr(defaults, name) if defaults else None

  def define(kind, name, text, value=None, **kwargs):
    kind(name, value, note + text, module_name="Model", **kwargs)

  define(
    flags.DEFINE_string,
    "model",
    "Class name of the model, one of those in models.py.",
    default("model"),
  )
  define(
    flags.DEFINE_string,
    "model_kwargs",
    "The model's arguments as JSON, for instance '{\"l2_penalty\": 1e-6}'.",
    "{}" if defaults else None,
  )
  define(
    flags.DEFINE_integer,
    "num_classes",
    "Number of classes: 3862 (2018 and later), 4716 (2017), 4800 (2016), 527 "
    "(AudioSet).",
    default("num_classes"),
    lower_bound=1,
  )
  define(
    flags.DEFINE_string,
    "feature_names",
    "Features, separated by commas. Found from the data when not given.",
  )
  define(
    flags.DEFINE_string,
    "feature_sizes",
    "Sizes of the features, separated by commas. Found from the data when not "
    "given.",
  )
  define(
    flags.DEFINE_boolean,
    "frame_features",
    "Whether the shards hold frame-level features. Found from the data when "
    "not given.",
  )
  define(
    flags.DEFINE_integer,
    "max_frames",
    "Frames of a video; longer ones are cut. When not given: 300, or 10 for "
    "AudioSet.",
    lower_bound=1,
  )


def given_flags(names: Sequence[str]) -> dict[str, Any]:
  """Values of those flags that were typed, as `ExperimentConfig` holds them.

  Raises:
    UserError: a list or a JSON value cannot be parsed.
  """
  values = {}
  for name in names:
    if flags.FLAGS[name].present and flags.FLAGS[name].value is not None:
      values[name] = _parse_flag(name, flags.FLAGS[name].value)
  return values


def _parse_flag(name: str, value):
  try:
    if name == "feature_names":
      return tuple(part.strip() for part in value.split(",") if part.strip())
    if name == "feature_sizes":
      return tuple(int(part) for part in value.split(",") if part.strip())
    if name == "model_kwargs":
      kwargs = json.loads(value)
      if not isinstance(kwargs, dict):
        raise ValueError("it should be an object")
      return kwargs
  except ValueError as error:
    raise UserError(f"--{name}={value!r} cannot be parsed: {error}.") from error
  return value


def resolve_config(
  given: Mapping[str, Any],
  saved: ExperimentConfig | None,
  schema: readers.Schema,
) -> ExperimentConfig:
  """The trainer's configuration.

  A flag that was typed wins; then the train dir's value, where a run is
  resumed (but for `max_steps`); then what the data shows; then the default.
  What the model is cannot change in a train dir.

  Raises:
    UserError: a flag contradicts the train dir or the data.
  """
  if saved:
    check_agreement(given, saved, (*MODEL_FLAGS, "optimizer", "seed"))
    # Where one run was to stop says nothing about the next one.
    config = dataclasses.replace(saved, **{"max_steps": None, **given})
    check_schema(config, schema)
    return config
  if "feature_sizes" in given and "feature_names" not in given:
    given = {**given, "feature_names": schema.feature_names}
  found = {
    "feature_names": schema.feature_names,
    "feature_sizes": schema.feature_sizes,
    "frame_features": schema.frame_features,
    "max_frames": schema.max_frames,
  }
  config = ExperimentConfig(**{**found, **given})
  check_schema(config, schema)
  return config


def check_agreement(
  given: Mapping[str, Any],
  saved: ExperimentConfig,
  names: Sequence[str] = MODEL_FLAGS,
):
  """Raises a UserError if a typed flag differs from the train dir's value."""
  for name in names:
    if name in given and not _same(name, given[name], getattr(saved, name)):
      raise UserError(
        f"--{name}={_shown(given[name])} contradicts the train dir, whose "
        f"model has {name}={_shown(getattr(saved, name))}. Leave the flag out, "
        "or use another --train_dir."
      )


def _same(name: str, value, other) -> bool:
  if name == "optimizer":
    return _optimizer_key(value) == _optimizer_key(other)
  return value == other


def _shown(value) -> str:
  """A value as one would type it."""
  if isinstance(value, tuple):
    return ",".join(map(str, value))
  return json.dumps(value) if isinstance(value, dict) else str(value)


def check_schema(config: ExperimentConfig, schema: readers.Schema):
  """Raises a UserError if shards are not what the configuration says."""
  if not config.feature_names:
    raise UserError(
      f"{CONFIG_FILE} names no features, so the model cannot read any."
    )
  if config.frame_features != schema.frame_features:
    level = {True: "frame-level", False: "video-level"}
    raise UserError(
      f"{schema.shard!r} holds {level[schema.frame_features]} features, but "
      f"the model reads {level[config.frame_features]} ones "
      f"(--frame_features={config.frame_features})."
    )
  found = dict(zip(schema.feature_names, schema.feature_sizes, strict=True))
  asked = zip(config.feature_names, config.feature_sizes, strict=True)
  for name, size in asked:
    if found.get(name) != size:
      raise UserError(
        f"Feature {name!r} should have size {size} (--feature_sizes), but in "
        f"{schema.shard!r} it has size {found.get(name)}."
      )


def build_reader(
  config: ExperimentConfig,
  schema: readers.Schema,
  num_readers: int | None = None,
) -> readers.BaseReader:
  """The reader for shards laid out as `schema` says."""
  arguments: dict[str, Any] = {
    "num_classes": config.num_classes,
    "feature_sizes": config.feature_sizes,
    "feature_names": config.feature_names,
    "id_key": schema.id_key,
    "num_readers": num_readers,
  }
  if config.frame_features:
    return readers.YT8MFrameFeatureReader(
      max_frames=config.max_frames, **arguments
    )
  return readers.YT8MAggregatedFeatureReader(**arguments)


def open_shards(
  config: ExperimentConfig,
  pattern: str,
  flag_name: str,
  num_readers: int | None = None,
  need_labels: bool = True,
  left_out: BadRecords | None = None,
) -> tuple[list[str], readers.BaseReader]:
  """Lists shards, checks that the model can read them, builds their reader.

  Args:
    config: the train dir's configuration.
    pattern: comma-separated globs.
    flag_name: the flag the pattern came from.
    num_readers: as in `readers.BaseReader`.
    need_labels: whether shards without labels are an error.
    left_out: takes note of bad records; None where they are not left out.

  Returns:
    The shards and their reader.

  Raises:
    UserError: no shards, or shards of another kind.
  """
  shards = utils.list_shards(pattern, flag_name)
  schema = look_at_shards(shards, config.feature_names, left_out, need_labels)
  check_schema(config, schema)
  if need_labels:
    check_labels(schema, flag_name)
  return shards, build_reader(config, schema, num_readers)


def check_same_shards(
  workers: cluster.Workers, shards: Sequence[str], flag_name: str
):
  """Makes sure that all workers read the same files, wherever they lie.

  Raises:
    UserError: they do not, so that some would be left out or come twice.
  """
  names = "\n".join(map(os.path.basename, shards))
  table = workers.agree([len(shards), zlib.crc32(names.encode())])
  if (table != table[0]).any():
    workers.make_sure_all_know()
    raise UserError(
      f"--{flag_name}: the workers see different shards; this one has "
      f"{len(shards)}, from {shards[0]!r} on, and in all they have "
      f"{', '.join(f'{number:g}' for number in table[:, 0])}. Give each the "
      "same files."
    )


def look_at_shards(
  shards: Sequence[str],
  feature_names: Sequence[str] | None,
  left_out: BadRecords | None,
  need_labels: bool = True,
) -> readers.Schema:
  """How shards are laid out; tells `left_out` what there is to read.

  Raises:
    UserError: as `readers.detect_schema`.
  """
  schema = readers.detect_schema(
    shards, feature_names, left_out is not None, need_labels
  )
  if left_out:
    left_out.expect(shards, schema.record_bytes)
  return schema


def check_labels(schema: readers.Schema, flag_name: str):
  """Raises a UserError if the shards have no labels."""
  if not schema.has_labels:
    raise UserError(
      f"--{flag_name}: {schema.shard!r} has no labels; test shards are only "
      "for inference.py."
    )


def build_model(
  config: ExperimentConfig, mixed_precision: bool = False
) -> keras.Model:
  """The model, from a batch's raw features to its dict of outputs.

  Args:
    config: the configuration.
    mixed_precision: whether layers compute in bfloat16. Weights, normalised
      features and predictions are float32 in any case, so a checkpoint suits
      both. For training: the other programs compute in float32.

  Returns:
    A Keras model called with {"features", "num_frames"} of a batch.

  Raises:
    UserError: unknown model or argument, or a model for the other kind of
      features.
  """
  model_class = utils.find_class_by_name(
    config.model, [models], models.BaseModel, "model"
  )
  _check_kind(config, model_class)
  constructor, call = _split_kwargs(model_class, config.model_kwargs)
  inputs, model_input = _model_inputs(config)
  try:
    with _dtype_policy("mixed_bfloat16" if mixed_precision else "float32"):
      outputs = model_class(**constructor).create_model(
        model_input,
        config.num_classes,
        num_frames=inputs["num_frames"],
        **call,
      )
  except (TypeError, ValueError, OverflowError) as error:
    if "KerasTensor cannot be used as input to a TensorFlow" in str(error):
      raise UserError(
        f"--model={config.model}: create_model calls a tf.* function on a "
        "symbolic tensor. Use keras.ops, or call it inside the call method of "
        f"a keras.layers.Layer. Keras says: {str(error).splitlines()[0]}"
      ) from error
    if not config.model_kwargs:
      raise
    raise UserError(
      f"--model_kwargs={json.dumps(config.model_kwargs)} does not suit "
      f"{config.model}: {error}"
    ) from error
  _check_outputs(config, outputs)
  if outputs["predictions"].dtype != "float32":
    outputs = {
      **outputs,
      "predictions": keras.ops.cast(outputs["predictions"], "float32"),
    }
  return keras.Model(inputs, outputs, name=config.model)


def _model_inputs(config: ExperimentConfig):
  """The symbolic inputs of a model, and the normalised features."""
  shape = (config.max_frames,) if config.frame_features else ()
  dtype = "uint8" if config.frame_features else "float32"
  features = {
    # Keras refuses some names that features have, "RGB/mean" for instance.
    name: keras.Input((*shape, size), dtype=dtype, name=f"feature_{number}")
    for number, (name, size) in enumerate(
      zip(config.feature_names, config.feature_sizes, strict=True)
    )
  }
  num_frames = keras.Input((), dtype="int32", name="num_frames")
  model_input = models.NormalizedInput(
    utils.DEQUANTIZE_SCALE, utils.DEQUANTIZE_OFFSET, name="input"
  )(list(features.values()), num_frames)
  return {"features": features, "num_frames": num_frames}, model_input


@contextlib.contextmanager
def _dtype_policy(name: str):
  """Keras' policy for new layers, which it keeps in a global, for a while."""
  previous = keras.config.dtype_policy()
  keras.config.set_dtype_policy(name)
  try:
    yield
  finally:
    keras.config.set_dtype_policy(previous)


def _check_kind(config: ExperimentConfig, model_class: type):
  """Refuses a video-level model for frame-level features, or the reverse."""
  if model_class.frame_features not in (None, config.frame_features):
    level = {True: "frame-level", False: "video-level"}
    fitting = sorted(
      name
      for name, choice in inspect.getmembers(models, inspect.isclass)
      if issubclass(choice, models.BaseModel)
      and choice is not models.BaseModel
      and choice.frame_features in (None, config.frame_features)
    )
    raise UserError(
      f"--model={config.model} takes {level[model_class.frame_features]} "
      f"features, but the shards hold {level[config.frame_features]} ones "
      f"({', '.join(config.feature_names)}). Choose another --model: "
      f"{', '.join(fitting)}."
    )


def _split_kwargs(model_class: type, kwargs: Mapping[str, Any]):
  """Sorts arguments into the constructor's and `create_model`'s."""
  fixed = ("self", "model_input", "vocab_size", "num_frames")
  in_call = _keyword_names(model_class.create_model, fixed)
  in_constructor = _keyword_names(model_class.__init__, fixed)
  for name in kwargs:
    if name not in in_call | in_constructor:
      available = ", ".join(sorted(in_call | in_constructor)) or "none"
      raise UserError(
        f"--model_kwargs: {model_class.__name__} has no argument {name!r}. "
        f"Available: {available}."
      )
  return (
    {name: kwargs[name] for name in kwargs if name in in_constructor},
    {name: kwargs[name] for name in kwargs if name not in in_constructor},
  )


def _keyword_names(function, fixed) -> set[str]:
  variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
  return {
    name
    for name, parameter in inspect.signature(function).parameters.items()
    if name not in fixed and parameter.kind not in variadic
  }


def _check_outputs(config: ExperimentConfig, outputs):
  level = "frame-level" if config.frame_features else "video-level"
  if not isinstance(outputs, dict) or "predictions" not in outputs:
    raise UserError(
      f"{config.model}.create_model should return a dict with 'predictions', "
      f"but returned {outputs!r}."
    )
  shape = tuple(outputs["predictions"].shape)
  if shape != (None, config.num_classes):
    raise UserError(
      f"--model={config.model} gives predictions of shape {shape} on {level} "
      f"features; (None, {config.num_classes}) was expected. Is it a model "
      "for the other kind of features?"
    )


def compiles_well(config: ExperimentConfig) -> bool:
  """Whether a whole model is faster compiled with XLA than it is without.

  On a CPU, XLA's matrix products are slower than TensorFlow's own. They are
  most of a video-level model; in a frame-level one, decoding, normalising and
  pooling the frames are, which XLA does several times as fast.
  """
  return config.frame_features or bool(tf.config.get_visible_devices("GPU"))


def build_loss(config: ExperimentConfig) -> losses.BaseLoss:
  """The label loss.

  Raises:
    UserError: unknown name.
  """
  loss_class = utils.find_class_by_name(
    config.label_loss, [losses], losses.BaseLoss, "label_loss"
  )
  return loss_class()


def label_losses(loss: losses.BaseLoss, outputs, labels):
  """[batch] float32, each example's loss from a model's outputs.

  Args:
    loss: the label loss, for models that do not compute their own.
    outputs: the dict that a model returns.
    labels: [batch, num_classes] float32 in {0, 1}.
  """
  if "loss" in outputs:
    own = tf.cast(outputs["loss"], tf.float32)
    return own + tf.zeros(tf.shape(labels)[0])
  return loss.per_example_loss(
    outputs["predictions"], labels, outputs.get("logits")
  )


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
  return choices[key](learning_rate=float(config.base_learning_rate))


def _optimizer_key(name: str) -> str:
  """The part of a name that Keras and TensorFlow 1 have in common."""
  return re.sub(r"optimizer$", "", name.lower())


def _optimizer_classes() -> dict[str, type[keras.optimizers.Optimizer]]:
  base = keras.optimizers.Optimizer
  choices = {
    name.lower(): member
    for name, member in inspect.getmembers(keras.optimizers, inspect.isclass)
    # Those that wrap other optimizers have no learning rate of their own.
    if issubclass(member, base)
    and member is not base
    and "learning_rate" in inspect.signature(member).parameters
  }
  return {**choices, "gradientdescent": keras.optimizers.SGD}


def learning_rate(config: ExperimentConfig, num_examples):
  """Scalar float32: decayed once every `learning_rate_decay_examples`.

  Args:
    config: base rate and decay.
    num_examples: scalar int64, examples trained on so far.
  """
  num_decays = num_examples // config.learning_rate_decay_examples
  decay = tf.pow(config.learning_rate_decay, tf.cast(num_decays, tf.float32))
  return config.base_learning_rate * decay


def has_model(train_dir: str) -> bool:
  """Whether a trainer has begun a model in this folder."""
  return utils.exists(os.path.join(train_dir, CONFIG_FILE))


def load_shared_config(
  train_dir: str, workers: cluster.Workers
) -> ExperimentConfig:
  """As `load_config`; of several workers, only the chief looks there."""
  if not workers.is_chief:
    return ExperimentConfig.from_json(workers.share(None))
  config = load_config(train_dir)
  workers.share(config.to_json())
  return config


def load_config(train_dir: str) -> ExperimentConfig:
  """The train dir's configuration, for programs that use a trained model.

  Raises:
    UserError: there is no model, or a model flag was typed that contradicts
      the train dir.
  """
  if not has_model(train_dir):
    raise UserError(
      f"--train_dir={train_dir!r} has no {CONFIG_FILE}: no model was trained "
      "there."
    )
  config = ExperimentConfig.load(train_dir)
  check_agreement(given_flags(MODEL_FLAGS), config)
  return config
