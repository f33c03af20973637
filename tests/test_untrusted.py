# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Files from strangers: an error at worst, never their code, files or memory.

What is hostile here has right checksums: whoever writes a file can compute
them.
"""

import ast
import json
import os
import pathlib
import random
import re
import shutil
import struct
import textwrap

from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import (
  trackable_object_graph_pb2,
)

import checkpoint_files
import checkpoints
import experiment
import inference
import monitoring
import utils

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
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


class TestCode:
  """Nothing at the checkout's root runs what a file says."""

  MODULES = (
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib"),
    *("shelve", "marshal", "yaml", "imp", "code", "codeop", "pickletools"),
  )
  CALLS = (
    *("eval", "exec", "compile", "__import__", "globals"),
    *("import_module", "run_path", "run_module", "execfile"),
    *("load_model", "load_weights", "from_config", "from_pretrained"),
    *("deserialize", "deserialize_keras_object", "model_from_json"),
    *("import_graph_def", "import_meta_graph", "saved_model_load"),
    *("system", "popen", "Popen", "check_output", "check_call"),
    *("unpack_archive", "extractall", "mktemp"),
  )

  @classmethod
  def suspects(cls, source):
    """Names in a module of what could run a file's content."""
    found = []
    for node in ast.walk(ast.parse(source)):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        found += [n for n in names if n.split(".")[0] in cls.MODULES]
      elif isinstance(node, ast.ImportFrom):
        found += [n for n in [node.module or ""] if n in cls.MODULES]
      elif isinstance(node, ast.Call):
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        is_regex = (
          name == "compile"
          and getattr(getattr(function, "value", None), "id", "") == "re"
        )
        if name in cls.CALLS and not is_regex:
          found.append(name)
      elif isinstance(node, ast.keyword):
        is_on = not isinstance(node.value, ast.Constant) or node.value.value
        risky = ("allow_pickle", "shell", "safe_mode", "custom_objects")
        found += [node.arg] if node.arg in risky and is_on else []
    return found

  def test_no_module_runs_what_a_file_says(self):
    sources = {path.stem: path.read_text() for path in ROOT.glob("*.py")}
    assert len(sources) > 15
    found = {
      (module, name)
      for module, source in sources.items()
      for name in self.suspects(source)
    }
    assert found == set()

  @pytest.mark.parametrize(
    "code",
    [
      "import pickle",
      "from yaml import load",
      "def f():\n  import marshal",
      "eval('1')",
      "builtins.exec(text)",
      "keras.models.load_model(path)",
      "keras.layers.deserialize(config)",
      "Layer.from_config(config)",
      "np.load(path, allow_pickle=True)",
      "importlib.import_module(name)",
      "subprocess.run(command, shell=True)",
      "compile(text, 'f', 'exec')",
    ],
  )
  def test_it_would_be_found(self, code):
    assert self.suspects(code)


@pytest.fixture(scope="module")
def config_values(trained_video):
  return json.loads((trained_video.train_dir / "model_flags.json").read_text())


def load_and_build(folder, text):
  """Does all that the programs do with a configuration, but for the data."""
  (folder / "model_flags.json").write_text(text)
  config = experiment.ExperimentConfig.load(str(folder))
  experiment.build_loss(config)
  experiment.build_optimizer(config)
  experiment.build_model(config)


NO_CLASSES = [
  *("Layer", "BaseModel", "BaseLoss", "Optimizer", "NormalizedInput"),
  *("__class__", "__init__", "__builtins__", "__import__('os')"),
  *("os.system", "models.LogisticModel", "keras.layers.Dense", "subprocess"),
  *("../models", "/etc/passwd", "", " ", "LogisticModel\0", "L" * 100_000),
  # Wraps another one, by its name or configuration.
  *("LossScaleOptimizer", "Lambda", "tf.keras.optimizers.Adam"),
]
# JSON of a number, and the fields that may not have it.
INTEGERS = ("num_classes", "max_frames", "batch_size", "num_epochs", "seed")
FLOATS = (
  *("base_learning_rate", "learning_rate_decay"),
  *("regularization_penalty", "clip_gradient_norm"),
)
NO_NUMBERS = [
  ("1000000000000", INTEGERS),
  ("-1", INTEGERS + FLOATS),
  ("1.5", INTEGERS),
  ("1e3", INTEGERS),
  ("NaN", INTEGERS + FLOATS),
  ("Infinity", INTEGERS),
  ("-Infinity", INTEGERS + FLOATS),
  ("1" + "0" * 400, INTEGERS + FLOATS),
  ("1" + "0" * 5000, INTEGERS + FLOATS),
  ("true", INTEGERS + FLOATS),
  ('"5"', INTEGERS + FLOATS),
  ("[5]", INTEGERS + FLOATS),
  ("{}", INTEGERS + FLOATS),
]
NO_LISTS = {
  "feature_sizes": [
    *("[1000000000000, 8]", "[16, 8.0]", "[true, 8]", "[16, -8]", "[[16], 8]"),
    *("16", "null", '"16,8"', '{"mean_rgb": 16}', "[NaN, 8]", "[16, 8, 8]"),
    # Each is allowed, but not the product with the classes.
    "[9000000, 9000000]",
  ],
  "feature_names": [
    *('["mean_rgb", "mean_rgb"]', "[1, 2]", "[null, null]", '"ab"'),
    *('["mean_rgb"]', '{"a": 1, "b": 2}', '[["mean_rgb"], "mean_audio"]'),
  ],
  "model_kwargs": [
    *('{"__class__": 1}', '{"self": 1}', '{"model_input": 1}', "[]", '"x"'),
    *('{"vocab_size": 1000000000000}', '{"num_frames": 1}'),
    *('{"l2_penalty": "x"}', '{"l2_penalty": {"class_name": "Lambda"}}'),
    '{"l2_penalty": ' + "[" * 900 + "]" * 900 + "}",
    '{"l2_penalty": 1' + "0" * 400 + "}",
    '{"labels_per_video": 1' + "0" * 400 + "}",
  ],
}
NO_OBJECTS = [
  *("", "null", "[]", "5", '"model"', "{", "\0\1\2", "{}{}", '{"model": }'),
  '{"model": "LogisticModel", "model_class": "os"}',
  "[" * 100_000,
  "[" * 100_000 + "]" * 100_000,
  '{"model": ' * 100_000 + "1" + "}" * 100_000,
  '{"model_kwargs": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001,
]


class TestModelFlags:
  @pytest.mark.parametrize("name", NO_CLASSES, ids=lambda name: name[:30])
  @pytest.mark.parametrize("field", ["model", "label_loss", "optimizer"])
  def test_classes(self, field, name, config_values, tmp_path):
    text = json.dumps({**config_values, field: name})
    with pytest.raises(UserError, match=f"--{field}: unknown .* Available: "):
      load_and_build(tmp_path, text)

  @pytest.mark.parametrize(
    ("number", "field"),
    [(number, field) for number, fields in NO_NUMBERS for field in fields],
    ids=lambda text: text[:20],
  )
  def test_numbers(self, number, field, config_values, tmp_path):
    self.assert_refused(config_values, field, number, tmp_path)

  @pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in NO_LISTS.items() for value in values],
    ids=lambda text: text[:40],
  )
  def test_lists_and_objects(self, field, value, config_values, tmp_path):
    if value == "[9000000, 9000000]":
      config_values = {**config_values, "num_classes": 3862}
    self.assert_refused(config_values, field, value, tmp_path)

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

  @pytest.mark.parametrize("text", ["{}", "\ufeff{}", '{"feature_names": []}'])
  def test_without_features(self, text, tmp_path, video_shards):
    (tmp_path / "model_flags.json").write_text(text)
    config = experiment.ExperimentConfig.load(str(tmp_path))
    with pytest.raises(UserError, match="names no features"):
      experiment.open_shards(config, video_shards.validate, "flag")

  def test_integers_where_floats_are_meant(self, config_values, tmp_path):
    values = {field: 1 for field in FLOATS}
    load_and_build(tmp_path, json.dumps({**config_values, **values}))

  def test_large_files(self, tmp_path):
    with open(tmp_path / "model_flags.json", "wb") as file:
      file.truncate(2**40)  # Takes no space.
    with pytest.raises(UserError, match=r"model_flags\.json' has .* bytes"):
      experiment.ExperimentConfig.load(str(tmp_path))

  @pytest.mark.parametrize(
    ("program", "values", "message"),
    [
      *(
        (program, {"num_classes": 10**12}, "--num_classes=10+ should be from")
        for program in ("train", "eval", "inference")
      ),
      ("eval", {"feature_sizes": [10**7] * 2}, "should have size 10000000"),
      ("train", {"optimizer": "os.system"}, "--optimizer: unknown 'os.system'"),
      ("inference", {"model": "os.system"}, "--model: unknown 'os.system'"),
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

  @pytest.mark.parametrize("program", ["eval", "inference"])
  def test_no_batch_is_made_of_absurdly_long_videos(
    self, program, trained_frame, little_memory, fork_program, tmp_path
  ):
    train_dir = copied(trained_frame.train_dir, tmp_path)
    path = train_dir / "model_flags.json"
    values = {**json.loads(path.read_text()), "max_frames": 10_000_000}
    path.write_text(json.dumps(values))
    flags = program_flags(program, trained_frame, train_dir, tmp_path / "csv")
    result = fork_program(little_memory, program, *flags, check=False)
    assert_one_error(result, "--batch_size=.*--max_frames.* are too much for")

  @pytest.mark.parametrize(
    ("program", "field"),
    [
      ("train", "optimizer"),
      ("train", "label_loss"),
      ("eval", "model"),
      ("eval", "feature_names"),
      ("inference", "model_kwargs"),
      ("inference", "seed"),
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


def crc32c(data):
  """The checksum of RFC 3720, masked as TensorFlow's files have it."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number):
  number %= 2**64
  low = [number >> shift & 127 for shift in range(0, 64, 7)]
  while len(low) > 1 and not low[-1]:
    low.pop()
  return bytes([*(part | 128 for part in low[:-1]), low[-1]])


def table_block(pairs, restarts=(0,)):
  """A block of a LevelDB table; its keys share no beginnings."""
  records = b"".join(
    varint(0) + varint(len(key)) + varint(len(value)) + key + value
    for key, value in pairs
  )
  return records + struct.pack(
    f"<{len(restarts) + 1}I", *restarts, len(restarts)
  )


def table(blocks, separators=None):
  """A LevelDB table with right checksums."""
  content, handles = b"", []

  def add(block):
    nonlocal content
    handle = varint(len(content)) + varint(len(block))
    content += block + b"\0" + struct.pack("<I", crc32c(block + b"\0"))
    return handle

  for pairs in blocks:
    handles.append(
      add(pairs if isinstance(pairs, bytes) else table_block(pairs))
    )
  separators = separators or [pairs[-1][0] for pairs in blocks]
  unused = add(table_block([]))
  index = add(table_block(list(zip(separators, handles, strict=True))))
  footer = (unused + index).ljust(40, b"\0")
  return content + footer + struct.pack("<Q", 0xDB4775248B80FB57)


def small_model():
  inputs = keras.Input((2,))
  model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
  kernel, bias = model.get_weights()
  model.set_weights([np.arange(6.0).reshape(kernel.shape), bias + 7.0])
  return model


class Crafted:
  """A checkpoint of `small_model` whose files can be written anew.

  Attributes:
    header: what the index starts with.
    entries: name -> what the index says of a tensor.
    data: the tensors.
  """

  def __init__(self, folder):
    checkpoints.Saver(str(folder), small_model(), 5).save(1)
    self.path = str(folder / "model.ckpt-1")
    self.index_path = folder / "model.ckpt-1.index"
    self.data_path = folder / f"model.ckpt-1{DATA}"
    self.index = self.index_path.read_bytes()
    self.data = self.data_path.read_bytes()
    self.header, self.entries = checkpoint_files._read_index(
      str(self.index_path)
    )
    (self.kernel,) = (
      entry for name, entry in self.entries.items() if "kernel" in name
    )
    self.graph = self.entries[GRAPH_KEY]
    self._model = small_model()

  def pairs(self):
    return [
      (b"", self.header.SerializeToString()),
      *(
        (name.encode(), entry.SerializeToString())
        for name, entry in sorted(self.entries.items())
      ),
    ]

  def write_index(self):
    self.index_path.write_bytes(table([self.pairs()]))

  def read_graph(self):
    description = checkpoint_files._read_string(str(self.data_path), self.graph)
    return trackable_object_graph_pb2.TrackableObjectGraph.FromString(
      description
    )

  def write_graph(self, description):
    """Appends another description of objects to the data."""
    length = struct.pack("<I", len(description))
    checksum = struct.pack("<I", crc32c(length))
    value = varint(len(description)) + checksum + description
    self.graph.offset, self.graph.size = len(self.data), len(value)
    self.graph.crc32c = crc32c(length + checksum + description)
    self.data_path.write_bytes(self.data + value)
    self.write_index()

  def restored(self):
    """The weights that are restored; None if the checkpoint is refused."""
    self._model.set_weights(
      [np.full_like(weight, -1) for weight in self._model.get_weights()]
    )
    try:
      checkpoints.restore_model(self._model, self.path)
    except UserError:
      return None
    return self._model.get_weights()


@pytest.fixture
def crafted(tmp_path):
  crafted = Crafted(tmp_path)
  # The tables that are written here are such as TensorFlow reads.
  crafted.write_index()
  crafted.write_graph(crafted.read_graph().SerializeToString())
  assert is_right(crafted.restored())
  return crafted


def is_right(weights):
  expected = small_model().get_weights()
  return weights is not None and all(
    np.array_equal(*pair) for pair in zip(weights, expected, strict=True)
  )


def resize(sizes, num_bytes=None):
  def change(crafted):
    del crafted.kernel.shape.dim[:]
    for size in sizes:
      crafted.kernel.shape.dim.add(size=size)
    if num_bytes is not None:
      crafted.kernel.size = num_bytes

  return change


def set_field(which, name, value):
  def change(crafted):
    setattr(getattr(crafted, which), name, value)

  return change


def add_slice(crafted):
  crafted.kernel.slices.add().extent.add(start=0, length=1)


def unknown_rank(crafted):
  crafted.kernel.shape.unknown_rank = True


def many_strings(crafted):
  crafted.graph.shape.dim.add(size=10**9)


def strings_of_no_bytes(crafted):
  resize([10**9], 0)(crafted)
  crafted.kernel.dtype = tf.string.as_datatype_enum


def no_graph(crafted):
  del crafted.entries[GRAPH_KEY]


# TensorFlow ends the process at those marked so, or takes the memory first.
STRANGE_ENTRIES = {
  "terabytes": resize([10**9, 10**3], 4 * 10**12),  # Takes the memory.
  "gigabytes": resize([10**9, 3], 12 * 10**9),  # Takes the memory.
  "overflow": resize([2**40, 2**40]),  # Ends the process.
  "overflow to the right size": resize([2**62, 2, 3]),  # Ends the process.
  "negative": resize([-2, -3]),  # Ends the process.
  "many dimensions": resize([1] * 300 + [6]),  # Ends the process.
  "many strings": many_strings,  # Ends the process.
  "unknown rank": unknown_rank,
  "other size": resize([2, 4]),
  "slices": add_slice,  # Takes the memory where the shape is large.
  "no type": set_field("kernel", "dtype", 0),
  "unknown type": set_field("kernel", "dtype", 999),
  "variant": set_field("kernel", "dtype", tf.variant.as_datatype_enum),
  "resource": set_field("kernel", "dtype", tf.resource.as_datatype_enum),
  "string": strings_of_no_bytes,
  "double": set_field("kernel", "dtype", tf.float64.as_datatype_enum),
  "negative offset": set_field("kernel", "offset", -100),
  "large offset": set_field("kernel", "offset", 2**62),
  "offset that overflows": set_field("kernel", "offset", 2**63 - 1),
  "negative bytes": set_field("kernel", "size", -24),
  "another shard": set_field("kernel", "shard_id", 1),
  "a negative shard": set_field("kernel", "shard_id", -1),
  "no shards": set_field("header", "num_shards", 0),
  "many shards": set_field("header", "num_shards", 2**31 - 1),
  "another byte order": set_field("header", "endianness", 1),
  "no description": no_graph,
  "description of numbers": set_field("graph", "dtype", 1),
  "long description": set_field("graph", "size", 10**12),
  "empty description": set_field("graph", "size", 0),
}


def rename_key(graph):
  node = next(node for node in graph.nodes if node.attributes)
  node.attributes[0].checkpoint_key = "../../other"


def child_that_is_not_there(graph):
  graph.nodes[0].children.add(node_id=10**6, local_name="more")


def negative_child(graph):
  graph.nodes[0].children.add(node_id=-1, local_name="more")


def node_of_nobody(graph):
  graph.nodes.add()


def slot_of_nothing(graph):
  graph.nodes[0].slot_variables.add(
    original_variable_node_id=10**6, slot_variable_node_id=0
  )


def registered_saver(graph):
  graph.nodes[1].registered_saver.name = "os.system"


STRANGE_GRAPHS = [
  rename_key,
  child_that_is_not_there,
  negative_child,
  node_of_nobody,
  slot_of_nothing,
  registered_saver,
]
DESCRIPTION_BYTES = [
  b"\xff" * 50,
  b"\n\xff\xff\xff\xff\x0f",
  b"{}",
  b"\x80\x04K\1.",
]


class TestCheckpoints:
  @pytest.mark.parametrize("name", STRANGE_ENTRIES)
  def test_strange_entries(self, name, crafted):
    STRANGE_ENTRIES[name](crafted)
    crafted.write_index()
    # Before TensorFlow sees it.
    with pytest.raises((checkpoint_files.DamagedError, tf.errors.OpError)):
      checkpoint_files.largest_tensor(crafted.path)
    with pytest.raises(checkpoints.UnreadableError, match="cannot be read: "):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_an_entry_that_is_none(self, crafted):
    pairs = [
      (key, b"\xff" * 9 if key else value) for key, value in crafted.pairs()
    ]
    crafted.index_path.write_bytes(table([pairs]))
    with pytest.raises(checkpoints.UnreadableError, match="index is damaged"):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_much_in_a_file_that_takes_no_space(self, crafted):
    resize([2**33], 2**35)(crafted)
    crafted.write_index()
    with open(crafted.data_path, "r+b") as file:
      file.truncate(2**36)
    with pytest.raises(
      UserError, match="a tensor of 34,359,738,368 bytes, the"
    ):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_long_description_in_a_file_that_takes_no_space(self, crafted):
    crafted.graph.size = 2**35
    crafted.write_index()
    with open(crafted.data_path, "r+b") as file:
      file.truncate(2**36)
    with pytest.raises(UserError, match="OBJECT_GRAPH' cannot be as the index"):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_another_shape_of_the_same_size(self, crafted):
    resize([3, 2])(crafted)
    crafted.write_index()
    with pytest.raises(UserError, match="does not hold the model"):
      checkpoints.restore_model(small_model(), crafted.path)

  @pytest.mark.parametrize("change", STRANGE_GRAPHS, ids=lambda f: f.__name__)
  def test_strange_descriptions(self, change, crafted, capfd):
    graph = crafted.read_graph()
    change(graph)
    crafted.write_graph(graph.SerializeToString())
    with pytest.raises(checkpoints.UnreadableError, match="contradicts it"):
      checkpoints.restore_model(small_model(), crafted.path)
    assert "Exception ignored" not in capfd.readouterr().err

  @pytest.mark.parametrize("description", DESCRIPTION_BYTES)
  def test_descriptions_that_are_none(self, description, crafted):
    crafted.write_graph(description)
    with pytest.raises(checkpoints.UnreadableError, match="objects is damaged"):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_a_description_of_nothing_is_another_model(self, crafted):
    crafted.write_graph(b"")
    with pytest.raises(UserError):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_large_index(self, crafted):
    with open(crafted.index_path, "r+b") as file:
      file.truncate(2**40)
    with pytest.raises(checkpoints.UnreadableError, match="index has .* bytes"):
      checkpoints.restore_model(small_model(), crafted.path)

  def test_tables_of_many_blocks(self, tmp_path):
    """Those of TensorFlow: shared beginnings, restarts, several blocks."""
    path = str(tmp_path / "large")
    names = [f"variable/number/{number:05}" for number in range(6000)]
    values = [tf.constant([1.0])] * len(names)
    tf.raw_ops.SaveV2(
      prefix=path,
      tensor_names=names,
      shape_and_slices=[""] * len(names),
      tensors=values,
    )
    content = (tmp_path / "large.index").read_bytes()
    assert len(content) > 2**17
    header, entries = checkpoint_files._read_index(f"{path}.index")
    assert list(entries) == names
    assert header.num_shards == 1

  def test_tables_that_can_be_read_in_two_ways(self):
    read = checkpoint_files._read_table
    first, second = [(b"a", b"1"), (b"b", b"2")], [(b"d", b"3")]
    pairs = [*first, *second]
    hidden = table_block([(b"c", b"hidden")])
    with_hidden = [(b"a", b"1"), (b"b", hidden)]
    place = table_block(with_hidden).index(hidden)
    assert read(table([first, second])) == pairs
    assert read(table([first, second], [b"c", b"z"])) == pairs
    assert read(table([table_block(with_hidden)], [b"b"])) == with_hidden
    content = table([pairs])
    block = table_block(pairs)
    assert content.startswith(block + b"\0")
    for strange in (
      table([second, first]),
      table([[*pairs, pairs[-1]]]),
      table([first, second], [b"a", b"z"]),
      table([first, second], [b"d", b"z"]),
      # A reader that looks for c would begin there.
      table([table_block(with_hidden, restarts=(0, place))], [b"b"]),
      block + b"\1" + content[len(block) + 1 :],
      table([[]], [b"a"]),
      content[:-1] + b"\0",
    ):
      with pytest.raises(checkpoint_files.DamagedError):
        read(strange)

  @pytest.mark.parametrize("file", ["index", "data"])
  def test_every_flipped_byte(self, file, tmp_path):
    crafted = Crafted(tmp_path)
    path = getattr(crafted, f"{file}_path")
    content = path.read_bytes()
    num_refused = 0
    for position in range(len(content)):
      changed = bytearray(content)
      changed[position] ^= 1 << position % 8
      path.write_bytes(changed)
      weights = crafted.restored()
      assert weights is None or is_right(weights), position
      num_refused += weights is None
    # Neither the table's unused block nor the counter of saves matters.
    assert num_refused > 0.8 * len(content)

  @pytest.mark.parametrize("file", ["index", "data"])
  def test_every_length(self, file, tmp_path):
    crafted = Crafted(tmp_path)
    path = getattr(crafted, f"{file}_path")
    content = path.read_bytes()
    for length in range(len(content)):
      path.write_bytes(content[:length])
      assert crafted.restored() is None, length

  @pytest.mark.parametrize(
    "num_tries", [100, pytest.param(10_000, marks=pytest.mark.soak)]
  )
  def test_mutations_with_right_checksums(self, num_tries, tmp_path):
    """Restored or refused: another exception fails the test."""
    crafted = Crafted(tmp_path)
    graph = crafted.read_graph().SerializeToString()
    rng = random.Random(num_tries)  # noqa: S311
    for _ in range(num_tries):
      crafted.write_graph(mutated(graph, rng))
      crafted.restored()
      crafted.write_graph(graph)
      pairs = [
        (key, mutated(value, rng) if rng.random() < 0.3 else value)
        for key, value in crafted.pairs()
      ]
      crafted.index_path.write_bytes(table([pairs]))
      crafted.restored()

  @pytest.mark.parametrize(
    ("program", "name"),
    [
      ("train", "overflow"),
      ("eval", "terabytes"),
      ("eval", "many strings"),
      ("inference", "overflow"),
    ],
  )
  def test_programs(
    self, program, name, trained_video, little_memory, fork_program, tmp_path
  ):
    train_dir = copied(trained_video.train_dir, tmp_path)
    (index,) = train_dir.glob("*.index")
    crafted = Crafted.__new__(Crafted)
    crafted.index_path = index
    crafted.header, crafted.entries = checkpoint_files._read_index(str(index))
    crafted.graph = crafted.entries[GRAPH_KEY]
    crafted.kernel = next(
      entry for entry in crafted.entries.values() if len(entry.shape.dim) == 2
    )
    STRANGE_ENTRIES[name](crafted)
    crafted.write_index()
    flags = program_flags(program, trained_video, train_dir, tmp_path / "csv")
    result = fork_program(little_memory, program, *flags, check=False)
    assert_one_error(result, "cannot be as the index has it|end too early")


def mutated(content, rng):
  content = bytearray(content or b"\0")
  for _ in range(rng.choice([1, 1, 2, 5])):
    position = rng.randrange(len(content))
    kind = rng.randrange(3)
    if kind == 0:
      content[position] ^= 1 << rng.randrange(8)
    elif kind == 1:
      content[position] = rng.choice([0, 1, 127, 128, 255])
    else:
      content[position:position] = rng.randbytes(rng.randrange(5))
  return bytes(content)


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
      *("", "[]", "null", "{", "{}", '{"gap": "0.5"}', '{"gap": null}'),
      *('{"gap": NaN}', '{"gap": Infinity}', '{"gap": -1}', '{"gap": [1]}'),
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
  config = experiment.ExperimentConfig(
    feature_names=("mean_rgb",), feature_sizes=(4,), num_classes=3
  )
  return monitoring.Validation(
    config,
    str(folder),
    experiment.build_model(config),
    experiment.build_loss(config),
    batches=[],
    every_steps=1,
    jit_compile=False,
  )


HEADER = b"Index,Name\n"
VOCABULARIES = {
  "nothing": b"",
  "binary": bytes(range(256)) * 10,
  "no header": b"0,Game\n1,Car\n",
  "NUL in a name": HEADER + b"0,Ga\0me\n",
  "NUL in the header": b"In\0dex,Name\n0,Game\n",
  "giant field": HEADER + b"0," + b"a" * 10**6 + b"\n",
  "negative index": HEADER + b"-1,Game\n",
  "index twice": HEADER + b"0,Game\n0,Car\n",
  "index of 5000 digits": HEADER + b"9" * 5000 + b",Game\n",
  "index that is no integer": HEADER + b"1.0,Game\n",
  "index that is no number": HEADER + b"NaN,Game\n",
  "cut off in a name": HEADER + b'0,"Game, \n1,Car\n',
  "empty row with an empty index": HEADER + b",\n",
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabularies(name, tmp_path):
  path = tmp_path / "vocabulary.csv"
  path.write_bytes(VOCABULARIES[name])
  with pytest.raises(UserError, match=r"--vocabulary_file=.* is not the data"):
    inference.read_vocabulary(str(path))


def test_indices_that_no_model_has_do_no_harm(tmp_path):
  path = tmp_path / "vocabulary.csv"
  path.write_bytes(HEADER + b"1000000000000000000000,Game\n1,=cmd()\n")
  names = inference.read_vocabulary(str(path))
  rows = inference.format_named_rows(
    [b"id"], np.ones((1, 2)), np.array([[0, 1]]), names
  )
  assert rows == b"id,0,class 0,1.000000\nid,1,=cmd(),1.000000\n"


@pytest.mark.parametrize(
  ("program", "length"),
  [
    ("eval", 2**31),
    ("train", 2**40),
    ("eval", 2**40),
    ("inference", 2**63),
    ("inference", 2**64 - 1),
  ],
)
def test_records_of_absurd_lengths(
  program, length, trained_video, little_memory, fork_program, tmp_path
):
  """Their checksums are right, so only the file's size says that they lie."""
  shard = tmp_path / "shard.tfrecord"
  source = sorted(trained_video.shards.folder.glob("train*.tfrecord"))[0]
  head = struct.pack("<Q", length)
  shard.write_bytes(
    source.read_bytes() + head + struct.pack("<I", crc32c(head)) + b"a" * 100
  )
  train_dir = copied(trained_video.train_dir, tmp_path)
  flags = program_flags(program, trained_video, train_dir, tmp_path / "csv")
  flags = [re.sub("(?<=_data_pattern=).*", str(shard), flag) for flag in flags]
  result = fork_program(little_memory, program, *flags, check=False)
  assert_one_error(result, r"shard\.tfrecord'.* record (40|41)")
  assert not (tmp_path / "csv").exists()


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_first_record_of_an_absurd_length(
  policy, trained_video, little_memory, fork_program, tmp_path
):
  shard = tmp_path / "shard.tfrecord"
  head = struct.pack("<Q", 2**40)
  shard.write_bytes(head + struct.pack("<I", crc32c(head)) + b"a" * 100)
  flags = program_flags(
    "eval", trained_video, copied(trained_video.train_dir, tmp_path), None
  )
  flags += (f"--eval_data_pattern={shard}", f"--on_bad_record={policy}")
  result = fork_program(little_memory, "eval", *flags, check=False)
  assert_one_error(result, r"shard\.tfrecord'")
