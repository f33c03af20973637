# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of inference.py: the CSV files that it writes, and when it does."""

import csv
import io
import pathlib
import re
import signal

from program import UserError

import numpy as np
import pytest

import prediction_files
from tools import sample_data
from vocabulary import read_vocabulary

ROW = re.compile(r"[\w-]{4},\d+ [01]\.\d{6}( \d+ [01]\.\d{6})*")


def infer(run, trained, pattern, output, *flags, **options):
  return run(
    "inference",
    f"--train_dir={trained.train_dir}",
    f"--input_data_pattern={pattern}",
    f"--output_file={output}",
    *flags,
    **options,
  )


def predictions(path: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """Video id -> (class, confidence) pairs, as written."""
  rows = {}
  with path.open(newline="") as file:
    for record in csv.DictReader(file):
      values = record["LabelConfidencePairs"].split(" ")
      pairs = zip(map(int, values[::2]), map(float, values[1::2]), strict=True)
      assert record["VideoId"] not in rows
      rows[record["VideoId"]] = list(pairs)
  return rows


@pytest.fixture(scope="module")
def video_csv(run_program, trained_video, tmp_path_factory):
  """Path of the video-level predictions, by a process of its own."""
  path = tmp_path_factory.mktemp("video_csv") / "predictions.csv"
  result = infer(
    run_program,
    trained_video,
    trained_video.shards.validate,
    path,
    # Whoever uses Keras with another backend can use the suite all the same.
    env={"KERAS_BACKEND": "jax"},
  )
  return path, result


@pytest.fixture(scope="module")
def frame_csv(fork_program, trained_frame, tmp_path_factory):
  path = tmp_path_factory.mktemp("frame_csv") / "predictions.csv"
  shards = trained_frame.shards
  return path, infer(fork_program, trained_frame, shards.validate, path)


@pytest.fixture(params=["video", "frame"])
def level(request):
  return request.param


@pytest.fixture
def trained(level, request):
  return request.getfixturevalue(f"trained_{level}")


@pytest.fixture
def written(level, request) -> pathlib.Path:
  return request.getfixturevalue(f"{level}_csv")[0]


class TestPredictions:
  def test_rows(self, written, trained):
    text = written.read_bytes().decode("ascii")
    assert text.endswith("\n")
    assert "\r" not in text
    header, *lines = text.splitlines()
    assert header == "VideoId,LabelConfidencePairs"
    assert len(lines) == 61
    assert all(map(ROW.fullmatch, lines))
    rows = predictions(written)
    assert set(rows) == set(trained.shards.labels("validate"))
    num_classes = trained.shards.num_classes
    for row in rows.values():
      classes, confidences = zip(*row, strict=True)
      # The frame-level model has fewer classes than a row has places.
      assert len(classes) == len(set(classes)) == min(20, num_classes)
      assert set(classes) <= set(range(num_classes))
      assert list(confidences) == sorted(confidences, reverse=True)
      assert all(0 <= confidence <= 1 for confidence in confidences)

  def test_another_run_writes_the_identical_file(
    self, written, trained, fork_program, tmp_path
  ):
    path = tmp_path / "again.csv"
    path.write_text("from a run before")
    result = infer(fork_program, trained, trained.shards.validate, path)
    assert path.read_bytes() == written.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
    assert f"Wrote 61 videos to {path} (" in result.stderr

  def test_another_keras_backend_is_ignored_in_one_line(self, video_csv):
    _, result = video_csv
    warning, *log = result.stderr.splitlines()
    assert warning.endswith(
      "WARNING KERAS_BACKEND=jax is ignored: this suite runs on TensorFlow."
    )
    assert result.stdout == ""
    assert " INFO Predicting on " in log.pop(0)
    assert re.search(
      r"INFO num examples processed: 61 \| [\d.]+ examples/sec$", log[0]
    )
    assert re.search(
      r"INFO Wrote 61 videos to .* \([\d.]+ examples/sec\)\.$", log[1]
    )
    assert len(log) == 2


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.csv"
  sample_data.write_vocabulary(str(path), num_classes=25, seed=1)
  return path


def test_unlabelled_shards_all_classes_and_names(
  trained_video, vocabulary, fork_program, tmp_path
):
  path = tmp_path / "with.dots" / "predictions.of.test.csv"
  path.parent.mkdir()
  infer(
    fork_program,
    trained_video,
    trained_video.shards.test,
    path,
    "--top_k=1000",
    "--batch_size=5",
    f"--vocabulary_file={vocabulary}",
  )
  rows = predictions(path)
  assert set(rows) == set(trained_video.shards.labels("test"))
  for row in rows.values():
    assert sorted(index for index, _ in row) == list(range(25))

  with vocabulary.open(newline="") as file:
    records = list(csv.DictReader(file))
  names = {int(record["Index"]): record["Name"] for record in records}
  graph_ids = {int(r["Index"]): r["KnowledgeGraphId"] for r in records}
  assert list(names) != sorted(names)
  assert "" in names.values()
  names_path = path.with_name("predictions.of.test.names.csv")
  with names_path.open(newline="") as file:
    named = list(csv.reader(file))
  assert named[0] == ["VideoId", "Index", "Name", "Confidence"]
  assert named[1:] == [
    [video_id, str(index), names[index] or graph_ids[index], f"{score:.6f}"]
    for video_id, row in rows.items()
    for index, score in row
  ]
  assert set(path.parent.iterdir()) == {path, names_path}


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_file_is_complete_or_not_there(
  signum, trained_video, vocabulary, start_program, tmp_path
):
  old = tmp_path / "predictions.csv"
  old.write_text("from a run before")
  process = infer(
    start_program,
    trained_video,
    trained_video.shards.validate,
    old,
    f"--vocabulary_file={vocabulary}",
  )
  # The temporary files are there while the model is being compiled.
  process.wait_until(lambda: len(list(tmp_path.glob("*.tmp"))) == 2)
  process.signal(signum)
  result = process.wait()

  assert old.read_text() == "from a run before"
  assert not (tmp_path / "predictions.names.csv").exists()
  assert "Traceback" not in result.output
  if signum == signal.SIGTERM:  # It can tidy up after this one.
    assert result.returncode == 143
    assert list(tmp_path.iterdir()) == [old]
  else:
    assert result.returncode == -signal.SIGKILL


class TestRows:
  SCORES = np.array([[1.0, 0.25], [0.1234567, 0.0], [0.5, 4e-7]], np.float32)
  CLASSES = np.array([[7, 0], [3861, 12], [1, 2]], np.int32)

  def test_plain_ids(self):
    rows = prediction_files.format_rows(
      [b"abcd", b"x-_1", b"0"], *self.arrays()
    )
    assert rows == (
      b"abcd,7 1.000000 0 0.250000\n"
      b"x-_1,3861 0.123457 12 0.000000\n"
      b"0,1 0.500000 2 0.000000\n"
    )

  IDS = ("a,b", 'say "hi"', "two\nlines\r\nthree", " ", "ünï", '"', "%d%s")

  @pytest.mark.parametrize("text", IDS)
  def test_csv_readers_get_any_id_and_name_back(self, text):
    ids = [text.encode(), b"plain", text.encode()]
    rows = prediction_files.format_rows(ids, *self.arrays())
    assert self.read(rows) == [
      [text, "7 1.000000 0 0.250000"],
      ["plain", "3861 0.123457 12 0.000000"],
      [text, "1 0.500000 2 0.000000"],
    ]
    names = {7: text, 0: "Zero", 12: 'a "name"', 1: "b", 2: ""}
    rows = prediction_files.format_named_rows(ids, *self.arrays(), names)
    assert self.read(rows) == [
      [text, "7", text, "1.000000"],
      [text, "0", "Zero", "0.250000"],
      ["plain", "3861", "class 3861", "0.123457"],
      ["plain", "12", 'a "name"', "0.000000"],
      [text, "1", "b", "0.500000"],
      [text, "2", "", "0.000000"],
    ]

  def test_no_videos(self):
    empty = np.zeros((0, 2))
    assert prediction_files.format_rows([], empty, empty.astype(int)) == b""

  def arrays(self):
    return self.SCORES, self.CLASSES

  @staticmethod
  def read(rows: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(rows.decode(), newline="")))


class TestVocabulary:
  def test_rows_in_any_order_and_classes_without_a_name(self, tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(
      "Index,KnowledgeGraphId,Name\n"
      '3,/m/3,"Caf\u00e9, ""bar""\nand more"\n'
      "0,/m/0,Game\n"
      "2,,\n"
      "1,/m/1,\n".encode()
    )
    assert read_vocabulary(str(path)) == {
      0: "Game",
      1: "/m/1",
      2: "class 2",
      3: 'Caf\u00e9, "bar"\nand more',
    }

  def test_index_and_name_are_enough(self, tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_text("Index,Name\n1,\n0,Game\n")
    assert read_vocabulary(str(path)) == {0: "Game", 1: "class 1"}

  def test_that_of_audioset(self, tmp_path):
    path = tmp_path / "class_labels_indices.csv"
    path.write_text(
      'index,mid,display_name\n0,/m/09x0r,"Speech"\n'
      '1,/m/05zppz,"Male speech, man speaking"\n2,/m/02zsn,""\n'
    )
    assert read_vocabulary(str(path)) == {
      0: "Speech",
      1: "Male speech, man speaking",
      2: "/m/02zsn",
    }

  @pytest.mark.parametrize(
    "content",
    [
      b"Number,Name\n0,Game\n",
      b"Index,Title\n0,Game\n",
      b"Index,Name\nzero,Game\n",
      b"Index,Name\n0,Caf\xe9\n",
    ],
  )
  def test_other_files_are_refused(self, content, tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="--vocabulary_file=.*vocabulary.csv"):
      read_vocabulary(str(path))

  def test_file_that_is_not_there(self, tmp_path):
    with pytest.raises(UserError, match="--vocabulary_file=.* cannot be read"):
      read_vocabulary(str(tmp_path / "none.csv"))


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_the_csv_alone_on_standard_output(
  output, trained_video, fork_program, tmp_path
):
  def run(path, **options):
    return fork_program(
      "inference",
      f"--output_file={path}",
      f"--input_data_pattern={trained_video.shards.validate}",
      f"--train_dir={trained_video.train_dir}",
      *options.pop("more", ()),
      **options,
    )

  run(tmp_path / "file.csv")
  result = run(output)
  assert result.stdout == (tmp_path / "file.csv").read_text()
  assert f"Wrote 61 videos to {output}" in result.stderr
  assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]
  result = run(output, more=["--vocabulary_file=v.csv"], check=False)
  assert "is no file beside which the CSV of names could lie" in result.stderr
