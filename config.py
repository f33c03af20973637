# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings: everything that can be set, each said once.

A setting is a field of a dataclass below. Its type, its default and its
metadata (help, group, range) are all there is to say about it: the flag of the
command line, its line in `--help`, its usage error, and the check of a value
from a notebook or from a `model_flags.json` are made from them.

`ExperimentConfig` says what is trained and how; the trainer saves it whole as
`model_flags.json`, and the other programs load it, so that nothing is typed
twice. The `...Settings` say how one program is run: paths, logging, machine.
"""

import dataclasses
import functools
import json
import os
import sys
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from program import UserError

from absl import flags

import train_dir as train_dirs
import utils

# Settings that say what the model is: a train dir has one value of each.
MODEL_SETTINGS = (
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
_MAX_BATCH_SIZE = 2**17
_MAX_COUNT = 2**62
_INFINITY = float("inf")
_FROM_TRAIN_DIR = "Read from the train dir; an error if it disagrees. "


def setting(
  default,
  text: str,
  within: tuple[float, float] | None = None,
  *,
  group: str,
  choices: Collection[str] = (),
  has_flag_default: bool = True,
  is_path: bool = False,
):
  """A field of a dataclass of settings.

  Args:
    default: its default; `dataclasses.MISSING` where a value is required.
    text: what it means, for `--help`.
    within: the lowest and the highest value of a number, or of each in a list.
    group: the group of `--help` that it is listed in.
    choices: the values of a string, where only these are possible.
    has_flag_default: False where a value that is not typed comes from the data.
    is_path: whether a string is a path, or a list of patterns.
  """
  metadata = {
    "text": text,
    "within": within,
    "group": group,
    "choices": tuple(choices),
    "has_flag_default": has_flag_default,
    "is_path": is_path,
  }
  if isinstance(default, dict):
    return dataclasses.field(default_factory=dict, metadata=metadata)
  return dataclasses.field(default=default, metadata=metadata)


# `setting` for each group of `--help`.
_model = functools.partial(setting, group="Model")
_optimization = functools.partial(setting, group="Optimization")
_folder = functools.partial(setting, group="Model folder")
_data = functools.partial(setting, group="Data")
_evaluation = functools.partial(setting, group="Evaluation")
_output = functools.partial(setting, group="Output")
_saving = functools.partial(setting, group="Saving and logging")
_machine = functools.partial(setting, group="Machine")


class _Kind(NamedTuple):
  """A setting's type: `int | None` is an optional int, for instance."""

  type: type
  item_type: type | None  # Of a tuple.
  is_optional: bool


def _kind_of(field: dataclasses.Field) -> _Kind:
  options = [field.type]
  if isinstance(field.type, types.UnionType):
    options = list(typing.get_args(field.type))
  (annotation,) = [option for option in options if option is not type(None)]
  kind = typing.get_origin(annotation) or annotation
  item_type = typing.get_args(annotation)[0] if kind is tuple else None
  return _Kind(kind, item_type, len(options) > 1)


def check(settings):
  """Checks the type and the range of each setting of a dataclass.

  In paths, `~` is replaced by the home folder.

  Raises:
    UserError: a value is of the wrong type or out of range; the message names
      the flag.
  """
  for field in dataclasses.fields(settings):
    value, kind = getattr(settings, field.name), _kind_of(field)
    if value is None and kind.is_optional:
      continue
    _check_type(field.name, value, kind.type)
    if field.metadata["is_path"]:
      object.__setattr__(settings, field.name, utils.expanded(value))
    if kind.type is tuple:
      if any(type(item) is not kind.item_type for item in value):
        raise UserError(
          f"--{field.name}={shown(value)} should each be of type "
          f"{kind.item_type.__name__}."
        )
    for item in value if kind.type is tuple else (value,):
      _check_range(field, item)


def _check_type(name: str, value, expected: type):
  accepted = (int, float) if expected is float else expected
  is_bool = isinstance(value, bool) and expected is not bool
  if is_bool or not isinstance(value, accepted):
    raise UserError(
      f"--{name}={value!r} should be of type {expected.__name__}."
    )


def _check_range(field: dataclasses.Field, value):
  choices, within = field.metadata["choices"], field.metadata["within"]
  if choices and value not in choices:
    raise UserError(
      f"--{field.name}={value!r} should be one of {', '.join(choices)}."
    )
  if within is None:
    return
  lowest, highest = within
  # A file may have integers that cannot become the floats that are meant.
  is_too_long = value > sys.float_info.max and isinstance(value, int)
  # Written so that NaN is outside.
  if is_too_long or not lowest <= value <= highest:
    raise UserError(
      f"--{field.name}={value} should be from {lowest} to {highest:,}."
    )


def shown(value) -> str:
  """A value as one would type it."""
  if isinstance(value, tuple):
    return ",".join(map(str, value))
  return json.dumps(value) if isinstance(value, dict) else str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
  """Everything that decides what is trained and how.

  Raises:
    UserError: a value is of the wrong type or out of range; the message names
      the flag.
  """

  model: str = _model(
    "LogisticModel", "Class name of the model, one of those in models.py."
  )
  model_kwargs: dict[str, Any] = _model(
    {}, "The model's arguments as JSON, for instance '{\"l2_penalty\": 1e-6}'."
  )
  num_classes: int = _model(
    3862,
    "Number of classes: 3862 (2018 and later), 4716 (2017), 4800 (2016), 527 "
    "(AudioSet).",
    (1, _MAX_SIZE),
  )
  feature_names: tuple[str, ...] = _model(
    (),
    "Features, separated by commas. Found from the data when not given.",
    has_flag_default=False,
  )
  feature_sizes: tuple[int, ...] = _model(
    (),
    "Sizes of the features, separated by commas. Found from the data when not "
    "given.",
    (1, _MAX_SIZE),
    has_flag_default=False,
  )
  frame_features: bool = _model(
    False,
    "Whether the shards hold frame-level features. Found from the data when "
    "not given.",
    has_flag_default=False,
  )
  max_frames: int = _model(
    utils.MAX_FRAMES,
    "Frames of a video; longer ones are cut. When not given: 300, or 10 for "
    "AudioSet.",
    (1, _MAX_SIZE),
    has_flag_default=False,
  )
  label_loss: str = _optimization(
    "CrossEntropyLoss", "Loss, one of those in losses.py."
  )
  label_loss_kwargs: dict[str, Any] = _optimization(
    {}, "The loss's arguments as JSON."
  )
  batch_size: int = _optimization(
    1024, "Videos per step, of all workers together.", (1, _MAX_BATCH_SIZE)
  )
  num_epochs: int = _optimization(
    5,
    "Passes over the data in total; a resumed run does what is left.",
    (1, _MAX_SIZE),
  )
  max_steps: int | None = _optimization(
    None, "Stop at this step at the latest.", (1, _MAX_COUNT)
  )
  base_learning_rate: float = _optimization(
    0.01, "Learning rate at the start.", (0.0, _INFINITY)
  )
  learning_rate_decay: float = _optimization(
    0.95,
    "The learning rate is multiplied by this every "
    "--learning_rate_decay_examples videos, in steps (a staircase).",
    (0.0, _INFINITY),
  )
  learning_rate_decay_examples: int = _optimization(
    4_000_000,
    "Videos between two decays of the learning rate.",
    (1, _MAX_COUNT),
  )
  regularization_penalty: float = _optimization(
    1.0, "Weight of the model's own regularization loss.", (0.0, _INFINITY)
  )
  optimizer: str = _optimization(
    "AdamOptimizer",
    "Any Keras optimizer by name, for instance Adam or AdamOptimizer.",
  )
  clip_gradient_norm: float = _optimization(
    1.0,
    "Longest L2 norm of the gradient, per variable (not over all of them "
    "together), as in the starter code; 0 turns clipping off.",
    (0.0, _INFINITY),
  )
  mixed_precision: bool = _optimization(
    False,
    "Compute layers in bfloat16; weights, loss and update stay float32. Faster "
    "on processors and GPUs that have bfloat16 instructions.",
  )
  seed: int | None = _optimization(
    None,
    "Seed of the weights and of the order of the data. Drawn, and saved, when "
    "not given.",
    (0, 2**31 - 1),
  )

  def __post_init__(self):
    check(self)
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
    sizes = f"--feature_sizes={shown(self.feature_sizes)} makes"
    video_bytes = self.max_frames * sum(self.feature_sizes)
    if self.frame_features and video_bytes > _MAX_VIDEO_BYTES:
      raise UserError(
        f"--max_frames={self.max_frames} times {sizes} {video_bytes:,} bytes a "
        f"video, more than {_MAX_VIDEO_BYTES:,}. One of them must be wrong."
      )
    weights = sum(self.feature_sizes) * self.num_classes
    if weights > _MAX_WEIGHTS:
      raise UserError(
        f"--num_classes={self.num_classes} times {sizes} {weights:,} weights, "
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
  def _from_values(cls, values: Mapping[str, Any]) -> "ExperimentConfig":
    """A configuration from the values of JSON, whose lists become tuples."""
    tuples = {
      field.name: tuple(values[field.name])
      for field in dataclasses.fields(cls)
      if _kind_of(field).type is tuple
      and isinstance(values.get(field.name), list)
    }
    return cls(**{**values, **tuples})

  def save(self, train_dir: str):
    """Writes `model_flags.json`."""
    path = os.path.join(train_dir, train_dirs.CONFIG_FILE)
    utils.write_json(path, dataclasses.asdict(self))

  @classmethod
  def load(cls, train_dir: str) -> "ExperimentConfig":
    """Reads `model_flags.json`.

    Raises:
      UserError: there is none, or it is not one of ours.
    """
    path = os.path.join(train_dir, train_dirs.CONFIG_FILE)
    values = utils.read_json(path)
    known = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(values, dict) or not values.keys() <= known:
      raise UserError(
        f"{path!r} was not written by this trainer: expected an object with "
        f"the keys {', '.join(sorted(known))}."
      )
    try:
      # The starter code's file of the same name has strings here.
      names = ("feature_names", "feature_sizes")
      if any(isinstance(values.get(name), str) for name in names):
        raise UserError("features are strings; lists were expected.")
      return cls._from_values(values)
    except UserError as error:
      raise UserError(
        f"{path!r}: {error} Train anew with --start_new_model, or bring back "
        "the file that the trainer wrote."
      ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How any of the programs is run."""

  train_dir: str = _folder(
    "/tmp/yt8m_model/",  # noqa: S108 The starter code's default.
    "Folder of the model: checkpoints, model_flags.json, TensorBoard events. "
    "Local or gs://.",
    is_path=True,
  )
  job_dir: str | None = _folder(
    None,
    "What Google Cloud's training services pass on: the --train_dir where that "
    "is not given.",
    is_path=True,
  )
  num_readers: int | None = _data(
    None,
    "Shards read at the same time; no more than 16 are. Found from the machine "
    "when not given.",
    (1, 1024),
  )
  on_bad_record: str = _data(
    "stop",
    "What to do at a record, or a part of a shard, that cannot be used: stop "
    "and say what is wrong, or leave it out, and count, log and list it.",
    choices=("stop", "skip"),
  )
  max_bad_fraction: float = _data(
    0.01,
    "With --on_bad_record=skip: the largest part of the data that may be left "
    "out. More stops the program.",
    (0, 1),
  )
  jit_compile: bool = _machine(
    True,
    "Compile with XLA what is faster compiled: loss, update, and the layers "
    "that ask for it.",
  )
  worker_timeout_secs: int = _machine(
    300,
    "How long to wait for the other workers that TF_CONFIG names to start.",
    (1, _MAX_SIZE),
  )

  def __post_init__(self):
    check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
  """How train.py is run; what it trains is in `ExperimentConfig`."""

  train_data_pattern: str = _data(
    dataclasses.MISSING,
    "Shards to train on: a glob, or several separated by commas.",
    is_path=True,
  )
  start_new_model: bool = _saving(
    False,
    "Delete what a trainer wrote to the train dir, and nothing else, and "
    "start again.",
  )
  save_checkpoint_secs: int = _saving(
    60, "Seconds between two checkpoints.", (0, _MAX_COUNT)
  )
  max_to_keep: int = _saving(5, "Latest checkpoints kept.", (1, _MAX_COUNT))
  log_every_steps: int = _saving(
    10,
    "Steps between two log lines, which carry the batch's metrics.",
    (1, _MAX_COUNT),
  )
  profile_steps: str | None = _saving(
    None,
    "First and last step of a trace for TensorBoard's profile plugin, for "
    "instance 20,25; it is written to TRAIN_DIR/plugins/profile.",
  )
  eval_data_pattern: str | None = _saving(
    None,
    "Shards to evaluate on while training; the best model by GAP is kept in "
    "TRAIN_DIR/best.",
    is_path=True,
  )
  eval_every_steps: int = _saving(
    1000,
    "Steps between two evaluations with --eval_data_pattern; there is one at "
    "the end too.",
    (1, _MAX_COUNT),
  )
  num_gpu: int | None = _machine(
    None,
    "GPUs to train on. All that are visible when not given.",
    (0, _MAX_SIZE),
  )
  log_device_placement: bool = _machine(
    False, "Log the device of every operation."
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSettings(Settings):
  """How eval.py is run."""

  eval_data_pattern: str = _data(
    dataclasses.MISSING,
    "Shards to evaluate on: a glob, or several separated by commas.",
    is_path=True,
  )
  batch_size: int = _data(
    1024, "Videos per step and worker.", (1, _MAX_BATCH_SIZE)
  )
  run_once: bool = _evaluation(
    False,
    "Evaluate the latest checkpoint and end, instead of following the trainer.",
  )
  top_k: int = _evaluation(
    20, "Classes of each video that count for GAP and mAP.", (1, _MAX_COUNT)
  )
  eval_dir: str | None = _evaluation(
    None,
    "Folder for results and TensorBoard events, local or gs://. TRAIN_DIR/eval "
    "when not given.",
    is_path=True,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceSettings(Settings):
  """How inference.py is run."""

  input_data_pattern: str = _data(
    dataclasses.MISSING,
    "Shards to predict for: a glob, or several separated by commas.",
    is_path=True,
  )
  batch_size: int = _data(
    512,
    "Videos per step and worker; fewer need less memory, for long frame-level "
    "videos.",
    (1, _MAX_BATCH_SIZE),
  )
  output_file: str = _output(
    dataclasses.MISSING,
    "The CSV file to write, local or gs://. It appears when it is complete.",
    is_path=True,
  )
  top_k: int = _output(
    20,
    "Classes listed of each video; all of them if there are fewer.",
    (1, _MAX_COUNT),
  )
  vocabulary_file: str | None = _output(
    None,
    "The dataset's vocabulary.csv. Given, a second CSV with the classes' names "
    "is written beside the first, as NAME.names.csv.",
    is_path=True,
  )


_DEFINERS = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_boolean,
}


def define_flags(
  settings_class: type, flag_values: flags.FlagValues = flags.FLAGS
):
  """Defines a flag for each setting of a dataclass.

  Args:
    settings_class: a dataclass of settings.
    flag_values: where to define them.
  """
  for field in dataclasses.fields(settings_class):
    default = field.default
    if default is dataclasses.MISSING:
      default = None if field.default_factory is dataclasses.MISSING else "{}"
    if not field.metadata["has_flag_default"]:
      default = None
    _define_flag(flag_values, field, default)


def define_model_flags(flag_values: flags.FlagValues = flags.FLAGS):
  """Defines flags for programs that take the model from the train dir."""
  for field in dataclasses.fields(ExperimentConfig):
    if field.name in MODEL_SETTINGS:
      _define_flag(flag_values, field, None, _FROM_TRAIN_DIR)


def _define_flag(
  flag_values: flags.FlagValues,
  field: dataclasses.Field,
  default,
  note: str = "",
):
  kind, details = _kind_of(field).type, field.metadata
  define, options = _DEFINERS.get(kind, flags.DEFINE_string), {}
  if details["choices"]:
    define, options = flags.DEFINE_enum, {"enum_values": details["choices"]}
  elif details["within"] and kind is not tuple:
    lowest, highest = details["within"]
    options = {"lower_bound": lowest, "upper_bound": highest}
  define(
    _flag_name(field),
    default,
    help=note + details["text"],
    module_name=details["group"],
    required=_is_required(field),
    flag_values=flag_values,
    **options,
  )


def _flag_name(field: dataclasses.Field) -> str:
  # gcloud passes the flag with a hyphen.
  return "job-dir" if field.name == "job_dir" else field.name


def _is_required(field: dataclasses.Field) -> bool:
  nothing = dataclasses.MISSING
  return field.default is nothing and field.default_factory is nothing


def given_values(
  settings_class: type,
  names: Collection[str] | None = None,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> dict[str, Any]:
  """The settings whose flags were typed.

  Args:
    settings_class: a dataclass of settings.
    names: the settings to look at; None for all.
    flag_values: the flags, parsed.

  Raises:
    UserError: a list or a JSON value cannot be parsed.
  """
  return {
    field.name: _parse(field, flag.value)
    for field, flag in _flags_of(settings_class, flag_values)
    if names is None or field.name in names
    if flag.present and flag.value is not None
  }


def _flags_of(settings_class: type, flag_values: flags.FlagValues):
  """Pairs of a field and its flag."""
  for field in dataclasses.fields(settings_class):
    if _flag_name(field) in flag_values:
      yield field, flag_values[_flag_name(field)]


def from_flags(
  settings_class: type, flag_values: flags.FlagValues = flags.FLAGS
):
  """An instance of a dataclass of settings, as the command line has it.

  Raises:
    UserError: a value cannot be parsed or is out of range.
  """
  values = {
    field.name: _parse(field, flag.value)
    for field, flag in _flags_of(settings_class, flag_values)
    if flag.value is not None or field.metadata["has_flag_default"]
  }
  if values.get("job_dir"):
    is_typed = flag_values["train_dir"].present and values["train_dir"]
    if not is_typed:
      values["train_dir"] = values["job_dir"]
  return settings_class(**values)


def _parse(field: dataclasses.Field, value):
  """The value of a setting from its flag's text."""
  kind = _kind_of(field)
  if not isinstance(value, str):
    return value
  try:
    if kind.type is tuple:
      parts = [part.strip() for part in value.split(",")]
      return tuple(kind.item_type(part) for part in parts if part)
    if kind.type is dict:
      arguments = json.loads(value)
      if not isinstance(arguments, dict):
        raise ValueError("it should be an object")
      return arguments
  except ValueError as error:
    raise UserError(
      f"--{field.name}={value!r} cannot be parsed: {error}."
    ) from error
  return value


# Groups whose settings must be the same on all workers.
_SHARED_GROUPS = ("Data", "Model", "Optimization", "Evaluation", "Output")


def shared_values(settings, given: Mapping[str, Any]) -> dict[str, Any]:
  """Flag -> value, of what the workers of one job must have been given alike.

  Paths may differ from machine to machine, but not whether they are given.

  Args:
    settings: a dataclass of settings.
    given: values of `ExperimentConfig` that were typed.
  """
  values = {f"--{name}": value for name, value in given.items()}
  for field in dataclasses.fields(settings):
    if (
      field.metadata["group"] in _SHARED_GROUPS and field.name != "num_readers"
    ):
      value = getattr(settings, field.name)
      if field.name.endswith(("_pattern", "_file")):
        value = value is not None
      values[f"--{field.name}"] = value
  return values
