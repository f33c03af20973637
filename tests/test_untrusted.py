# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Files from strangers: an error at worst, never their code, files or memory.

Configurations, records and vocabularies are hostile here: whoever writes a file
can compute right checksums. Checkpoints are only damaged (test_checkpoints.py).
"""

import json
import os
import pathlib
import re
import shutil
import struct
import textwrap

from program import UserError

import google_crc32c
import keras
import numpy as np
import pytest

import checkpoints
import cluster
import experiment
import monitoring
import prediction_files
import train_dir as train_dirs
import utils
from config import EvalSettings, ExperimentConfig, TrainSettings
from vocabulary import read_vocabulary

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ".data-00000-of-00001"

# Gives a program little more address space than it starts with, so that an
# allocation of a size that a file claims would fail.
LITTLE_MEMORY = """
  import re, resource, runpy, sys
  with open("/proc/self/status") as status:
    kilobytes = int(re.search(r"VmSize:\\s*(\\d+) kB", status.read())[1])
  limit = 1024 * kilobytes + 6 * 2**30
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  program, *sys.argv[1:] = sys.argv[1:]
  sys.argv[0] = path = f"{CHECKOUT}/{program}.py"
  runpy.run_path(path, run_name="__main__")
"""


@pytest.fixture(scope="module")
def little_memory(tmp_path_factory):
  """The path of a program that runs another one with little memory."""
  path = tmp_path_factory.mktemp("wrapper") / "little_memory.py"
  code = textwrap.dedent(LITTLE_MEMORY)
  path.write_text(f"CHECKOUT = {str(ROOT)!r}\n{code}")
  return path


def program_flags(program, trained, train_dir, output):
  return {
    "train": (
      f"--train_data_pattern={trained.shards.train}",
      f"--train_dir={train_dir}",
      "--num_epochs=20",
      "--max_steps=78",
    ),
    "eval": (
      f"--eval_data_pattern={trained.shards.validate}",
      f"--train_dir={train_dir}",
      "--run_once",
    ),
    "inference": (
      f"--input_data_pattern={trained.shards.validate}",
      f"--train_dir={train_dir}",
      f"--output_file={output}",
    ),
  }[program]


def assert_one_error(result, message):
  """Checks that a program ended with one line that says what is wrong."""
  assert result.returncode == 1, result.output
  lines = result.stderr.splitlines()
  (error,) = [line for line in lines if not re.search(" (INFO|WARNING) ", line)]
  assert re.match(rf"\w+\.py: error: .*({message})", error)
  assert result.stdout == ""


# What could run a file's content.
SUSPECT = re.compile(
  r"\b(c?pickle|cloudpickle|dill|joblib|shelve|marshal|yaml|imp|codeop|globals"
  r"|import_module|run_path|run_module|load_model|load_weights|from_config"
  r"|from_pretrained|deserialize\w*|model_from_json|import_graph_def"
  r"|import_meta_graph|allow_pickle|custom_objects|safe_mode|popen|check_output"
  r"|check_call|unpack_archive|extractall|mktemp|shell=|saved_model_load)\b"
  r"|\b(eval|exec|__import__|system)\(|(?<!re\.)\bcompile\(",
  re.IGNORECASE,
)


def test_no_module_runs_what_a_file_says():
  sources = {path: path.read_text() for path in ROOT.glob("*.py")}
  assert len(sources) > 15
  for path, source in sources.items():
    assert not SUSPECT.search(source), path
  for code in (
    *("import pickle", "from yaml import load", "eval('1')"),
    *("builtins.exec(text)", "compile(text, 'f', 'exec')"),
    *("keras.models.load_model(path)", "keras.layers.deserialize(config)"),
    *("np.load(path, allow_pickle=True)", "run(command, shell=True)"),
  ):
    assert SUSPECT.search(code), code


@pytest.fixture(scope="module")
def config_values(trained_video):
  return json.loads((trained_video.train_dir / "model_flags.json").read_text())


def load_and_build(folder, text):
  """Does all that the programs do with a configuration, but for the data."""
  (folder / "model_flags.json").write_text(text)
  config = ExperimentConfig.load(str(folder))
  experiment.build_loss(config)
  experiment.build_optimizer(config)
  experiment.build_model(config)


NO_CLASSES = [
  *("Layer", "BaseModel", "BaseLoss", "Optimizer", "NormalizedInput"),
  *("__class__", "__import__('os')", "models.LogisticModel", "subprocess"),
  *("../models", "", "LogisticModel\0", "L" * 100_000),
  # Wraps another one, by its name or configuration.
  *("LossScaleOptimizer", "Lambda"),
]
# JSON of a number, and the fields that may not have it.
INTEGERS = ("num_classes", "max_frames", "batch_size", "num_epochs", "seed")
FLOATS = (
  *("base_learning_rate", "learning_rate_decay"),
  *("regularization_penalty", "clip_gradient_norm"),
)
# What is of another type is in test_config.py.
NO_NUMBERS = [
  ("1000000000000", INTEGERS),
  ("-1", INTEGERS + FLOATS),
  ("1e3", INTEGERS),
  ("NaN", INTEGERS + FLOATS),
  ("Infinity", INTEGERS),
  ("-Infinity", INTEGERS + FLOATS),
  ("1" + "0" * 400, INTEGERS + FLOATS),
  ("1" + "0" * 5000, INTEGERS + FLOATS),
  ("{}", INTEGERS + FLOATS),
]
NO_LISTS = {
  "feature_sizes": [
    *("[16, -8]", "[[16], 8]", "16", "null", '{"mean_rgb": 16}', "[NaN, 8]"),
    # Each is allowed, but not the product with the classes.
    "[9000000, 9000000]",
  ],
  "feature_names": [
    *('["mean_rgb", "mean_rgb"]', "[null, null]", '{"a": 1, "b": 2}'),
    '[["mean_rgb"], "mean_audio"]',
  ],
  "model_kwargs": [
    *('{"__class__": 1}', '{"self": 1}', '{"model_input": 1}', '"x"'),
    *('{"vocab_size": 1000000000000}', '{"num_frames": 1}'),
    '{"l2_penalty": {"class_name": "Lambda"}}',
    '{"l2_penalty": ' + "[" * 900 + "]" * 900 + "}",
    '{"l2_penalty": 1' + "0" * 400 + "}",
    '{"labels_per_video": 1' + "0" * 400 + "}",
  ],
}
NO_OBJECTS = [
  *("", "null", "{", "\0\1\2", "{}{}", '{"model_class": "os"}'),
  "[" * 100_000 + "]" * 100_000,
  '{"model_kwargs": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001,
]


class TestModelFlags:
  @pytest.mark.parametrize("field", ["model", "label_loss", "optimizer"])
  def test_classes(self, field, config_values, tmp_path):
    for name in NO_CLASSES:
      text = json.dumps({**config_values, field: name})
      with pytest.raises(UserError, match=f"--{field}: unknown .* Available: "):
        load_and_build(tmp_path, text)

  @pytest.mark.parametrize("field", INTEGERS + FLOATS)
  def test_numbers(self, field, config_values, tmp_path):
    for number, fields in NO_NUMBERS:
      if field in fields:
        self.assert_refused(config_values, field, number, tmp_path)

  @pytest.mark.parametrize("field", NO_LISTS)
  def test_lists_and_objects(self, field, config_values, tmp_path):
    for value in NO_LISTS[field]:
      # More classes, so that the product is too large.
      values = {**config_values, "num_classes": 3862}
      self.assert_refused(values, field, value, tmp_path)

  @staticmethod
  def assert_refused(config_values, field, value, folder):
    text = json.dumps({**config_values, field: "VALUE"})
    message = f"{field}|{field[:-1]}|not valid JSON|lists were expected"
    with pytest.raises(UserError, match=message):
      load_and_build(folder, text.replace('"VALUE"', value))

  @pytest.mark.parametrize("text", NO_OBJECTS, ids=lambda text: text[:30])
  def test_other_content(self, text, tmp_path):
    with pytest.raises(UserError, match=r"model_flags\.json' "):
      load_and_build(tmp_path, text)

  @pytest.mark.parametrize("text", ["{}", "\ufeff{}"])
  def test_without_features(self, text, tmp_path, video_shards):
    (tmp_path / "model_flags.json").write_text(text)
    config = ExperimentConfig.load(str(tmp_path))
    settings = EvalSettings(eval_data_pattern=video_shards.validate)
    run = experiment.Run(settings, cluster.alone(), None)
    with pytest.raises(UserError, match="names no features"):
      experiment.open_batches(config, run, "eval_data_pattern", 8)

  def test_large_files(self, tmp_path):
    with open(tmp_path / "model_flags.json", "wb") as file:
      file.truncate(2**40)  # Takes no space.
    with pytest.raises(UserError, match=r"model_flags\.json' has .* bytes"):
      ExperimentConfig.load(str(tmp_path))

  @pytest.mark.parametrize(
    ("program", "values", "message"),
    [
      ("train", {"num_classes": 10**12}, "--num_classes=10+ should be from"),
      ("eval", {"feature_sizes": [10**7] * 2}, "should have size 10000000"),
    ],
  )
  def test_programs(
    self,
    program,
    values,
    message,
    trained_video,
    config_values,
    little_memory,
    fork_program,
    tmp_path,
  ):
    train_dir = copied(trained_video.train_dir, tmp_path)
    text = json.dumps({**config_values, **values})
    (train_dir / "model_flags.json").write_text(text)
    flags = program_flags(program, trained_video, train_dir, tmp_path / "csv")
    result = fork_program(little_memory, program, *flags, check=False)
    assert_one_error(result, message)

  def test_no_batch_is_made_of_absurdly_long_videos(
    self, trained_frame, little_memory, fork_program, tmp_path
  ):
    train_dir = copied(trained_frame.train_dir, tmp_path)
    path = train_dir / "model_flags.json"
    values = {**json.loads(path.read_text()), "max_frames": 10_000_000}
    path.write_text(json.dumps(values))
    flags = program_flags("eval", trained_frame, train_dir, tmp_path / "csv")
    result = fork_program(little_memory, "eval", *flags, check=False)
    message = r"--batch_size=1024 needs about .* --batch_size=\d+ will fit"
    assert_one_error(result, message)

  @pytest.mark.parametrize(
    ("program", "field"),
    [
      ("train", "optimizer"),
      ("eval", "feature_names"),
      ("inference", "model_kwargs"),
    ],
  )
  def test_paths_in_it_are_not_opened(
    self, program, field, trained_video, config_values, start_program, tmp_path
  ):
    """Opening a pipe that nobody else opens would take for ever."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    train_dir = copied(trained_video.train_dir, tmp_path)
    value = {
      "feature_names": [pipe, "mean_audio"],
      "model_kwargs": {"l2_penalty": pipe, pipe: pipe},
    }.get(field, pipe)
    text = json.dumps({**config_values, field: value})
    (train_dir / "model_flags.json").write_text(text)
    flags = program_flags(program, trained_video, train_dir, tmp_path / "csv")
    result = start_program(program, *flags).wait(timeout=20)
    assert_one_error(result, re.escape(pipe))


def copied(train_dir, folder):
  copy = folder / "model"
  shutil.copytree(
    train_dir, copy, ignore=shutil.ignore_patterns("eval", "events*")
  )
  return copy


def small_model():
  inputs = keras.Input((2,))
  model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
  kernel, bias = model.get_weights()
  model.set_weights([np.arange(6.0).reshape(kernel.shape), bias + 7.0])
  return model


class TestTrainDir:
  """What else a folder from a stranger can have in it."""

  def test_the_list_of_checkpoints_leads_nowhere(
    self, trained_video, start_program, tmp_path
  ):
    """It names a pipe, which would take for ever to open."""
    train_dir = copied(trained_video.train_dir, tmp_path)
    os.mkfifo(tmp_path / "other.index")
    (train_dir / "checkpoint").write_text(
      f'model_checkpoint_path: "{tmp_path}/other"\n'
      f'all_model_checkpoint_paths: "../other"\n' * 1000
    )
    for program in ("eval", "inference", "train"):
      flags = program_flags(program, trained_video, train_dir, tmp_path / "csv")
      result = start_program(program, *flags).wait(timeout=20)
      assert result.returncode == 0, result.output
    assert "Resuming from" in result.stderr
    assert "other" not in (train_dir / "checkpoint").read_text()

  @pytest.mark.parametrize(
    "content",
    [
      *("", "[]", "{}", '{"gap": "0.5"}', '{"gap": NaN}', '{"gap": -1}'),
      *('{"gap": true}', '{"gap": 1' + "0" * 400 + "}", "[" * 100_000),
    ],
    ids=lambda text: text[:20],
  )
  def test_results_of_the_best_model(self, content, tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "eval_results.json").write_text(content)
    with pytest.raises(UserError, match=r"best/eval_results\.json' "):
      make_validation(tmp_path)

  def test_best_model_that_is_fine(self, tmp_path):
    make_validation(tmp_path)
    (tmp_path / "best").mkdir()
    utils.write_json(str(tmp_path / "best" / "eval_results.json"), {"gap": 1})
    make_validation(tmp_path)

  def test_what_killed_runs_left_beside_the_best_model(self, tmp_path):
    best = tmp_path / "best"
    best.mkdir()
    for step in (3, 5):
      checkpoints.Saver(str(best), small_model(), 5).save(step)
    (best / "model.ckpt-7.tmp").mkdir()
    make_validation(tmp_path)
    assert len(list(best.iterdir())) == 6  # It may be another program's.
    (best / "model_flags.json").touch()
    make_validation(tmp_path)
    assert sorted(path.name for path in best.iterdir()) == [
      "checkpoint",
      f"model.ckpt-5{DATA}",
      "model.ckpt-5.index",
      "model_flags.json",
    ]


def make_validation(folder):
  """Validation during training, as far as it is made before the first."""
  config = ExperimentConfig(
    feature_names=("mean_rgb",), feature_sizes=(4,), num_classes=3
  )
  settings = TrainSettings(train_data_pattern="a*", train_dir=str(folder))
  return monitoring.Validation(
    config,
    experiment.Run(settings, cluster.alone(), None),
    train_dirs.TrainDir(str(folder)),
    experiment.build_model(config),
    batches=[],
  )


HEADER = b"Index,Name\n"
# Others are in test_inference.py.
VOCABULARIES = {
  "nothing": b"",
  "binary": bytes(range(256)) * 10,
  "no header": b"0,Game\n1,Car\n",
  "NUL in a name": HEADER + b"0,Ga\0me\n",
  "giant field": HEADER + b"0," + b"a" * 10**6 + b"\n",
  "negative index": HEADER + b"-1,Game\n",
  "index twice": HEADER + b"0,Game\n0,Car\n",
  "index of 5000 digits": HEADER + b"9" * 5000 + b",Game\n",
  "index that is no integer": HEADER + b"1.0,Game\n",
  "cut off in a name": HEADER + b'0,"Game, \n1,Car\n',
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabularies(name, tmp_path):
  path = tmp_path / "vocabulary.csv"
  path.write_bytes(VOCABULARIES[name])
  with pytest.raises(UserError, match=r"--vocabulary_file=.* is not the data"):
    read_vocabulary(str(path))


def test_indices_that_no_model_has_do_no_harm(tmp_path):
  path = tmp_path / "vocabulary.csv"
  path.write_bytes(HEADER + b"1000000000000000000000,Game\n1,=cmd()\n")
  names = read_vocabulary(str(path))
  rows = prediction_files.format_named_rows(
    [b"id"], np.ones((1, 2)), np.array([[0, 1]]), names
  )
  assert rows == b"id,0,class 0,1.000000\nid,1,=cmd(),1.000000\n"


def absurd_record(length: int) -> bytes:
  """A record whose length lies, although its checksum is right."""
  head = struct.pack("<Q", length)
  crc = google_crc32c.value(head)
  # As tensorflow/core/lib/hash/crc32c.h masks it.
  crc = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  return head + struct.pack("<I", crc) + b"a" * 100


@pytest.mark.parametrize(
  ("program", "length"),
  [("eval", 2**31), ("train", 2**40), ("inference", 2**64 - 1)],
)
def test_records_of_absurd_lengths(
  program, length, trained_video, little_memory, fork_program, tmp_path
):
  shard = tmp_path / "shard.tfrecord"
  source = sorted(trained_video.shards.folder.glob("train*.tfrecord"))[0]
  shard.write_bytes(source.read_bytes() + absurd_record(length))
  train_dir = copied(trained_video.train_dir, tmp_path)
  flags = program_flags(program, trained_video, train_dir, tmp_path / "csv")
  flags = [re.sub("(?<=_data_pattern=).*", str(shard), flag) for flag in flags]
  if program == "train":
    flags.append("--max_steps=1000")  # More than the train dir's.
  result = fork_program(little_memory, program, *flags, check=False)
  assert_one_error(result, r"shard\.tfrecord'.* record (40|41)")
  assert not (tmp_path / "csv").exists()


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_first_record_of_an_absurd_length(
  policy, trained_video, little_memory, fork_program, tmp_path
):
  shard = tmp_path / "shard.tfrecord"
  shard.write_bytes(absurd_record(2**40))
  flags = program_flags(
    "eval", trained_video, copied(trained_video.train_dir, tmp_path), None
  )
  flags += (f"--eval_data_pattern={shard}", f"--on_bad_record={policy}")
  result = fork_program(little_memory, "eval", *flags, check=False)
  assert_one_error(result, r"shard\.tfrecord'")
