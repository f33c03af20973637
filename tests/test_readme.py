# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The README and docs/ are true: their commands and examples are run here.

Programs run in copies of a process that has imported TensorFlow already (see
fork_programs.py), since there are many of them.
"""

import doctest
import importlib
import itertools
import json
import pathlib
import re
import runpy
import shlex
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from pages import (
  DOCS,
  PAGES,
  README,
  ROOT,
  block_with,
  blocks,
  code_words,
  command_lines,
  commands,
  section,
  table_rows,
)

import readers
import train_dir
import utils
from tools import sample_data

PROGRAMS = (
  *("train", "eval", "inference", "tools.verify_shards", "tools.sample_data"),
  *("tools.download", "tools.quickstart", "tools.check_submission"),
  *("export_model", "ensemble"),
)
# Of their commands, what does not begin with "-" is no flag.
WITH_ARGUMENTS = {"tools.verify_shards", "tools.check_submission"}
OTHER_COMMANDS = {
  *("make", "pip", ".", "rm", "tensorboard", "gcloud", "setup"),
  "saved_model_cli",
}
# Options of other programs, and of the starter code.
OTHER_FLAGS = {
  *("--help", "--input_model_tgz", "--load_fast"),
  *("--args", "--command", "--config", "--distributed", "--module-name"),
  *("--package-path", "--parameter-server-count", "--python-package-uris"),
  *("--service-account", "--staging-bucket", "--worker-count"),
  "--worker-pool-spec",
}
# What the flag table says where --help shows no default.
NO_DEFAULT = {
  *("none", "required", "drawn and saved"),
  *("from the data", "from the machine", "from the train dir"),
  *("of the model", "of the loss"),
}

TROUBLESHOOTING = DOCS / "troubleshooting.md"

# Runs a program of a folder, after this process has imported the checkout's.
RUN_IN_COPY = """
import pathlib, runpy, sys
folder, name, *flags = sys.argv[1:]
for path in pathlib.Path(folder).glob("*.py"):
  sys.modules.pop(path.stem, None)
sys.path[0] = folder
sys.argv = [f"{folder}/{name.replace('.', '/')}.py", *flags]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def started_program(words: list[str]) -> tuple[str, list[str]]:
  """The program that a command starts, here or as a job, and its arguments."""
  if words[:2] == ["python", "-m"]:
    return words[2], words[3:]
  if words[0] == "python":
    return words[1].removesuffix(".py"), words[2:]
  options = dict(word.partition("=")[::2] for word in words)
  if words[0] == "gcloud" and "--module-name" in options:
    module = options["--module-name"]
    return module.rpartition(".")[2], words[words.index("--") + 1 :]
  if words[:4] == ["gcloud", "ai", "custom-jobs", "create"]:
    pool = re.search(r"python-module=\w+\.(\w+)", options["--worker-pool-spec"])
    return pool[1] if pool else "train", options["--args"].split(",")
  return words[0], words[1:]


@pytest.fixture(scope="module")
def flags_of(fork_program) -> dict[str, dict[str, str | None]]:
  """Program -> flag -> the default that --help shows, or None."""
  result = {}
  for program in PROGRAMS:
    text = fork_program(program, "--help").stdout
    entries = re.findall(
      r"^  (--[\w-]+): (.*(?:\n    .*)*)", text, re.MULTILINE
    )
    result[program] = {}
    for flag, description in entries:
      description = " ".join(description.split())
      default = re.search(r"Default: (.*)\.$", description)
      result[program][flag] = default[1] if default else None
  return result


def names_a_flag(word: str, known) -> bool:
  flag = word.partition("=")[0]
  return flag in known or f"--{flag.removeprefix('--no')}" in known


class TestPages:
  def test_commands_use_flags_that_exist(self, flags_of):
    for words in itertools.chain(*map(commands, PAGES)):
      program, arguments = started_program(words)
      if program in OTHER_COMMANDS:
        continue
      if program in WITH_ARGUMENTS:
        arguments = [word for word in arguments if word.startswith("-")]
      for argument in arguments:
        assert names_a_flag(argument, flags_of[program]), words

  def test_flags_in_the_text_exist(self, flags_of):
    known = OTHER_FLAGS.union(*flags_of.values())
    for page in PAGES:
      text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
      mentioned = re.findall(r"--[\w-]+", " ".join(code_words(text)))
      unknown = [flag for flag in mentioned if not names_a_flag(flag, known)]
      assert unknown == [], page

  def test_make_targets_exist(self):
    makefile = (ROOT / "Makefile").read_text()
    for words in itertools.chain(*map(commands, PAGES)):
      if words[0] == "make":
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words

  def test_links_lead_somewhere(self):
    for page in PAGES:
      for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("https://"):
          continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), (page, link)
        assert not anchor or anchor in anchors(target), (page, link)


def anchors(page: pathlib.Path) -> set[str]:
  """The anchors that a page's headings get."""
  headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return {
    re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
    for heading in headings
  }


def test_readme_is_short_and_leads_to_every_page():
  text = README.read_text()
  assert len(text.encode()) <= 16_384
  assert [
    page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text
  ] == []


class TestTables:
  def test_file_map_is_complete(self):
    rows = table_rows(section(DOCS / "architecture.md", "## Files"))
    named = {name for row in rows for name in code_words(row[0])}
    assert {name for name in named if not (ROOT / name).exists()} == set()
    modules = {path.name for path in ROOT.glob("*.py")}
    docs = {f"docs/{path.name}" for path in (ROOT / "docs").iterdir()}
    assert modules | docs <= named

  def test_flags_are_all_there_with_their_defaults(self, flags_of):
    page = DOCS / "flags.md"
    rows = [
      row
      for heading in ("## The flags used most", "## The others")
      for row in table_rows(section(page, heading))
    ]
    names = ("train", "eval", "inference", "ensemble")
    described = {name: set() for name in names}
    for flags, programs, default, _ in rows:
      for program, flag in itertools.product(
        programs.split(", "), code_words(flags)
      ):
        actual = flags_of[program][flag]
        assert (default in NO_DEFAULT) if actual is None else default == actual
        described[program].add(flag)
    for program, flags in described.items():
      assert flags == flags_of[program].keys()

  def test_dialects(self):
    rows = table_rows(section(DOCS / "data.md", "## What the readers read"))
    assert [code_words(row[0])[0] for row in rows] == list(sample_data.DIALECTS)
    for name, _, id_key, features, sizes, classes in rows:
      dialect = sample_data.DIALECTS[code_words(name)[0]]
      assert code_words(id_key) == [dialect.id_key]
      assert code_words(features) == [f.name for f in dialect.features]
      assert sizes == ", ".join(str(f.size) for f in dialect.features)
      assert classes == str(dialect.num_classes)

  def test_levels_are_those_of_the_architecture_test(self):
    levels = runpy.run_path(str(ROOT / "tests/test_architecture.py"))["LEVELS"]
    rows = table_rows(section(DOCS / "architecture.md", "## Levels"))
    documented = {
      name.removesuffix(".py").replace("/", "."): int(level)
      for level, names, _ in rows
      for name in code_words(names)
    }
    assert documented == levels

  def test_train_dir_holds_what_it_says(self, trained_video):
    rows = table_rows(section(DOCS / "train_dir.md", "## What lies in it"))
    patterns = [
      word.replace("STEP", "*").rstrip("/")
      for row in rows
      for word in code_words(row[0])
    ]
    for path in trained_video.train_dir.iterdir():
      assert any(path.match(pattern) for pattern in patterns), path


@pytest.fixture(scope="module")
def own_code(tmp_path_factory) -> pathlib.Path:
  """A copy of the modules to which the pages' examples are added."""
  folder = tmp_path_factory.mktemp("own_code")
  for path in ROOT.glob("*.py"):
    shutil.copy(path, folder)
  shutil.copytree(ROOT / "tools", folder / "tools")
  for module, text in (
    ("models", "class TwoLayerModel"),
    ("models", "class FrameAttentionModel"),
    ("frame_level_models", "class LargestCodesModel"),
    ("losses", "class BalancedLoss"),
    ("readers", "class RawVectorReader"),
  ):
    with (folder / f"{module}.py").open("a") as file:
      file.write(f"\n\n{block_with('python', text)}")
  for diff in blocks(DOCS / "own_model.md", "diff"):
    apply_diff(folder, diff)
  return folder


def apply_diff(folder: pathlib.Path, diff: str):
  """Applies "--- FILE" and one run of lines that begin with " ", "+" or "-"."""
  heading, *lines = diff.splitlines()
  path = folder / heading.removeprefix("--- ")
  before = "\n".join(line[1:] for line in lines if line[0] in " -")
  after = "\n".join(line[1:] for line in lines if line[0] in " +")
  source = path.read_text()
  assert source.count(before) == 1
  path.write_text(source.replace(before, after))


@pytest.fixture(scope="module")
def run_own(own_code, fork_program):
  """`run_own("train", "--flag=x")` runs a program of that copy."""
  script = own_code / "run_in_copy.txt"
  script.write_text(RUN_IN_COPY)

  def run(name, *flags, **options):
    return fork_program(script, str(own_code), name, *flags, **options)

  return run


def train_and_evaluate(run_own, train_dir, train, validate, *flags):
  """The results of a model that the copy's trainer trained and evaluated."""
  run_own(
    "train",
    f"--train_data_pattern={train}",
    f"--eval_data_pattern={validate}",
    f"--train_dir={train_dir}",
    "--batch_size=16",
    "--num_epochs=2",
    *flags,
  )
  return evaluation_results(train_dir)


def evaluation_results(train_dir):
  return json.loads((train_dir / "eval/eval_results.json").read_text())


@pytest.fixture(scope="module")
def own_model_dir(run_own, video_shards, tmp_path_factory) -> pathlib.Path:
  """The train dir of the README's first model."""
  train_dir = tmp_path_factory.mktemp("models") / "own"
  train_and_evaluate(
    run_own,
    train_dir,
    video_shards.train,
    video_shards.validate,
    f"--num_classes={video_shards.num_classes}",
    "--model=TwoLayerModel",
    '--model_kwargs={"hidden_units": 6, "dropout": 0.2}',
    "--log_every_steps=1",
  )
  return train_dir


class TestExamples:
  def test_own_model_is_built_as_its_arguments_say(self, own_model_dir):
    checkpoint = tf.train.latest_checkpoint(str(own_model_dir))
    shapes = [shape for _, shape in tf.train.list_variables(checkpoint)]
    # 16 + 8 features to 6 hidden units, and those to 25 classes.
    assert [24, 6] in shapes
    assert [6, 25] in shapes

  def test_own_model_is_rebuilt_for_evaluation(
    self, own_model_dir, run_own, video_shards
  ):
    in_training = evaluation_results(own_model_dir)
    run_own(
      "eval",
      f"--eval_data_pattern={video_shards.validate}",
      f"--train_dir={own_model_dir}",
      "--run_once",
    )
    again = evaluation_results(own_model_dir)
    assert again["num_videos"] == video_shards.num_videos["validate"]
    for name in ("step", "gap", "map", "loss"):
      assert again[name] == pytest.approx(in_training[name], rel=1e-5)

  def test_own_frame_level_model_and_loss(
    self, run_own, frame_shards, tmp_path
  ):
    results = train_and_evaluate(
      run_own,
      tmp_path,
      frame_shards.train,
      frame_shards.validate,
      f"--num_classes={frame_shards.num_classes}",
      "--model=FrameAttentionModel",
      '--model_kwargs={"l2_penalty": 1e-6}',
      "--label_loss=BalancedLoss",
      "--positive_weight=1.5",
    )
    assert results["num_videos"] == frame_shards.num_videos["validate"]
    assert 0 < results["loss"] < frame_shards.num_classes

  def test_own_model_of_sampled_frames(self, run_own, frame_shards, tmp_path):
    results = train_and_evaluate(
      run_own,
      tmp_path,
      frame_shards.train,
      frame_shards.validate,
      f"--num_classes={frame_shards.num_classes}",
      "--model=LargestCodesModel",
      "--code_size=8",
      "--iterations=2",
    )
    assert results["num_videos"] == frame_shards.num_videos["validate"]
    saved = json.loads((tmp_path / "model_flags.json").read_text())
    assert saved["model_kwargs"]["iterations"] == 2

  def test_attention_takes_no_notice_of_padding(self, own_code):
    layer = runpy.run_path(str(own_code / "models.py"))["FrameAttention"]()
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(3, 5, 4)).astype(np.float32)
    num_frames = np.array([5, 2, 0], np.int32)
    frames[np.arange(5) >= num_frames[:, np.newaxis]] = 0
    layer(frames, num_frames)
    layer.query.assign(rng.normal(size=(4, 1)))

    expected = np.zeros((3, 4))
    for i, count in enumerate(num_frames[:2]):
      own = frames[i, :count]
      weights = np.exp(own @ layer.query.numpy())
      expected[i] = (own * weights).sum(axis=0) / weights.sum()
    pooled = layer(frames, num_frames).numpy()
    assert pooled == pytest.approx(expected, abs=1e-6)

  def test_own_loss_weighs_labels(self, own_code):
    loss = runpy.run_path(str(own_code / "losses.py"))["BalancedLoss"]()
    predictions = tf.constant([[0.9, 0.2], [0.0, 1.0]])
    labels = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    # -3 ln 0.9 - ln 0.8; the second video is all right.
    expected = [-3 * np.log(0.9) - np.log(0.8), 0.0]
    actual = loss.per_example_loss(predictions, labels).numpy()
    # Probabilities of 0 and 1 are clipped by 1e-7, to what float32 has there.
    assert actual == pytest.approx(expected, abs=1e-6)
    rated = tf.constant([[1.0, 0.0], [1.0, 1.0]])
    actual = loss.per_example_loss(predictions, labels, label_weights=rated)
    assert actual.numpy()[0] == pytest.approx(-3 * np.log(0.9))

  def test_own_reader_in_the_programs(self, run_own, tmp_path):
    write_raw_vectors(tmp_path / "train.tfrecord", sizes=[5] * 20)
    write_raw_vectors(tmp_path / "validate.tfrecord", sizes=[5] * 9)
    results = train_and_evaluate(
      run_own,
      tmp_path / "model",
      tmp_path / "train.tfrecord",
      tmp_path / "validate.tfrecord",
      "--num_classes=3",
      "--num_epochs=10",
      "--base_learning_rate=0.5",
    )
    # Each class has a vector of its own, so it can be learnt perfectly.
    assert (results["num_videos"], results["gap"]) == (9, 1.0)

  def test_own_reader_checks_shards(self, run_own, tmp_path):
    shard = tmp_path / "train.tfrecord"
    write_raw_vectors(shard, sizes=[5, 5, 4, 5])
    flags = (shard, "--num_classes=3")
    result = run_own("tools.verify_shards", *map(str, flags), check=False)
    assert result.returncode == 1
    words = " ".join(result.stdout.split())
    assert "video level, id, embedding 5: 3 records in 1 shard" in words
    assert "record 2 (video 'v2'): its 'embedding' has 16 bytes" in words
    assert "videos without problem 3 " in words

  def test_keras_refuses_tf_functions_in_these_words(self):
    match = "A KerasTensor cannot be used as input to a TensorFlow function"
    assert match in TROUBLESHOOTING.read_text()
    with pytest.raises(ValueError, match=match):
      tf.nn.relu(keras.Input((3,)))

  def test_records_of_own_videos_can_be_read(self, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(block_with("python", "def text"))
    monkeypatch.chdir(tmp_path)
    frames = runpy.run_path(str(script))["frames"]

    video = read_all("video_level.tfrecord", "YT8MAggregatedFeatureReader")
    assert video["labels"].numpy().nonzero()[1].tolist() == [3, 17]
    assert video["features"]["mean_resnet"].numpy()[0] == pytest.approx(
      frames.mean(axis=0), abs=1e-6
    )
    video = read_all("frame_level.tfrecord", "YT8MFrameFeatureReader")
    assert video["video_ids"].numpy().tolist() == [b"my-video"]
    assert video["num_frames"].numpy().tolist() == [90]
    codes = video["features"]["resnet"].numpy()[0, :90]
    values = codes * utils.DEQUANTIZE_SCALE + utils.DEQUANTIZE_OFFSET
    # What is inside [-2, 2] is off by half a level at most.
    assert values == pytest.approx(
      np.clip(frames, values.min(), values.max()),
      abs=utils.DEQUANTIZE_SCALE / 2 + 1e-6,
    )

  def test_metrics_page(self):
    results = doctest.testfile(str(ROOT / "docs/metrics.md"), False)
    assert results.attempted > 5
    assert results.failed == 0


def write_raw_vectors(path, sizes):
  """Records as the page's reader takes them; three classes, one each."""
  write_examples(
    path,
    [
      {
        "id": f"v{i}".encode(),
        "labels": i % 3,
        "embedding": np.eye(3, size, dtype=np.float32)[i % 3].tobytes(),
      }
      for i, size in enumerate(sizes)
    ],
  )


def write_examples(path, examples):
  """Records of one value for each key."""
  kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
  with tf.io.TFRecordWriter(str(path)) as writer:
    for values in examples:
      example = tf.train.Example()
      for key, value in values.items():
        feature = example.features.feature[key]
        getattr(feature, kinds[type(value)]).value.append(value)
      writer.write(example.SerializeToString())


def read_all(path, reader_name):
  """The one batch of a shard, read by what its records show."""
  schema = readers.detect_schema([path])
  reader = getattr(readers, reader_name)(
    feature_names=schema.feature_names, feature_sizes=schema.feature_sizes
  )
  (batch,) = reader.evaluation_batches([path], 1)
  return batch


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_tags(own_model_dir):
  rows = table_rows(section(README, "## TensorBoard"))
  scalars, others, evaluation = [code_words(tags) for _, tags in rows]
  tags = event_tags(own_model_dir)
  weights = {tag for tag in tags if tag.startswith("weights/")}
  assert weights
  assert tags - weights == {*scalars, *others}
  assert event_tags(own_model_dir / "eval") == set(evaluation)


def event_tags(folder: pathlib.Path) -> set[str]:
  """The tags of the summaries in a folder."""
  event_pb2 = importlib.import_module("tensorboard.compat.proto.event_pb2")
  tags = set()
  for path in folder.glob("events.out.tfevents.*"):
    for record in tf.data.TFRecordDataset(str(path)):
      event = event_pb2.Event.FromString(record.numpy())
      tags |= {value.tag for value in event.summary.value}
  return tags


class TestCommands:
  def run_block(self, fork_program, heading, folder, model_dir):
    """Runs the commands under a heading, word for word but for the paths."""
    block = re.search(r"```sh\n(.*?)```", section(README, heading), re.DOTALL)[
      1
    ]
    block = block.replace("/path/to/features", str(folder))
    block = block.replace("$MODEL_DIR", str(model_dir))
    results = {}
    for line in block.splitlines()[1:]:
      program, flags = started_program(shlex.split(line))
      results[program] = fork_program(program, *flags)
    return results

  def test_video_level(self, fork_program, video_shards, tmp_path):
    results = self.run_block(
      fork_program, "### Video-level features", video_shards.folder, tmp_path
    )
    assert "Avg_Hit@1: " in results["eval"].stderr
    assert "Wrote 61 videos to predictions.csv" in results["inference"].stderr

  def test_ensemble(self, fork_program, trained_video, tmp_path, monkeypatch):
    page, outputs = DOCS / "ensemble.md", []
    for words in commands(page):
      line = re.sub(
        r"/path/to/(?=validate)",
        f"{trained_video.shards.folder}/",
        shlex.join(words),
      )
      line = re.sub(r"/path/to/\w+", str(trained_video.train_dir), line)
      line = re.sub(r"(\w+\.(npz|csv))", rf"{tmp_path}/\1", line)
      program, flags = started_program(shlex.split(line))
      outputs.append(fork_program(program, *flags).stderr)
    assert [len(re.findall("Wrote 61 videos", text)) for text in outputs] == [
      *(1, 1, 0, 0, 1, 0, 0)
    ]
    assert [len(re.findall("GAP: |GAP on 61", text)) for text in outputs] == [
      *(0, 0, 1, 1, 0, 1, 1)
    ]
    monkeypatch.chdir(tmp_path)
    assert doctest.testfile(str(page), False) == (0, 3)

  def test_frame_level(self, fork_program, tmp_path):
    for prefix in ("train", "validate"):
      sample_data.write_shards(
        str(tmp_path),
        "v0_frame",
        num_videos=8,
        num_classes=30,
        max_frames=3,
        prefix=prefix,
      )
    results = self.run_block(
      fork_program, "### Frame-level features", tmp_path, tmp_path / "models"
    )
    assert "Avg_Hit@1: " in results["eval"].stderr
    assert "Wrote 8 videos to predictions.csv" in results["inference"].stderr

  def test_check_shards(self, fork_program, tmp_path):
    sample_data.write_shards(
      str(tmp_path), "v2_frame", num_videos=40, feature_sizes=[8, 4]
    )
    break_shards(tmp_path)
    page = section(DOCS / "data.md", "## Check shards")
    (command,) = re.findall(r"```sh\n(.*)\n```", page)
    command = command.replace("/path/to/features", str(tmp_path))
    program, arguments = started_program(shlex.split(command))
    result = fork_program(program, *arguments, check=False)
    assert result.returncode == 1
    (expected,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert without_figures(result.stdout) == without_figures(expected)

  def test_segments(self, fork_program, tmp_path, monkeypatch):
    page = DOCS / "segments.md"
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(block_with("python", "TopSegments"))
    runpy.run_path(str(script))
    classes = "\n".join(map(str, range(3862)))
    (tmp_path / "segment_label_ids.csv").write_text(f"Index\n{classes}\n")
    output = ""
    for line in command_lines(page):
      line = re.sub(r"/(path/to|tmp)/segments", str(tmp_path), line)
      line = re.sub(r"\bsegments.csv", f"{tmp_path}/segments.csv", line)
      program, arguments = started_program(shlex.split(line))
      if program == "tools.sample_data":
        arguments += ["--feature_sizes=8,4", "--min_frames=50"]
        arguments += ["--max_frames=60"]
      if program != "tools.download":
        output += fork_program(program, *arguments).output
    assert "ratings                    per video min 0, mean" in output
    # Of the model's file, which has taken the place of the script's.
    assert re.search(r"MAP@100000: 0\.\d+ \| classes: \d+, \d+ of them", output)
    assert "Problems: 0." in output
    assert (tmp_path / "eval" / "segment_results.json").exists()


def break_shards(folder: pathlib.Path):
  """A wrong label, a flipped byte, a missing end, as the page shows them."""
  path = folder / "train0001.tfrecord"
  first, *others = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  example = tf.train.SequenceExample.FromString(first)
  example.context.feature["labels"].int64_list.value.append(3901)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in (example.SerializeToString(deterministic=True), *others):
      writer.write(record)
  path = folder / "train0002.tfrecord"
  data = bytearray(path.read_bytes())
  data[-100] ^= 255  # In the last record's frames.
  path.write_bytes(data)
  path = folder / "train0003.tfrecord"
  path.write_bytes(path.read_bytes()[:-100])


def without_figures(text: str) -> str:
  """A text without the numbers, paths and line breaks that differ by run."""
  text = re.sub(r"'[^']*'", "''", text)
  text = re.sub(r"\d[\d,.]*", "0", text)
  return " ".join(text.split())


@pytest.fixture(scope="module")
def broken(video_shards, trained_video, tmp_path_factory) -> pathlib.Path:
  """A folder of shards and train dirs with which something is wrong."""
  folder = tmp_path_factory.mktemp("broken")
  no_id = {"name": b"a", "labels": 0, "mean_rgb": 0.5}
  write_examples(folder / "no_id.tfrecord", [no_id])
  n_hot = tf.train.Example()
  n_hot.features.feature["id"].bytes_list.value.append(b"a")
  n_hot.features.feature["labels"].int64_list.value.extend([0, 1] * 10)
  n_hot.features.feature["mean_rgb"].float_list.value.append(0.5)
  with tf.io.TFRecordWriter(str(folder / "n_hot.tfrecord")) as writer:
    writer.write(n_hot.SerializeToString())
  write_frames(folder / "frames.tfrecord", rgb=[2] * 3, audio=[1] * 2)
  write_frames(folder / "bytes.tfrecord", rgb=[3], audio=[1])
  shard = next(video_shards.folder.glob("train*0.tfrecord")).read_bytes()
  place = 100  # In the data of the first record.
  damaged = shard[:place] + bytes([shard[place] ^ 255]) + shard[place + 1 :]
  (folder / "damaged.tfrecord").write_bytes(damaged)
  (folder / "old").mkdir()
  (folder / "old/checkpoint").write_text('model_checkpoint_path: "model-1"')
  (folder / "old/model-1.index").touch()
  shutil.copytree(trained_video.train_dir, folder / "other")
  config_path = folder / "other/model_flags.json"
  config = json.loads(config_path.read_text())
  config_path.write_text(json.dumps({**config, "num_classes": 26}))
  with train_dir.hold(str(folder / "in_use")):
    yield folder


def write_frames(path, rgb, audio):
  """A good video of 2 + 1 bytes per frame, and one with these frame sizes."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for video_id, sizes in (
      (b"a", {"rgb": [2], "audio": [1]}),
      (b"b", {"rgb": rgb, "audio": audio}),
    ):
      example = tf.train.SequenceExample()
      example.context.feature["id"].bytes_list.value.append(video_id)
      example.context.feature["labels"].int64_list.value.append(0)
      for name, frame_sizes in sizes.items():
        frames = example.feature_lists.feature_list[name].feature
        for size in frame_sizes:
          frames.add().bytes_list.value.append(bytes(size))
      writer.write(example.SerializeToString())


TRAIN_VIDEO = "train --train_data_pattern={video}/train*.tfrecord "
TRAIN_FRAME = "train --train_data_pattern={frame}/train*.tfrecord "
TRAIN_BROKEN = (
  "train --model=FrameLevelLogisticModel --train_data_pattern={broken}/"
)

# Words of each error message in the page -> a command that provokes it.
ERRORS = {
  "no file matches": "train --train_data_pattern=/path/to/train*.tfrecord",
  "is empty": "train --train_data_pattern=",
  "unexpected argument": TRAIN_VIDEO + "/path/to/train0001.tfrecord",
  "unknown 'LogisticModl'": TRAIN_VIDEO + "--model=LogisticModl",
  "no argument 'l2'": TRAIN_VIDEO + '--model_kwargs={{"l2":1}}',
  "batch_szie": TRAIN_VIDEO + "--batch_szie=8",
  "reads feature 'inc3'": TRAIN_FRAME + "--feature_names=inc3",
  "should have size": TRAIN_FRAME + "--feature_names=rgb --feature_sizes=512",
  "takes video-level features": TRAIN_FRAME + "--model=LogisticModel",
  "its label": TRAIN_VIDEO + "--num_classes=3",
  "neither 'id' nor": TRAIN_BROKEN + "no_id.tfrecord",
  "number of frames": TRAIN_BROKEN + "frames.tfrecord",
  "frame 0 of its": TRAIN_BROKEN + "bytes.tfrecord",
  "zeros and ones": "train --train_data_pattern={broken}/n_hot.tfrecord",
  "do not match the checksum": (
    "train --train_data_pattern={broken}/damaged.tfrecord --num_classes=25"
  ),
  "contradicts": (
    "eval --eval_data_pattern={video}/validate*.tfrecord "
    "--train_dir={trained} --num_classes=4716"
  ),
  "is in use by": TRAIN_VIDEO + "--train_dir={broken}/in_use",
  "has a checkpoint but no": TRAIN_VIDEO + "--train_dir={broken}/old",
  "does not hold the model": (
    "eval --eval_data_pattern={video}/validate*.tfrecord "
    "--train_dir={broken}/other --run_once"
  ),
  "has no labels": (
    "eval --eval_data_pattern={video}/test*.tfrecord --train_dir={trained}"
  ),
  "The loss is": (
    TRAIN_VIDEO + "--num_classes=25 --batch_size=8 --optimizer=SGD "
    "--base_learning_rate=1e38 --clip_gradient_norm=0"
  ),
  "cannot be written": (
    "inference --input_data_pattern={video}/test*.tfrecord "
    "--train_dir={trained} --output_file={trained}/none/predictions.csv"
  ),
}


def shown_errors() -> list[str]:
  """Every error message of a program that the page shows."""
  return [
    line
    for block in blocks(TROUBLESHOOTING, "text")
    for line in block.splitlines()
    if ": error: " in line
  ]


def without_details(message: str) -> str:
  """A message without the paths, names and numbers that differ from run to run.

  Names of flags, models and features stay.
  """
  message = re.sub(r"'[^' ]*'", "''", message)
  message = re.sub(r"/\S+", "/", message)
  return re.sub(r"\d[\d.e+]*|\binf\b|\bnan\b", "0", message)


class TestErrors:
  def test_each_message_has_a_command_here(self):
    for message in shown_errors():
      assert len([words for words in ERRORS if words in message]) == 1, message
    assert len(shown_errors()) == len(ERRORS)

  @pytest.mark.parametrize("words", ERRORS)
  def test_message_is_what_the_program_says(
    self,
    words,
    fork_program,
    video_shards,
    frame_shards,
    trained_video,
    broken,
    tmp_path,
  ):
    command = ERRORS[words].format(
      video=video_shards.folder,
      frame=frame_shards.folder,
      broken=broken,
      trained=trained_video.train_dir,
    )
    program, *flags = command.split()
    if "--train_dir=" not in command:
      flags.append(f"--train_dir={tmp_path}")
    result = fork_program(program, *flags, check=False)
    (expected,) = [line for line in shown_errors() if words in line]
    assert result.returncode in (1, 2)
    lines = [line for line in result.stderr.splitlines() if ": error: " in line]
    assert [*map(without_details, lines)] == [without_details(expected)]
