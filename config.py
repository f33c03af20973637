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
import math
import os
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from program import UserError

from absl import flags

import records
import train_dir as train_dirs
import utils

# A stranger's model_flags.json must not make us allocate without bounds.
_MAX_SIZE = 10_000_000
_MAX_WEIGHTS = 2**33
# All batches are padded to their full size, however few videos there are.
_MAX_BATCH_SIZE = 2**17
_MAX_COUNT = 2**62
_FROM_TRAIN_DIR = "Read from the train dir; an error if it disagrees. "
# Groups whose settings must be the same on all workers.
_SHARED_GROUPS = ("Data", "Model", "Optimization", "Evaluation", "Output")


def setting(
  default,
  text: str,
  within: tuple[float, float] | None = None,
  *,
  group: str,
  choices: Collection[str] = (),
  has_flag_default: bool = True,
  is_path: bool = False,
  of_true: str | None = None,
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
    of_true: the choice that True stands for, as does the flag without a value;
      False stands for None.
  """
  metadata = {
    "text": text,
    "within": within,
    "group": group,
    "choices": tuple(choices),
    "has_flag_default": has_flag_default,
    "is_path": is_path,
    "of_true": of_true,
  }
  if isinstance(default, dict):
    return dataclasses.field(default_factory=dict, metadata=metadata)
  return dataclasses.field(default=default, metadata=metadata)


# `setting` for each group of `--help`.
_model = functools.partial(setting, group="Model")
_found = functools.partial(_model, has_flag_default=False)
_optimization = functools.partial(setting, group="Optimization")
_folder = functools.partial(setting, group="Model folder", is_path=True)
_data = functools.partial(setting, group="Data")
_evaluation = functools.partial(setting, group="Evaluation")
_ensemble = functools.partial(setting, group="Ensemble")
_output = functools.partial(setting, group="Output")
_saving = functools.partial(setting, group="Saving and logging")
_machine = functools.partial(setting, group="Machine")


def _types_of(field: dataclasses.Field) -> tuple[type, type | None]:
  """A setting's type, without `| None`; and that of the items of a tuple."""
  kind = field.type
  if isinstance(kind, types.UnionType):
    kind, _ = typing.get_args(kind)
  origin = typing.get_origin(kind) or kind
  return origin, typing.get_args(kind)[0] if origin is tuple else None


def check(settings):
  """Checks the type and the range of each setting of a dataclass.

  In paths, `~` is replaced by the home folder; True by what it stands for.

  Raises:
    UserError: a value is of the wrong type or out of range, or there is no such
      fold; the message names the flag.
  """
  for field in dataclasses.fields(settings):
    value, of_true = getattr(settings, field.name), field.metadata["of_true"]
    if of_true and isinstance(value, bool):
      value = of_true if value else None
      object.__setattr__(settings, field.name, value)
    if value is None and field.default is None:
      continue
    kind, item_type = _types_of(field)
    accepted = (int, float) if kind is float else kind
    # To Python, a bool is an int.
    is_bool = isinstance(value, bool) and kind is not bool
    if is_bool or not isinstance(value, accepted):
      raise UserError(
        f"--{field.name}={value!r} should be of type {kind.__name__}."
      )
    items = value if kind is tuple else (value,)
    if item_type and any(type(item) is not item_type for item in items):
      raise UserError(
        f"--{field.name}={shown(value)} should each be of type "
        f"{item_type.__name__}."
      )
    for item in items:
      _check_range(field, item)
    if field.metadata["is_path"]:
      object.__setattr__(settings, field.name, utils.expanded(value))
  if isinstance(settings, FoldSettings):
    settings.check_fold()
  if isinstance(settings, OutputSettings):
    settings.check_outputs()


def _check_range(field: dataclasses.Field, value):
  choices, within = field.metadata["choices"], field.metadata["within"]
  if choices and value not in choices:
    raise UserError(
      f"--{field.name}={value!r} should be one of {', '.join(choices)}."
    )
  if not within:
    return
  lowest, highest = within
  if isinstance(value, int):  # It must become a float where one is meant.
    highest = min(highest, _MAX_COUNT)
  if not lowest <= value <= highest:  # Written so that NaN is outside.
    raise UserError(
      f"--{field.name}={value} should be from {lowest} to {highest:,}."
    )


def shown(value) -> str:
  """A value as one would type it."""
  if isinstance(value, tuple):
    return ",".join(map(str, value))
  return json.dumps(value) if isinstance(value, dict) else str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldSettings:
  """Cross-validation: which videos are trained on, and which are held out."""

  folds: int | None = _data(
    None,
    "Cross-validation: number of parts that the videos are divided into, by "
    "the CRC-32 of their ids. Training leaves out the part --fold; evaluation "
    "and inference use it alone.",
    (2, 1000),
  )
  fold: int | None = _data(
    None, "The part that is held out, from 0 to --folds - 1.", (0, 999)
  )

  def check_fold(self):
    """Raises a UserError if there is no such fold."""
    if (self.folds is None) != (self.fold is None):
      raise UserError(
        f"--folds={self.folds} and --fold={self.fold}: give both, for instance "
        "--folds=5 --fold=0, or none."
      )
    if self.folds is not None and self.fold >= self.folds:
      raise UserError(
        f"--fold={self.fold} should be from 0 to {self.folds - 1}, below "
        f"--folds={self.folds}."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig(FoldSettings):
  """Everything that decides what is trained and how."""

  segment_labels: bool = _data(
    False,
    "Train on the segments of five seconds that were rated, in shards of 2019, "
    "instead of on whole videos.",
  )
  segment_context: int = _data(
    0,
    "With --segment_labels: frames on both sides of a segment that are read "
    "with it.",
    (0, _MAX_SIZE),
  )
  unrated_weight: float = _data(
    0.0,
    "With --segment_labels: weight of the loss of classes that were not rated, "
    "as if a segment did not show them.",
    (0.0, 1.0),
  )

  model: str = _model(
    "LogisticModel", "Class name of the model; docs/models.md lists them."
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
  feature_names: tuple[str, ...] = _found(
    (), "Features, separated by commas. Found from the data when not given."
  )
  feature_sizes: tuple[int, ...] = _found(
    (),
    "Sizes of the features, separated by commas. Found from the data when not "
    "given.",
    (1, _MAX_SIZE),
  )
  feature_kinds: tuple[str, ...] = _found(
    (),
    "Kinds of the features: vector (floats of the whole video), codes (8-bit, "
    "for each frame), or floats (for each frame). Found from the data when not "
    "given.",
    choices=records.KINDS,
  )
  frame_features: bool = _found(
    False,
    "Whether the shards hold frame-level features. Found from the data when "
    "not given.",
  )
  max_frames: int = _found(
    utils.MAX_FRAMES,
    "Frames of a video; longer ones are cut. When not given: 300, or 10 for "
    "AudioSet.",
    (1, _MAX_SIZE),
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
    0.01, "Learning rate at the start.", (0.0, math.inf)
  )
  learning_rate_decay: float = _optimization(
    0.95,
    "The learning rate is multiplied by this every "
    "--learning_rate_decay_examples videos, in steps (a staircase).",
    (0.0, math.inf),
  )
  learning_rate_decay_examples: int = _optimization(
    4_000_000,
    "Videos between two decays of the learning rate.",
    (1, _MAX_COUNT),
  )
  learning_rate_schedule: str = _optimization(
    "staircase",
    "How the learning rate falls: in steps, or as half a cosine to 0 over "
    "--learning_rate_decay_examples videos.",
    choices=("staircase", "cosine"),
  )
  learning_rate_warmup_examples: int = _optimization(
    0,
    "Videos over which the learning rate rises from 0, in a straight line.",
    (0, _MAX_COUNT),
  )
  regularization_penalty: float = _optimization(
    1.0, "Weight of the model's own regularization loss.", (0.0, math.inf)
  )
  optimizer: str = _optimization(
    "AdamOptimizer",
    "Any Keras optimizer by name, for instance Adam or AdamOptimizer.",
  )
  weight_decay: float | None = _optimization(
    None,
    "Part of each weight that the optimizer takes away in a step, times the "
    "learning rate. When not given: 0.004 of AdamW, else 0.",
    (0.0, 1.0),
  )
  ema_decay: float | None = _optimization(
    None,
    "Keep moving averages of the weights, which the other programs use: the "
    "weight of the average before a step, for instance 0.999.",
    (0.0, 0.999999),
  )
  clip_gradient_norm: float = _optimization(
    1.0,
    "Longest L2 norm of the gradient, per variable (not over all of them "
    "together), as in the starter code; 0 turns clipping off.",
    (0.0, math.inf),
  )
  freeze: tuple[str, ...] = _optimization(
    (),
    "Weights that stay as they are: patterns of their names, separated by "
    "commas, for instance hidden/*.",
    has_flag_default=False,
  )
  mixed_precision: str | None = _optimization(
    None,
    "Compute layers in bfloat16, which --mixed_precision alone means, or in "
    "float16, whose loss is scaled: GPUs older than NVIDIA's Ampere, a T4 for "
    "instance, have no bfloat16. Weights, loss and update stay float32.",
    choices=("bfloat16", "float16"),
    of_true="bfloat16",
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
    if len(set(self.feature_names)) < len(self.feature_names):
      raise UserError(
        f"--feature_names={','.join(self.feature_names)} names a feature twice."
      )
    if len(self.feature_names) != len(self.feature_sizes):
      raise UserError(
        f"--feature_names has {len(self.feature_names)} names "
        f"({','.join(self.feature_names)}), --feature_sizes has "
        f"{len(self.feature_sizes)} sizes; give one size for each name."
      )
    if len(self.feature_kinds) not in (0, len(self.feature_names)):
      raise UserError(
        f"--feature_kinds={shown(self.feature_kinds)} should have one kind for "
        f"each of --feature_names={shown(self.feature_names)}."
      )
    num_weights = sum(self.feature_sizes) * self.num_classes
    if num_weights > _MAX_WEIGHTS:
      raise UserError(
        f"--num_classes={self.num_classes} times --feature_sizes="
        f"{shown(self.feature_sizes)} makes {num_weights:,} weights, more than "
        f"{_MAX_WEIGHTS:,}. One of them must be wrong."
      )
    for name in ("segment_context", "unrated_weight"):
      if getattr(self, name) and not self.segment_labels:
        raise UserError(f"--{name} is for --segment_labels. Give both.")

  @property
  def row_frames(self) -> int:
    """Most frames of what is predicted, a video or a segment."""
    if self.segment_labels:
      return records.SEGMENT_SECS + 2 * self.segment_context
    return self.max_frames

  @property
  def forms(self) -> dict[str, records.Form]:
    """The form of each feature by its name."""
    # Of a configuration from before there were kinds.
    usual = records.CODES if self.frame_features else records.VECTOR
    kinds = self.feature_kinds or [usual] * len(self.feature_names)
    forms = map(records.Form, kinds, self.feature_sizes)
    return dict(zip(self.feature_names, forms, strict=True))

  def to_json(self) -> str:
    """The configuration as text."""
    return json.dumps(dataclasses.asdict(self))

  @classmethod
  def from_json(cls, text: str) -> "ExperimentConfig":
    """The configuration of which `to_json` gave the text."""
    values = json.loads(text)
    for name in ("feature_names", "feature_sizes", "feature_kinds", "freeze"):
      if isinstance(values.get(name), list):
        values[name] = tuple(values[name])
    return cls(**values)

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
      return cls.from_json(json.dumps(values))
    except UserError as error:
      raise UserError(
        f"{path!r}: {error} Train anew with --start_new_model, or bring back "
        "the file that the trainer wrote."
      ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderSettings:
  """The train dir that a program works on."""

  train_dir: str = _folder(
    "/tmp/yt8m_model/",  # noqa: S108 The starter code's default.
    "Folder of the model: checkpoints, model_flags.json, TensorBoard events. "
    "Local or gs://.",
  )
  job_dir: str | None = _folder(
    None,
    "What Google Cloud's training services pass on: the --train_dir where that "
    "is not given.",
    is_path=True,
  )

  def __post_init__(self):
    check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingSettings:
  """How shards are read."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ReadingSettings, FolderSettings):
  """How a program that reads shards with a model is run."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
  """How train.py is run; what it trains is in `ExperimentConfig`."""

  train_data_pattern: str = _data(
    dataclasses.MISSING,
    "Shards to train on: a glob, or several separated by commas.",
    is_path=True,
  )
  init_from: str | None = _folder(
    None,
    "A trained model to start from: TRAIN_DIR, or TRAIN_DIR/model.ckpt-STEP. "
    "Weights whose name and shape fit are taken, where no run is resumed.",
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
  profile_steps: tuple[int, ...] = _saving(
    (),
    "First and last step of a trace for TensorBoard's profile plugin, for "
    "instance 20,25; it is written to TRAIN_DIR/plugins/profile.",
    (1, _MAX_COUNT),
    has_flag_default=False,
  )
  eval_data_pattern: str | None = _saving(
    None,
    "Shards to evaluate on while training; the best model by --best_metric is "
    "kept in TRAIN_DIR/best.",
    is_path=True,
  )
  best_metric: str = _saving(
    "GAP",
    "What the best model is the best by; MAP@K is of segments.",
    choices=("GAP", "MAP", "Hit@1", "PERR", "MAP@K", "loss"),
  )
  eval_every_steps: int = _saving(
    1000,
    "Steps between two evaluations with --eval_data_pattern; there is one at "
    "the end too.",
    (1, _MAX_COUNT),
  )
  early_stop_evals: int | None = _saving(
    None,
    "Evaluations without a better model, one after another, that end training.",
    (1, _MAX_COUNT),
  )
  export_best: bool = _saving(
    False,
    "Export the best model to TRAIN_DIR/export at the end, as export_model.py "
    "does.",
  )
  vocabulary_file: str | None = _saving(
    None,
    "The dataset's vocabulary.csv. With it, --export_best exports the classes' "
    "names.",
    is_path=True,
  )
  num_gpu: int | None = _machine(
    None,
    "GPUs to train on. All that are visible when not given.",
    (0, _MAX_SIZE),
  )
  log_device_placement: bool = _machine(
    False, "Log the device of every operation."
  )

  def __post_init__(self):
    check(self)
    steps = self.profile_steps
    if steps and (len(steps) != 2 or steps[0] > steps[1]):
      raise UserError(
        f"--profile_steps={shown(steps)} should be the first and the last step "
        "to trace, for instance --profile_steps=20,25."
      )
    if self.export_best and self.eval_data_pattern is None:
      raise UserError(
        "--export_best needs --eval_data_pattern, the shards on which models "
        "are compared."
      )
    if self.early_stop_evals is not None and self.eval_data_pattern is None:
      raise UserError(
        "--early_stop_evals needs --eval_data_pattern, the shards on which "
        "models are compared."
      )
    if self.init_from is not None and not self.init_from.strip():
      raise UserError("--init_from is empty. Name a trained model.")
    if self.vocabulary_file and not self.export_best:
      raise UserError(
        "--vocabulary_file is for the names that --export_best exports, which "
        "is not given."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSettings(FolderSettings):
  """Which of a train dir's models a program uses."""

  checkpoint_step: str | None = setting(
    None,
    "Step of the checkpoint to use, or best: the one in TRAIN_DIR/best. The "
    "latest when not given.",
    group="Model folder",
  )
  use_ema: bool = setting(
    True,
    "Use the averages of the weights where a checkpoint has some (--ema_decay "
    "of train.py).",
    group="Model folder",
  )
  average_checkpoints: int = setting(
    1,
    "Use the mean of the weights of this many checkpoints: the one to use, and "
    "those before it.",
    (1, _MAX_SIZE),
    group="Model folder",
  )

  def __post_init__(self):
    check(self)
    if not re.fullmatch(r"best|\d{1,18}", self.checkpoint_step or "best"):
      raise UserError(
        f"--checkpoint_step={self.checkpoint_step!r} should be a step, for "
        "instance 1000, or best."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedSettings(CheckpointSettings, Settings):
  """How a program that uses a trained model on shards is run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSettings(TrainedSettings, FoldSettings):
  """How eval.py is run."""

  eval_data_pattern: str = _data(
    dataclasses.MISSING,
    "Shards to evaluate on: a glob, or several separated by commas.",
    is_path=True,
  )
  segment_labels: bool = _data(
    False,
    "Evaluate on the segments of five seconds that were rated, in shards of "
    "2019, instead of on whole videos.",
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
  segment_predictions: str | None = _evaluation(
    None,
    "A CSV of segments (Class,Segments) to evaluate by MAP@K, instead of a "
    "model, on the shards' rated segments. Results are written to --eval_dir "
    "if that is given.",
    is_path=True,
  )
  predictions: str | None = _evaluation(
    None,
    "A file of predictions, .npz or CSV, to evaluate instead of a model. "
    "Results are written to --eval_dir if that is given.",
    is_path=True,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.predictions and (self.segment_labels or self.segment_predictions):
      raise UserError(
        "--predictions are of whole videos. Leave --segment_labels and "
        "--segment_predictions out."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputSettings:
  """Which files of predictions a program writes."""

  output_file: str | None = _output(
    None,
    "The CSV file to write, local or gs://: the best classes of each video. It "
    "appears when it is complete.",
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
  predictions_file: str | None = _output(
    None,
    "The .npz file to write, local or gs://: the logits of all classes of each "
    "video. It appears when it is complete.",
    is_path=True,
  )
  predictions_dtype: str = _output(
    "float16",
    "Type of the logits in --predictions_file.",
    choices=("float16", "float32"),
  )

  # The settings that name a file to write, and others that ask for a result.
  _files = ("output_file", "predictions_file")
  _other_results = ()

  @property
  def output_paths(self) -> list[str]:
    """The files to write."""
    return [path for name in self._files if (path := getattr(self, name))]

  @property
  def written_paths(self) -> list[str]:
    """The files to write, with that of the classes' names."""
    names = [self.names_path] if self.vocabulary_file else []
    return [*self.output_paths, *names]

  @property
  def names_path(self) -> str:
    """The file with the classes' names, beside the first: NAME.names.csv."""
    return utils.beside(self.output_file, "names.csv")

  def check_outputs(self):
    """Raises a UserError if there is nothing to make, or a name is wrong."""
    names = (*self._files, *self._other_results)
    if not any(getattr(self, name) for name in names):
      raise UserError(
        f"There is nothing to write. Give one of --{', --'.join(names)}."
      )
    if not (self.predictions_file or ".npz").endswith(".npz"):
      raise UserError(
        f"--predictions_file={self.predictions_file!r} should end in .npz."
      )
    if self.vocabulary_file and not self.output_file:
      raise UserError(
        "--vocabulary_file is for the names beside --output_file, which is not "
        "given."
      )
    utils.refuse_overwriting(self.written_paths, [self.vocabulary_file])


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceSettings(TrainedSettings, FoldSettings, OutputSettings):
  """How inference.py is run."""

  segment_labels: bool = _data(
    False,
    "Predict for all segments of five seconds of each video; --output_file is "
    "then the CSV of 2019, with the best segments of each class.",
  )
  segment_classes: str | None = _data(
    None,
    "With --segment_labels: the classes to list, a CSV with a column Index as "
    "segment_label_ids.csv, or shards, whose rated classes are taken. All "
    "classes when not given.",
    is_path=True,
  )

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
  embeddings_file: str | None = _output(
    None,
    "The file of embeddings to write, local or gs://: what goes into the "
    "classifier, for each video. An .npz file, or one of TFRecords with a "
    "feature 'embedding'. It appears when it is complete.",
    is_path=True,
  )

  _files = (*OutputSettings._files, "embeddings_file")

  @property
  def writes_records(self) -> bool:
    """Whether embeddings are written as records."""
    return not (self.embeddings_file or ".npz").endswith(".npz")

  def __post_init__(self):
    super().__post_init__()
    if self.segment_classes and not self.segment_labels:
      raise UserError("--segment_classes is for --segment_labels. Give both.")
    if self.segment_labels and not self.output_file:
      raise UserError(
        "--segment_labels makes one file, --output_file, which is not given."
      )
    for name in self._files:
      if self.segment_labels and name != "output_file" and getattr(self, name):
        raise UserError(
          f"--{name} is a file of videos, and not of segments. Leave it or "
          "--segment_labels out."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleSettings(ReadingSettings, OutputSettings):
  """How ensemble.py is run."""

  predictions: str = _data(
    dataclasses.MISSING,
    "The files of predictions, .npz or CSV, separated by commas.",
    is_path=True,
  )
  num_classes: int | None = _data(
    None,
    "Number of classes of the files, where all are CSV files. When not given: "
    f"{ExperimentConfig.num_classes}.",
    (1, _MAX_SIZE),
  )
  missing: str = _data(
    "skip",
    "What to do with a video that is not in all files: skip it, or take 0 for "
    "the confidences that are missing.",
    choices=("skip", "zero"),
  )
  weights: tuple[float, ...] = _ensemble(
    (),
    "A weight for each file, separated by commas. Equal ones when not given.",
    (0.0, math.inf),
    has_flag_default=False,
  )
  mean_of: str = _ensemble(
    "logits",
    "What the mean is taken of: the logits; the probabilities; or the ranks of "
    "the scores among all of their file.",
    choices=("logits", "probabilities", "ranks"),
  )
  tune_on: str | None = _ensemble(
    None,
    "Shards with labels, of videos in the files: find the weights with which "
    "GAP is highest on them, from --weights on. A glob, or several separated "
    "by commas.",
    is_path=True,
  )

  _other_results = ("tune_on",)

  def __post_init__(self):
    check(self)

  @property
  def paths(self) -> list[str]:
    """The files of predictions."""
    parts = map(str.strip, self.predictions.split(","))
    return [part for part in parts if part]

  def check_outputs(self):
    """As in `OutputSettings`; checks the files and their weights, too."""
    super().check_outputs()
    if not self.paths:
      raise UserError("--predictions is empty. Name files, for instance a.npz.")
    if len(self.weights) not in (0, len(self.paths)) or (
      self.weights and not 0 < sum(self.weights) < math.inf
    ):
      raise UserError(
        f"--weights={shown(self.weights)} should be {len(self.paths)} numbers, "
        "one for each of --predictions, of which one is above 0."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(CheckpointSettings):
  """How export_model.py is run."""

  export_dir: str = _output(
    dataclasses.MISSING,
    "The folder to write, local or gs://; an empty one, or a new one. It "
    "appears when it is complete.",
    is_path=True,
  )
  top_k: int = _output(
    20,
    "Classes that the signature serving_default gives of each video; all of "
    "them if there are fewer.",
    (1, _MAX_COUNT),
  )
  vocabulary_file: str | None = _output(
    None,
    "The dataset's vocabulary.csv. With it, the classes' names are exported.",
    is_path=True,
  )


# Settings that say what the model is: a train dir has one value of each.
MODEL_SETTINGS = tuple(
  field.name
  for field in dataclasses.fields(ExperimentConfig)
  if field.metadata["group"] == "Model"
)
_DEFINERS = {
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_boolean,
}


class _SwitchParser(flags.EnumParser):
  """Parses one of some choices, or what a boolean flag takes."""

  def parse(self, argument):
    """A bool or a choice; "none", as the default is shown, is False."""
    if argument == "none":
      return False
    try:
      return flags.BooleanParser().parse(argument)
    except ValueError:
      return super().parse(argument)


def define_flags(
  settings_class: type, flag_values: flags.FlagValues = flags.FLAGS
):
  """Defines a flag for each setting of a dataclass."""
  for field in dataclasses.fields(settings_class):
    default = field.default
    if default is dataclasses.MISSING:
      default = None if _is_required(field) else "{}"
    if not field.metadata["has_flag_default"]:
      default = None
    _define_flag(flag_values, field, default)


def define_model_flags(flag_values: flags.FlagValues = flags.FLAGS):
  """Defines flags for programs that take the model from the train dir."""
  for field in dataclasses.fields(ExperimentConfig):
    if field.name in MODEL_SETTINGS:
      _define_flag(flag_values, field, None, _FROM_TRAIN_DIR)


def _define_flag(flag_values, field: dataclasses.Field, default, note=""):
  kind, _ = _types_of(field)
  details = field.metadata
  define, options = _DEFINERS.get(kind, flags.DEFINE_string), {}
  if details["of_true"]:
    parser = _SwitchParser(details["choices"])
    define, options = functools.partial(flags.DEFINE, parser), {"boolean": True}
  elif details["choices"] and kind is not tuple:
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
    field.name: _parse(field, flag_values[_flag_name(field)].value)
    for field in dataclasses.fields(settings_class)
    if names is None or field.name in names
    if flag_values[_flag_name(field)].present
  }


def from_flags(
  settings_class: type, flag_values: flags.FlagValues = flags.FLAGS
):
  """An instance of a dataclass of settings, as the command line has it.

  Raises:
    UserError: a value cannot be parsed or is out of range.
  """
  values = {
    field.name: _parse(field, flag_values[_flag_name(field)].value)
    for field in dataclasses.fields(settings_class)
    if flag_values[_flag_name(field)].value is not None
  }
  if values.get("job_dir"):
    is_typed = flag_values["train_dir"].present and values["train_dir"]
    if not is_typed:
      values["train_dir"] = values["job_dir"]
  return settings_class(**values)


def _parse(field: dataclasses.Field, value):
  """The value of a setting from its flag's text."""
  kind, item_type = _types_of(field)
  try:
    if kind is tuple:
      parts = [part.strip() for part in value.split(",")]
      return tuple(item_type(part) for part in parts if part)
    parsed = json.loads(value) if kind is dict else value
    if kind is dict and not isinstance(parsed, dict):
      raise ValueError("it should be an object")
  except ValueError as error:
    raise UserError(
      f"--{field.name}={value!r} cannot be parsed: {error}."
    ) from error
  return parsed


def shared_values(settings, given: Mapping[str, Any]) -> dict[str, Any]:
  """Flag -> value, of what the workers of one job must have been given alike.

  Paths may differ from machine to machine, but not whether they are given.

  Args:
    settings: a dataclass of settings.
    given: values of `ExperimentConfig` that were typed.
  """
  values = {f"--{name}": value for name, value in given.items()}
  for field in dataclasses.fields(settings):
    value, details = getattr(settings, field.name), field.metadata
    if details["group"] in _SHARED_GROUPS and field.name != "num_readers":
      is_given = value is not None
      values[f"--{field.name}"] = is_given if details["is_path"] else value
  return values
