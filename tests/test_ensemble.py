# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""ensemble.py: means of files of predictions, and weights that are best."""

import csv

from program import UserError

import numpy as np
import pytest
from test_readers import make_record, video_context, write_shard

import ensemble
import eval_util
from config import EnsembleSettings

IDS = [b"A", b"B"]
# Confidences of three classes whose logits are 2 ln 3, 0, -2 ln 3, and so on.
FIRST = [[0.9, 0.5, 0.1], [0.5, 0.75, 0.25]]
SECOND = [[0.5, 0.5, 0.5], [0.1, 0.25, 0.9]]


def save(path, video_ids, confidences):
  confidences = np.asarray(confidences, np.float64)
  logits = np.log(confidences / (1 - confidences)).astype(np.float32)
  np.savez(path, ids=np.array(video_ids, bytes), logits=logits)
  return str(path)


@pytest.fixture
def files(tmp_path):
  """The two files; the second has the videos in another order."""
  return [
    save(tmp_path / "a.npz", IDS, FIRST),
    save(tmp_path / "b.npz", IDS[::-1], SECOND[::-1]),
  ]


def mean_of(paths, tmp_path, **settings) -> dict[str, list[float]]:
  """Video id -> confidence of each class, by class, in the result's order."""
  output = tmp_path / "mean.csv"
  ensemble.ensemble(
    EnsembleSettings(
      predictions=",".join(paths), output_file=str(output), **settings
    )
  )
  means = {}
  with output.open(newline="") as file:
    for row in csv.DictReader(file):
      words = row["LabelConfidencePairs"].split()
      pairs = zip(map(int, words[0::2]), map(float, words[1::2]), strict=True)
      means[row["VideoId"]] = [score for _, score in sorted(pairs)]
  return means


class TestMeans:
  @pytest.mark.parametrize(
    ("settings", "expected"),
    [
      # (2 ln 3 + 0) / 2 = ln 3, which is 3:1; -ln 3 for the third class. Of B:
      # (0 - 2 ln 3) / 2 = -ln 3; (ln 3 - ln 3) / 2; (-ln 3 + 2 ln 3) / 2, which
      # is 1 : 3^0.5.
      ({}, [[0.75, 0.5, 0.25], [0.25, 0.5, 3**0.5 / (1 + 3**0.5)]]),
      # 2 ln 3 * 3/4 is 3^1.5 : 1.
      (
        {"weights": (3.0, 1.0)},
        [
          [3**1.5 / (1 + 3**1.5), 0.5, 1 / (1 + 3**1.5)],
          [1 / (1 + 3**0.5), 3**0.5 / (1 + 3**0.5), 1 / (1 + 3**0.25)],
        ],
      ),
      ({"weights": (0.0, 0.5)}, SECOND),
      (
        {"mean_of": "probabilities"},
        [[0.7, 0.5, 0.3], [0.3, 0.5, 0.575]],
      ),
      (
        {"mean_of": "probabilities", "weights": (1.0, 3.0)},
        [[0.6, 0.5, 0.4], [0.2, 0.375, 0.7375]],
      ),
      # Of the first file's six scores .1 .25 .5 .5 .75 .9, the shares below:
      # .5/6, 1.5/6, 3/6 (two are equal), 4.5/6, 5.5/6. Of the second's .1 .25
      # .5 .5 .5 .9: .5/6, 1.5/6, 3.5/6, 5.5/6.
      (
        {"mean_of": "ranks"},
        np.array([[9, 6.5, 4], [3.5, 6, 7]]) / 12,
      ),
    ],
  )
  def test_hand_worked(self, files, tmp_path, settings, expected):
    found = mean_of(files, tmp_path, **settings)
    assert list(found) == ["A", "B"]
    assert list(found.values()) == [
      pytest.approx(row, abs=1e-5) for row in expected
    ]

  def test_a_csv_without_all_classes(self, files, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("B,2 0.5\nA,0 0.6 2 0.2\n")
    found = mean_of([files[0], str(path)], tmp_path, mean_of="probabilities")
    assert found["A"] == pytest.approx([0.75, 0.25, 0.15], abs=1e-6)
    assert found["B"] == pytest.approx([0.25, 0.375, 0.375], abs=1e-6)
    alone = mean_of([str(path)], tmp_path, num_classes=4)
    assert alone["A"] == pytest.approx([0.6, 0, 0.2, 0], abs=1e-6)

  def test_missing_videos(self, files, tmp_path, caplog):
    caplog.set_level("INFO")
    third = save(tmp_path / "c.npz", [b"C", b"A", b"D"], [[0.5] * 3] * 3)
    paths = [third, *files]
    found = mean_of(paths, tmp_path)
    assert list(found) == ["A"]
    for path, count in zip(paths, (2, 1, 1), strict=True):
      line = f"{count} videos of {path} are left out: not all files have them."
      assert line in caplog.text

    settings = {"missing": "zero", "mean_of": "probabilities"}
    found = mean_of(paths, tmp_path, **settings)
    assert list(found) == ["C", "A", "D", "B"]
    assert found["C"] == pytest.approx([1 / 6] * 3, abs=1e-6)
    assert found["B"] == pytest.approx([0.2, 1 / 3, 1.15 / 3], abs=1e-6)
    for path, count in zip(paths, (1, 2, 2), strict=True):
      line = f"{count} videos are not in {path}; their confidences count as 0"
      assert line in caplog.text

    with pytest.raises(UserError, match="no video is in all files"):
      mean_of(
        [files[0], save(tmp_path / "d.npz", [b"X"], [[0.5] * 3])], tmp_path
      )

  def test_the_mean_of_more_videos_than_are_read_at_a_time(self, tmp_path):
    rng = np.random.default_rng(4)
    confidences = rng.uniform(0.01, 0.99, (3, 1500, 5))
    ids = np.array([b"%d" % number for number in range(1500)])
    paths = []
    for number, own in enumerate(confidences):
      order = rng.permutation(1500)
      paths.append(save(tmp_path / f"{number}.npz", ids[order], own[order]))
    ensemble.ensemble(
      EnsembleSettings(
        predictions=", ".join(paths),
        predictions_file=str(tmp_path / "mean.npz"),
        predictions_dtype="float32",
      )
    )
    expected = np.log(confidences / (1 - confidences)).mean(axis=0)
    with np.load(tmp_path / "mean.npz") as file:
      numbers = file["ids"].astype(int)
      assert sorted(numbers) == list(range(1500))
      assert file["logits"] == pytest.approx(expected[numbers], abs=1e-5)


def test_high_logits_keep_their_distances(tmp_path):
  logits = np.array([[14.5, 14.53125, 14.5625, 15.0, -15.0]])
  paths = []
  for name in ("a", "b"):
    paths.append(str(tmp_path / f"{name}.npz"))
    np.savez(paths[-1], ids=np.array([b"A"]), logits=logits)
  ensemble.ensemble(
    EnsembleSettings(
      predictions=",".join(paths),
      predictions_file=str(tmp_path / "mean.npz"),
      predictions_dtype="float32",
    )
  )
  with np.load(tmp_path / "mean.npz") as file:
    assert file["logits"] == pytest.approx(logits, abs=1e-4)


def write_labels(path, labels):
  """A shard of videos "0", "1", ... with these labels."""
  records = [
    make_record(video_context(b"%d" % number, np.flatnonzero(own).tolist()))
    for number, own in enumerate(labels)
  ]
  return write_shard(path, records)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
  """Three files and labels, of 300 videos.

  The first two have the noise of each other, times 1 and -3: with weights of
  3:1 it is gone, and all labels are above all other classes. The third is
  noise.
  """
  folder = tmp_path_factory.mktemp("noisy")
  rng = np.random.default_rng(5)
  labels = rng.uniform(size=(300, 30)) < 0.1
  truth, noise, other = (
    np.where(labels, 0.1, -0.1),
    *rng.normal(size=(2, *labels.shape)),
  )
  ids = np.array([b"%d" % number for number in range(300)])
  paths = []
  for number, logits in enumerate((truth + noise, truth - 3 * noise, other)):
    paths.append(str(folder / f"{number}.npz"))
    np.savez(paths[-1], ids=ids, logits=logits)
  return paths, write_labels(folder / "validate.tfrecord", labels), labels


class TestWeights:
  def test_the_best_ones_are_found(self, noisy, tmp_path, caplog):
    caplog.set_level("INFO")
    paths, shard, labels = noisy
    results = ensemble.ensemble(
      EnsembleSettings(
        predictions=",".join(paths),
        tune_on=shard,
        predictions_file=str(tmp_path / "mean.npz"),
        predictions_dtype="float32",
      )
    )
    first, second, third = results["weights"]
    assert first + second + third == pytest.approx(1)
    assert first / second == pytest.approx(3, rel=0.1)
    assert third < 0.05
    assert results["gap"] > 0.999
    assert results["num_videos"] == 300
    # It is what the result that is written has, and what a line says.
    with np.load(tmp_path / "mean.npz") as file:
      gap = eval_util.calculate_gap(file["logits"], labels)
    assert results["gap"] == pytest.approx(gap, abs=1e-6)
    assert f"GAP on 300 videos: {gap:.5f} with --weights=" in caplog.text
    for path in paths:
      with np.load(path) as file:
        gap = eval_util.calculate_gap(file["logits"], labels)
      assert f"{gap:.5f} of {path}" in caplog.text

  def test_begins_with_those_that_are_given(self, noisy):
    paths, shard, _ = noisy
    # Here it is at the top already.
    settings = EnsembleSettings(
      predictions=",".join(paths), tune_on=shard, weights=(6.0, 2.0, 0.0)
    )
    assert ensemble.ensemble(settings)["weights"] == [0.75, 0.25, 0]

  @pytest.mark.parametrize("missing", ["skip", "zero"])
  def test_videos_that_files_do_not_have(
    self, noisy, missing, tmp_path, caplog
  ):
    paths, shard, _ = noisy
    with np.load(paths[0]) as file:
      ids, logits = file["ids"], file["logits"]
    parts = []
    for number, part in enumerate((slice(200), slice(100, 299))):
      parts.append(str(tmp_path / f"{number}.npz"))
      np.savez(parts[-1], ids=ids[part], logits=logits[part])
    settings = EnsembleSettings(
      predictions=",".join(parts), tune_on=shard, missing=missing
    )
    num_videos = {"skip": 100, "zero": 299}[missing]
    assert ensemble.ensemble(settings)["num_videos"] == num_videos
    assert f"{300 - num_videos} videos are left out, which" in caplog.text

  def test_labels_of_other_classes(self, noisy, files):
    settings = EnsembleSettings(predictions=",".join(files), tune_on=noisy[1])
    with pytest.raises(UserError, match=r"label .* outside \[0, 3\)"):
      ensemble.ensemble(settings)

  def test_climbing_finds_the_top(self):
    top = np.array([0.7, 0.0, 0.3])
    found = ensemble.climb(
      lambda weights: -np.square(weights - top).sum(), np.ones(3) / 3
    )
    assert found == pytest.approx(top, abs=0.01)
    level = np.array([0.2, 0.8])
    assert ensemble.climb(lambda weights: 0.5, level) is level

  def test_candidates_have_the_gap_of_all_classes(self):
    rng = np.random.default_rng(6)
    scores = rng.normal(size=(3, 50, 200)).astype(np.float32)
    labels = rng.uniform(size=(50, 200)) < 0.03
    candidates = ensemble.candidates_of(scores, labels)
    # The classes of one file alone, and of the mean, are all among them.
    for weights in (*np.eye(3), np.ones(3) / 3):
      expected = eval_util.calculate_gap(
        np.tensordot(weights.astype(np.float32), scores, 1), labels
      )
      assert candidates.gap(weights) == pytest.approx(expected, abs=1e-5)

  def test_fewer_classes_than_count(self):
    labels = np.array([[1, 0, 1], [0, 0, 1]])
    scores = np.array([FIRST, SECOND], np.float32)
    candidates = ensemble.candidates_of(scores, labels)
    for number, own in enumerate(scores):
      expected = eval_util.calculate_gap(own, labels)
      assert candidates.gap(np.eye(2)[number]) == pytest.approx(expected)


class TestProgram:
  def test_flags(self, fork_program, files, tmp_path):
    result = fork_program(
      "ensemble",
      f"--predictions={','.join(files)}",
      "--weights=3,1",
      f"--output_file={tmp_path}/mean.csv",
      "--top_k=1",
    )
    assert f"Wrote 2 videos to {tmp_path}/mean.csv" in result.stderr
    assert (tmp_path / "mean.csv").read_text() == (
      # 3^1.5 and 3^0.5 to 1.
      "VideoId,LabelConfidencePairs\nA,0 0.838610\nB,1 0.633975\n"
    )

  @pytest.mark.parametrize(
    ("settings", "message"),
    [
      ({}, "nothing to write. Give one of --output_file, .*, --tune_on."),
      (
        {"output_file": "m.csv", "weights": (1.0,)},
        "--weights=1.0 should be 2",
      ),
      (
        {"output_file": "m.csv", "weights": (0.0, 0.0)},
        "--weights=0.0,0.0 should be 2 numbers, .* one is above 0",
      ),
      (
        {"output_file": "m.csv", "weights": (1.0, -1.0)},
        "--weights=-1.0 should be from 0.0",
      ),
      (
        {"output_file": "m.csv", "mean_of": "votes"},
        "--mean_of='votes' should be one of logits, probabilities, ranks",
      ),
      ({"output_file": "$b"}, "b.npz' is to be written, and is read, too. Wr"),
      ({"output_file": "m.csv", "num_classes": 4}, "has 3 classes, and should"),
      ({"output_file": "m.csv", "predictions": " ,"}, "--predictions is empty"),
      ({"tune_on": "$none*"}, "--tune_on: no file matches"),
    ],
  )
  def test_wrong_settings(self, files, tmp_path, settings, message):
    settings = {
      name: value.replace("$", f"{tmp_path}/").replace("/b", "/b.npz")
      if isinstance(value, str)
      else value
      for name, value in settings.items()
    }
    with pytest.raises(UserError, match=message):
      ensemble.ensemble(
        EnsembleSettings(**{"predictions": ",".join(files), **settings})
      )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
      "a.npz",
      "b.npz",
    ]
