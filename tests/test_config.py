# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings: their checks, their file, their flags."""

import dataclasses
import json
import os

from program import UserError

import pytest
from absl import flags

import config as configs
from config import (
  EvalSettings,
  ExperimentConfig,
  InferenceSettings,
  TrainSettings,
)

VIDEO = ExperimentConfig(
  num_classes=4, feature_names=("mean_rgb", "mean_audio"), feature_sizes=(3, 2)
)
# Every field with a value that is not its default.
UNUSUAL = ExperimentConfig(
  model="FrameLevelLogisticModel",
  model_kwargs={"l2_penalty": 1e-6, "nested": {"a": [1, None, True]}},
  num_classes=527,
  feature_names=("audio_embedding", "ünïcode"),
  feature_sizes=(128, 7),
  feature_kinds=("floats", "vector"),
  frame_features=True,
  max_frames=10,
  label_loss="HingeLoss",
  label_loss_kwargs={"b": 2},
  batch_size=3,
  num_epochs=2,
  max_steps=100,
  base_learning_rate=0.1,
  learning_rate_decay=1.0,
  learning_rate_decay_examples=12,
  learning_rate_schedule="cosine",
  learning_rate_warmup_examples=7,
  weight_decay=0.5,
  ema_decay=0.9,
  regularization_penalty=0.0,
  optimizer="SGD",
  clip_gradient_norm=0.0,
  freeze=("hidden/*",),
  folds=5,
  segment_labels=True,
  segment_context=2,
  unrated_weight=0.1,
  fold=2,
  mixed_precision=True,
  seed=2**31 - 1,
)


def test_defaults_are_those_of_the_starter_code():
  # From the table of flags in the starter code's README.
  config = ExperimentConfig()
  assert config.model == "LogisticModel"
  assert config.num_classes == 3862
  assert config.label_loss == "CrossEntropyLoss"
  assert config.batch_size == 1024
  assert config.num_epochs == 5
  assert config.max_steps is None
  assert config.base_learning_rate == 0.01
  assert config.learning_rate_decay == 0.95
  assert config.learning_rate_decay_examples == 4_000_000
  assert config.regularization_penalty == 1.0
  assert config.optimizer == "AdamOptimizer"
  assert config.clip_gradient_norm == 1.0


@pytest.mark.parametrize("config", [ExperimentConfig(), VIDEO, UNUSUAL])
def test_a_configuration_comes_back(tmp_path, config):
  config.save(str(tmp_path))
  assert os.listdir(tmp_path) == ["model_flags.json"]
  assert ExperimentConfig.load(str(tmp_path)) == config


def test_every_field_was_tested():
  default = ExperimentConfig()
  for field in dataclasses.fields(ExperimentConfig):
    value = getattr(UNUSUAL, field.name)
    assert value != getattr(default, field.name), field.name


def test_fields_of_an_older_version_may_be_missing(tmp_path):
  (tmp_path / "model_flags.json").write_text('{"num_classes": 7}')
  config = ExperimentConfig.load(str(tmp_path))
  assert config == ExperimentConfig(num_classes=7)


def load_json(folder, values):
  (folder / "model_flags.json").write_text(json.dumps(values))
  return ExperimentConfig.load(str(folder))


@pytest.mark.parametrize(
  "values",
  [
    {"vocab_size": 3862},
    # What the 2018 starter code wrote.
    {"model": "LogisticModel", "feature_sizes": "1024", "label_smoothing": 1},
    [],
    "text",
    None,
    7,
  ],
)
def test_another_trainers_file_is_refused(tmp_path, values):
  with pytest.raises(UserError, match=r"flags\.json' was not written by this"):
    load_json(tmp_path, values)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"num_classes": "many"}, "--num_classes='many' should be of type int"),
    ({"num_classes": 3862.0}, "--num_classes=3862.0 should be of type int"),
    ({"num_classes": True}, "--num_classes=True should be of type int"),
    ({"num_classes": None}, "--num_classes=None should be of type int"),
    ({"num_classes": 0}, "--num_classes=0 should be from 1 to "),
    ({"num_classes": -5}, "--num_classes=-5 should be from 1 to "),
    ({"num_classes": 10**18}, "--num_classes=10{18} should be from 1 to "),
    ({"batch_size": 10**9}, "--batch_size=10{9} should be from 1 to "),
    ({"max_frames": 0}, "--max_frames=0 should be from 1 to "),
    ({"model": ["LogisticModel"]}, "--model=.* should be of type str"),
    ({"model_kwargs": []}, r"--model_kwargs=\[\] should be of type dict"),
    ({"frame_features": 1}, "--frame_features=1 should be of type bool"),
    ({"base_learning_rate": "0.1"}, "--base_learning_rate='0.1' should be"),
    ({"max_steps": 1.5}, "--max_steps=1.5 should be of type int"),
    ({"seed": False}, "--seed=False should be of type int"),
    ({"feature_names": "rgb"}, "--feature_names='rgb' should be of type tuple"),
    ({"feature_names": ["rgb"]}, r"--feature_names has 1 names \(rgb\), "),
    (
      {"feature_names": ["rgb"], "feature_sizes": [0]},
      "--feature_sizes=0 should be from 1 to ",
    ),
    (
      {"feature_names": ["rgb"], "feature_sizes": [10**8]},
      "--feature_sizes=10{8} should be from 1 to ",
    ),
    (
      {"feature_names": ["rgb"], "feature_sizes": ["big"]},
      "--feature_sizes=big should each be of type int",
    ),
    (
      {"feature_names": ["rgb"], "feature_sizes": [1024.5]},
      "--feature_sizes=1024.5 should each be of type int",
    ),
    (
      {"feature_names": ["rgb"], "feature_sizes": [True]},
      "--feature_sizes=True should each be of type int",
    ),
    (
      {"feature_names": [7], "feature_sizes": [1024]},
      "--feature_names=7 should each be of type str",
    ),
    (
      {
        "num_classes": 10**7,
        "feature_names": ["a", "b"],
        "feature_sizes": [10**6, 10**6],
      },
      "--num_classes=10{7} times --feature_sizes=10{6},10{6} makes "
      "20,000,000,000,000 weights",
    ),
    (
      {"learning_rate_decay_examples": 0},
      "--learning_rate_decay_examples=0 should be from 1 to ",
    ),
  ],
)
def test_wrong_values_in_a_file_are_refused(tmp_path, values, message):
  with pytest.raises(UserError, match=rf"model_flags\.json': {message}"):
    load_json(tmp_path, values)


def test_integers_are_fine_where_floats_are_meant(tmp_path):
  assert load_json(tmp_path, {"base_learning_rate": 1}).base_learning_rate == 1


def test_a_configuration_cannot_change():
  with pytest.raises(dataclasses.FrozenInstanceError):
    VIDEO.num_classes = 5


PROGRAMS = (TrainSettings, EvalSettings, InferenceSettings)
REQUIRED = {
  TrainSettings: {"train_data_pattern": "a*"},
  EvalSettings: {"eval_data_pattern": "a*"},
  InferenceSettings: {"input_data_pattern": "a*", "output_file": "b.csv"},
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"num_readers": 0}, "--num_readers=0 should be from 1 to 1,024"),
    ({"num_readers": "2"}, "--num_readers='2' should be of type int"),
    ({"on_bad_record": "go"}, "--on_bad_record='go' should be one of stop, sk"),
    ({"max_bad_fraction": float("nan")}, "--max_bad_fraction=nan should be fr"),
    ({"max_bad_fraction": 1.5}, "--max_bad_fraction=1.5 should be from 0 to 1"),
    ({"train_dir": None}, "--train_dir=None should be of type str"),
  ],
)
def test_settings_of_a_notebook_are_checked(program, values, message):
  with pytest.raises(UserError, match=message):
    program(**REQUIRED[program], **values)


def parse_model_flags(*arguments, is_trainer=True):
  local = flags.FlagValues()
  if is_trainer:
    configs.define_flags(ExperimentConfig, local)
  else:
    configs.define_model_flags(local)
  local(["program", *arguments])
  return configs.given_values(
    ExperimentConfig, configs.MODEL_SETTINGS, flag_values=local
  )


def test_typed_flags_become_values():
  given = parse_model_flags(
    "--model=MyModel",
    '--model_kwargs={"size": 3, "rate": null}',
    "--num_classes=7",
    "--feature_names=rgb, audio",
    "--feature_sizes=1024,128,",
    "--noframe_features",
    "--max_frames=20",
  )
  assert given == {
    "model": "MyModel",
    "model_kwargs": {"size": 3, "rate": None},
    "num_classes": 7,
    "feature_names": ("rgb", "audio"),
    "feature_sizes": (1024, 128),
    "frame_features": False,
    "max_frames": 20,
  }


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    ([], None),
    *((["--mixed_precision"], "bfloat16"), (["--nomixed_precision"], None)),
    (["--mixed_precision=True"], "bfloat16"),
    (["--mixed_precision=false"], None),
    (["--mixed_precision=none"], None),
    (["--mixed_precision=float16"], "float16"),
    (["--mixed_precision=bfloat16"], "bfloat16"),
  ],
)
def test_a_switch_that_has_choices(arguments, expected, tmp_path):
  local = flags.FlagValues()
  configs.define_flags(ExperimentConfig, local)
  local(["train.py", *arguments])
  given = configs.given_values(ExperimentConfig, flag_values=local)
  assert len(given) == len(arguments)
  config = ExperimentConfig(**given)
  assert config.mixed_precision == expected
  assert configs.from_flags(ExperimentConfig, local) == config
  # An earlier version's file has true or false.
  found = load_json(tmp_path, {"mixed_precision": expected is not None})
  assert bool(found.mixed_precision) == (expected is not None)


def test_a_switch_takes_no_other_choice(tmp_path):
  local = flags.FlagValues()
  configs.define_flags(ExperimentConfig, local)
  message = "mixed_precision=fp16: value should be one of <bfloat16.float16>"
  with pytest.raises(flags.IllegalFlagValueError, match=message):
    local(["train.py", "--mixed_precision=fp16"])
  with pytest.raises(UserError, match="='fp16' should be one of bfloat16, flo"):
    load_json(tmp_path, {"mixed_precision": "fp16"})


@pytest.mark.parametrize("is_trainer", [False, True])
def test_only_typed_flags_are_given(is_trainer):
  assert parse_model_flags(is_trainer=is_trainer) == {}
  # A typed default can contradict a train dir.
  given = parse_model_flags("--num_classes=3862", is_trainer=is_trainer)
  assert given == {"num_classes": 3862}


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--feature_sizes=9,big", "^--feature_sizes='9,big' cannot be parsed: "),
    ("--model_kwargs={a: 3}", "^--model_kwargs='{a: 3}' cannot be parsed: "),
    ("--model_kwargs=[1]", "cannot be parsed: it should be an object.$"),
    ("--model_kwargs=", "^--model_kwargs='' cannot be parsed"),
  ],
)
def test_flags_that_cannot_be_parsed(argument, message):
  with pytest.raises(UserError, match=message):
    parse_model_flags(argument)


def parse_settings(program, *arguments):
  local = flags.FlagValues()
  configs.define_flags(program, local)
  required = [f"--{name}={text}" for name, text in REQUIRED[program].items()]
  local(["program", *required, *arguments])
  return configs.from_flags(program, local)


@pytest.mark.parametrize("program", PROGRAMS)
def test_flags_have_the_defaults_of_the_settings(program):
  assert parse_settings(program) == program(**REQUIRED[program])
  missing = flags.FlagValues()
  configs.define_flags(program, missing)
  with pytest.raises(flags.IllegalFlagValueError, match="_pattern must have a"):
    missing(["program"])


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    (["--job-dir=a"], "a"),
    (["--job-dir=a", "--train_dir=b"], "b"),
    (["--job-dir=a", "--train_dir="], "a"),
    ([], "/tmp/yt8m_model/"),  # noqa: S108
  ],
)
def test_job_dir_is_the_train_dir_where_that_is_not_given(arguments, expected):
  assert parse_settings(EvalSettings, *arguments).train_dir == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_range_is_a_usage_error(program):
  with pytest.raises(flags.IllegalFlagValueError, match="num_readers=0"):
    parse_settings(program, "--num_readers=0")


def test_no_flag_is_left_behind():
  assert "model_kwargs" not in flags.FLAGS
  assert "train_dir" not in flags.FLAGS


def test_workers_must_be_given_the_same():
  first = TrainSettings(train_data_pattern="/a/*", train_dir="/a")
  other = TrainSettings(train_data_pattern="/b/*", train_dir="/b")
  given = {"num_classes": 3}
  values = configs.shared_values(first, given)
  # Where the data and the model are may differ from machine to machine.
  assert values == configs.shared_values(other, given)
  assert values["--num_classes"] == 3
  assert values["--on_bad_record"] == "stop"
  skipping = dataclasses.replace(first, on_bad_record="skip")
  assert values != configs.shared_values(skipping, given)


def test_the_home_folder_in_paths(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  settings = TrainSettings(
    train_dir="~/model",
    train_data_pattern="~/a*,gs://bucket/~/b*",
    eval_data_pattern="~/c*",
  )
  assert settings.train_dir == "/home/me/model"
  assert settings.train_data_pattern == "/home/me/a*,gs://bucket/~/b*"
  assert settings.eval_data_pattern == "/home/me/c*"
  values = flags.FlagValues()
  configs.define_flags(InferenceSettings, values)
  arguments = (
    "--output_file=~/p.csv",
    "--input_data_pattern=~/*",
    "--job-dir=~",
  )
  values(["inference.py", *arguments])
  settings = configs.from_flags(InferenceSettings, values)
  assert settings.output_file == "/home/me/p.csv"
  assert settings.train_dir == "/home/me"
