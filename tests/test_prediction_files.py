# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of predictions: written, read again by id, refused, evaluated."""

import csv
import io
import json
import math
import tracemalloc
import zipfile

from program import UserError

import numpy as np
import pytest

import cluster
import eval as eval_program
import eval_util
import experiment
import inference
import prediction_files
from config import EnsembleSettings, EvalSettings, InferenceSettings
from prediction_files import LOWEST_LOGIT

RUN = experiment.Run(None, cluster.alone(), None)
# Six videos whose ids need nothing, quotes, or more than ASCII.
IDS = np.array(
  [b"abcd", b"x-_1", b"0", "ünï".encode(), b"a,b", b'say "hi"'], bytes
)
# Confidences of six digits, each once in a row.
CONFIDENCES = np.array(
  [np.random.default_rng(i).permutation(25) / 27 for i in range(len(IDS))],
  np.float32,
).round(6)


def write(items, **settings):
  """Writes [(ids, confidences), ...] to the files that settings ask for."""
  outputs = prediction_files.requested_outputs(
    EnsembleSettings(predictions="none", **settings)
  )
  predictions = (prediction_files.stored_predictions(*item) for item in items)
  prediction_files.write(outputs, predictions, RUN)


def opened(*paths, num_classes=None):
  return prediction_files.open_files(
    [str(path) for path in paths], num_classes, "predictions"
  )


def read(path, video_ids, num_classes=None):
  with opened(path, num_classes=num_classes) as (file,):
    return file.logits(video_ids)


def log_odds(confidences):
  confidences = np.asarray(confidences, np.float64)
  return np.log(confidences / (1 - confidences))


class TestArrays:
  # ln 3 = 1.098612, ln(2^23 - 1) = 15.942385.
  HAND_WORKED = ([0.5, 0.75, 0.0, 1.0], [0, 1.098612, -15.942385, 15.942385])

  @pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 4e-3), ("float32", 1e-6)]
  )
  def test_hand_worked_logits_that_numpy_reads(
    self, dtype, tolerance, tmp_path
  ):
    path = tmp_path / "p.npz"
    confidences, logits = np.array(self.HAND_WORKED, np.float32)
    batches = [([b"a"], confidences[None]), ([b"longer"], confidences[None])]
    write(batches, predictions_file=str(path), predictions_dtype=dtype)
    with np.load(path) as file:
      assert sorted(file.files) == ["ids", "logits"]
      assert file["ids"].tolist() == [b"a", b"longer"]
      assert file["logits"].dtype == dtype
      assert file["logits"] == pytest.approx(
        np.stack([logits] * 2), rel=tolerance, abs=1e-6
      )
    assert list(tmp_path.iterdir()) == [path]
    first = path.read_bytes()
    write(batches, predictions_file=str(path), predictions_dtype=dtype)
    assert path.read_bytes() == first

  def test_logits_and_confidences_of_each_other(self):
    confidences = np.array([2.0**-23, 0.001, 0.3, 0.999, 1 - 2.0**-23])
    logits = prediction_files.logits_of(confidences)
    assert logits == pytest.approx(log_odds(confidences))
    again = prediction_files.confidences_of(logits)
    assert again == pytest.approx(confidences, rel=1e-6)
    extremes = np.array([-1e4, 1e4], np.float32)
    assert prediction_files.confidences_of(extremes).tolist() == [0, 1]

  def test_no_videos(self, tmp_path):
    for batches in ([], [([], np.zeros((0, 3), np.float32))]):
      write(batches, predictions_file=str(tmp_path / "p.npz"))
      with np.load(tmp_path / "p.npz") as file:
        assert file["ids"].shape == (0,)

  def test_an_error_leaves_what_was_there(self, tmp_path):
    paths = [tmp_path / "p.npz", tmp_path / "p.csv"]
    for path in paths:
      path.write_text("from a run before")

    def failing():
      yield IDS, CONFIDENCES
      raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
      write(
        failing(), predictions_file=str(paths[0]), output_file=str(paths[1])
      )
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert {path.read_text() for path in paths} == {"from a run before"}

  def test_memory_does_not_grow_with_the_file(self, tmp_path):
    path, size, num_classes = str(tmp_path / "p.npz"), 512, 1000

    def batches():
      for number in range(30):  # 31 MB in the file.
        ids = np.arange(number * size, (number + 1) * size).astype("S8")
        yield ids, np.full((size, num_classes), number / 30, np.float32)

    tracemalloc.start()
    write(batches(), predictions_file=path)
    with opened(path) as (file,):
      means = [block.mean() for block in file.blocks()]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert means[1:] == pytest.approx(log_odds(np.arange(1, 30) / 30), abs=4e-3)
    assert peak < 16e6  # A batch is of 2 MB, and there are a few copies of it.


@pytest.fixture(params=["npz", "csv"])
def path(request, tmp_path):
  """A file of the six videos, in either form."""
  path = tmp_path / f"p.{request.param}"
  # In two batches of other widths of ids.
  batches = [(IDS[:2], CONFIDENCES[:2]), (IDS[2:], CONFIDENCES[2:])]
  if request.param == "npz":
    write(batches, predictions_file=str(path), predictions_dtype="float32")
  else:
    write(batches, output_file=str(path), top_k=25)
  return path


class TestReading:
  def test_any_rows_in_any_order(self, path):
    expected = log_odds(CONFIDENCES.clip(2.0**-23))
    orders = ([0, 1, 2, 3, 4, 5], [5, 3, 4, 0], [2], [1, 2, 1], [])
    with opened(path, num_classes=25) as (file,):
      assert file.video_ids.tolist() == IDS.tolist()
      for order in orders:
        found = file.logits(IDS[order])
        assert found.dtype == np.float32
        assert found == pytest.approx(expected[order], rel=1e-4)

  def test_videos_that_are_not_there_have_the_lowest_scores(self, path):
    video_ids = [b"zzzz", IDS[4], b"", b"abcde"]
    found = read(path, video_ids, num_classes=25)
    assert (found[[0, 2, 3]] == np.float32(LOWEST_LOGIT)).all()
    assert found[1].argmax() == CONFIDENCES[4].argmax()

  def test_no_file(self, tmp_path):
    for name in ("p.csv", "p.npz"):
      with pytest.raises(UserError, match=f"{name}': there is no such file"):
        read(tmp_path / name, IDS)

  def test_other_numbers_of_classes(self, path, tmp_path):
    other = tmp_path / "other.npz"
    write([(IDS, CONFIDENCES[:, :9])], predictions_file=str(other))
    # The CSV alone cannot tell; here, it has classes that the other has not.
    with pytest.raises(UserError, match="outside|25 classes|9 classes"):
      with opened(path, other) as files:
        files[0].logits(IDS)


def rows(*lines):
  return b"".join(line + b"\n" for line in lines)


class TestCsv:
  def test_what_is_not_listed_is_0(self, tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "p.csv"
    path.write_bytes(rows(b"A,3 0.75 0 0.5", b"B,1 0.25"))
    lowest = LOWEST_LOGIT
    assert read(path, [b"B", b"A"], num_classes=4) == pytest.approx(
      np.array(
        [
          [lowest, -math.log(3), lowest, lowest],
          [0, lowest, lowest, math.log(3)],
        ]
      )
    )
    assert f"{path} does not list all of 4 classes" in caplog.text

  @pytest.mark.parametrize(
    "content",
    [
      rows(b"VideoId,LabelConfidencePairs", b"A,3 0.75 0 0.5", b"B,1 0.5"),
      b"\xef\xbb\xbfA,3 0.75 0 0.5\r\nB,1 0.5\r\n\r\n",
      b"\n\nB,1 0.5\n\n\nA,0 5e-1  3 .75 ",
      b'\xef\xbb\xbfVideoId,LabelConfidencePairs\r\n"A",3 0.75 0 0.5\nB,1 0.5',
    ],
  )
  def test_other_writers(self, content, tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    found = read(path, [b"A", b"B"], num_classes=4)
    assert found.argsort(axis=1)[:, -1].tolist() == [3, 1]
    assert found[0, 3] == pytest.approx(math.log(3))

  @pytest.mark.parametrize(
    ("line", "problem"),
    [
      (b"C", "it has no id, or no comma"),
      (b",3 0.5", "it has no id, or no comma"),
      (b'"C,3 0.5', "it has no id, or no comma"),
      (b"C,3 0.5 2", "its last class has no confidence"),
      (b"C,3 0.5x", "could not convert string to float"),
      (b"C,three 0.5", "could not convert string to float"),
      (b"C,4 0.5", r"class 4 is outside \[0, 4\)"),
      (b"C,-1 0.5", r"class -1 is outside \[0, 4\)"),
      (b"C,1.5 0.5", r"class 1.5 is outside"),
      (b"C,1e99 0.5", r"class 1e\+99 is outside"),
      (b"C,3 nan", r"confidence nan is outside \[0, 1\]"),
      (b"C,3 1.01", r"confidence 1.01 is outside \[0, 1\]"),
      (b"C,3 0.5 1 0.4 3 0.1", "a class is there twice"),
    ],
  )
  def test_rows_that_are_wrong_are_named(self, line, problem, tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(
      rows(b"VideoId,LabelConfidencePairs", b"A,3 0.5", b"", line, b"B,1 0.5")
    )
    match = f"--predictions=.*p.csv', line 4: .*{problem}"
    with pytest.raises(UserError, match=match):
      read(path, [b"A", b"C", b"B"], num_classes=4)

  def test_videos_that_are_there_twice(self, tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(rows(b"A,3 0.5", b"B,3 0.5", b"A,1 0.5"))
    with pytest.raises(UserError, match="p.csv' has video 'A' twice"):
      read(path, [b"B"], num_classes=4)


def saved(save=np.savez, **arrays) -> bytes:
  buffer = io.BytesIO()
  save(buffer, **arrays)
  return buffer.getvalue()


TWO = {"ids": np.array([b"A", b"B"]), "logits": np.eye(2, 3)}


def test_no_rows(tmp_path):
  path = tmp_path / "p.csv"
  for content in (b"", b"VideoId,LabelConfidencePairs\n", b"\n\n"):
    path.write_bytes(content)
    with pytest.raises(UserError, match="p.csv' has no row"):
      read(path, [b"A"])


class TestOtherArrays:
  def test_those_of_numpy_are_taken(self, tmp_path):
    path = tmp_path / "p.npz"
    for dtype in (">f2", "<f8"):
      logits = TWO["logits"].astype(dtype)
      path.write_bytes(saved(more=[1], **{**TWO, "logits": logits}))
      assert read(path, [b"B"]).tolist() == [[0, 1, 0]]

  @pytest.mark.parametrize(
    ("content", "problem"),
    [
      (b"", "is no file that --predictions_file or numpy.savez made"),
      (b"A,3 0.5\n", "is no file that --predictions_file or numpy.savez made"),
      (saved(**TWO)[:-40], "is no file that .*savez made"),
      (saved(ids=TWO["ids"]), "There is no item named 'logits.npy'"),
      (saved(logits=TWO["logits"]), "There is no item named 'ids.npy'"),
      (saved(np.savez_compressed, **TWO), "'ids' is compressed"),
      (
        saved(ids=TWO["ids"], logits=np.asfortranarray(TWO["logits"])),
        "'logits' is in columns, or was cut",
      ),
      (
        saved(ids=TWO["ids"], logits=np.eye(3)),
        r"has \|S1 \[2\] and float64 \[3, 3\]",
      ),
      (
        saved(ids=TWO["ids"].astype(str), logits=np.eye(2)),
        r"has <U1 \[2\] and float64 \[2, 2\]",
      ),
      (
        saved(ids=TWO["ids"], logits=np.eye(2, dtype=int)),
        r"has \|S1 \[2\] and int64 \[2, 2\]",
      ),
      (saved(ids=TWO["ids"], logits=np.ones(2)), r"and float64 \[2\]"),
      (saved(ids=TWO["ids"], logits=np.ones((2, 0))), r"and float64 \[2, 0\]"),
      (
        saved(ids=np.array([], bytes), logits=np.ones((0, 2))),
        r"has \|S1 \[0\] and float64 \[0, 2\]",
      ),
      (
        saved(ids=np.array([b"A", b"A"]), logits=np.eye(2)),
        "has video 'A' twice",
      ),
      (
        saved(ids=TWO["ids"], logits=np.array([[1.0], [np.nan]])),
        "the logits of video 'B' are not finite",
      ),
    ],
  )
  def test_others_are_refused(self, content, problem, tmp_path):
    path = tmp_path / "p.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^--predictions=.*p.npz'.*{problem}"):
      read(path, [b"A", b"B"])

  def test_a_shape_that_the_file_does_not_have(self, tmp_path):
    path = tmp_path / "p.npz"
    with zipfile.ZipFile(path, "w") as archive:
      for name, dtype, shape in (("ids", "|S1", (2,)), ("logits", "<f2", None)):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
          header,
          {
            "descr": dtype,
            "fortran_order": False,
            "shape": shape or (10**12, 10**6),
          },
        )
        archive.writestr(f"{name}.npy", header.getvalue() + b"AB")
    with pytest.raises(UserError, match="'logits' is in columns, or was cut"):
      read(path, [b"A"])


def infer(trained, pattern, **settings):
  inference.infer(
    InferenceSettings(
      input_data_pattern=pattern,
      train_dir=str(trained.train_dir),
      jit_compile=False,
      **settings,
    )
  )


@pytest.fixture(scope="module")
def written(trained_video, tmp_path_factory):
  """Paths of the predictions for the validation videos: all, and the best 4."""
  folder = tmp_path_factory.mktemp("written")
  arrays, best = folder / "p.npz", folder / "p.csv"
  infer(
    trained_video,
    trained_video.shards.validate,
    predictions_file=str(arrays),
    predictions_dtype="float32",
    output_file=str(best),
    top_k=4,
  )
  return arrays, best


def evaluate(shards, path, given=None, **settings):
  return eval_program.evaluate(
    EvalSettings(eval_data_pattern=shards, predictions=str(path), **settings),
    given,
  )


class TestPrograms:
  def test_both_files_say_the_same(self, written):
    arrays, best = written
    with np.load(arrays) as file:
      logits = dict(zip(file["ids"].tolist(), file["logits"], strict=True))
    with best.open(newline="") as file:
      lines = list(csv.DictReader(file))
    assert len(lines) == len(logits) == 61
    for line in lines:
      own = logits[line["VideoId"].encode()]
      words = line["LabelConfidencePairs"].split()
      classes = np.argsort(-own, kind="stable")[:4]
      assert list(map(int, words[0::2])) == classes.tolist()
      assert [float(word) for word in words[1::2]] == pytest.approx(
        1 / (1 + np.exp(-own[classes])), abs=1e-6
      )

  def test_metrics_are_those_of_the_model(
    self, written, trained_video, evaluated_video, tmp_path
  ):
    results = evaluate(
      trained_video.shards.validate,
      written[0],
      eval_dir=str(tmp_path),
      batch_size=7,
    )
    expected = evaluated_video.results
    for name in ("hit_at_one", "perr", "map", "gap", "loss", "num_videos"):
      assert results[name] == pytest.approx(expected[name], rel=1e-5)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text()) == {
      "predictions": str(written[0]),
      **results,
    }

  def test_metrics_of_a_csv_without_all_classes(self, written, trained_video):
    shards = trained_video.shards
    results = evaluate(shards.validate, written[1], {"num_classes": 25})
    with np.load(written[0]) as file:
      scores = 1 / (1 + np.exp(-file["logits"]))
      video_ids = file["ids"].tolist()
    scores = scores.round(6)
    # All but the best four are 0.
    np.put_along_axis(
      scores, np.argsort(-scores, axis=1, kind="stable")[:, 4:], 0, axis=1
    )
    labels = np.zeros(scores.shape)
    for row, own in zip(video_ids, labels, strict=True):
      own[list(shards.labels("validate")[row.decode()])] = 1
    assert results["gap"] == pytest.approx(
      eval_util.calculate_gap(scores, labels)
    )
    assert results["hit_at_one"] == pytest.approx(
      eval_util.calculate_hit_at_one(scores, labels)
    )

  def test_missing_and_unknown_videos_are_said(
    self, written, trained_video, tmp_path, caplog
  ):
    caplog.set_level("INFO")
    with np.load(written[0]) as file:
      ids, logits = file["ids"], file["logits"]
    ids[:3] = [b"un1", b"un2", b"un3"]
    path = tmp_path / "p.npz"
    np.savez(path, ids=ids[:50], logits=logits[:50])
    results = evaluate(trained_video.shards.validate, path)
    assert results["num_videos"] == 61
    text = " ".join(caplog.text.split())
    missing = f"14 of the 61 videos of the shards are not in {path}"
    assert f"{missing}; their labels count as not found." in text
    assert f"3 videos of {path} are not in the shards." in text
    with pytest.raises(UserError, match="none of the 121 videos of the shards"):
      evaluate(trained_video.shards.train, path)

  def test_what_is_missing_is_no_hit(self, trained_video, tmp_path):
    shards = trained_video.shards
    ids = list(shards.labels("validate"))
    logits = np.full([len(ids), shards.num_classes], -20, np.float32)
    np.savez(tmp_path / "p.npz", ids=np.array(ids, bytes), logits=logits)
    results = evaluate(shards.validate, tmp_path / "p.npz")
    assert results["hit_at_one"] == results["perr"] == 0

  def test_logits_beyond_the_scale(self, trained_video, tmp_path, caplog):
    shards = trained_video.shards
    ids = list(shards.labels("validate"))
    logits = np.full([len(ids), shards.num_classes], -1e300)
    for row, video_id in enumerate(ids):
      logits[row, list(shards.labels("validate")[video_id])] = 1e300
    np.savez(tmp_path / "p.npz", ids=np.array(ids, bytes), logits=logits)
    results = evaluate(shards.validate, tmp_path / "p.npz")
    assert results["gap"] == 1
    assert "has logits beyond 15.94, which are limited" in caplog.text

  def test_damage_shows(self, written, trained_video, tmp_path):
    path = tmp_path / "p.npz"
    data = bytearray(written[0].read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged: the checksum of 'logits"):
      evaluate(trained_video.shards.validate, path)

  def test_frame_level_shards(self, trained_frame, evaluated_frame, tmp_path):
    path = tmp_path / "p.npz"
    infer(
      trained_frame, trained_frame.shards.validate, predictions_file=str(path)
    )
    results = evaluate(trained_frame.shards.validate, path)
    # Float16 has three digits.
    for name in ("map", "gap", "loss"):
      expected = evaluated_frame.results[name]
      assert results[name] == pytest.approx(expected, rel=5e-3)

  @pytest.mark.parametrize(
    ("settings", "message"),
    [
      ({}, "nothing to write. Give one of --output_file, --predictions_file."),
      (
        {"predictions_file": "p.csv"},
        "--predictions_file='p.csv' should end in .npz",
      ),
      (
        {"output_file": "p.npz", "predictions_file": "p.npz"},
        "Two files are to be written to 'p.npz'. Name others",
      ),
      (
        {
          "output_file": "p.csv",
          "embeddings_file": "p.names.csv",
          "vocabulary_file": "v.csv",
        },
        "Two files are to be written to 'p.names.csv'",
      ),
      (
        {"predictions_file": "p.npz", "vocabulary_file": "v.csv"},
        "--vocabulary_file is for the names beside --output_file",
      ),
      (
        {"output_file": "p.csv", "predictions_dtype": "int8"},
        "--predictions_dtype='int8' should be one of float16, float32",
      ),
    ],
  )
  def test_wrong_settings(self, settings, message):
    with pytest.raises(UserError, match=message):
      InferenceSettings(input_data_pattern="a*", **settings)

  def test_predictions_are_of_whole_videos(self):
    for more in ({"segment_labels": True}, {"segment_predictions": "s.csv"}):
      with pytest.raises(UserError, match="--predictions are of whole videos"):
        EvalSettings(eval_data_pattern="a*", predictions="p.csv", **more)
