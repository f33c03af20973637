# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Joins the predictions of several models.

  python ensemble.py --predictions=a.npz,b.npz,c.csv --output_file=mean.csv

The files are those of inference.py (--predictions_file, --output_file). The
result is their weighted mean, video by video and class by class: files may hold
other videos, in other orders. The weights with which GAP is highest are found
on shards with labels:

  python ensemble.py --predictions=a.npz,b.npz \
    --tune_on='/path/to/validate*.tfrecord'
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import numpy as np
from absl import logging

import average_precision_calculator as ap_calculator
import cluster
import config
import devices
import eval_util
import evaluation
import experiment
import prediction_files
import utils
from config import EnsembleSettings
from prediction_files import PredictionsFile, confidences_of

# A function from ids [n] to the scores [n, C] float32 that a mean is taken of.
Scorer = Callable[[np.ndarray], np.ndarray]

# Pairs of each video that count for GAP.
_GAP_CLASSES = 20
# Videos on which weights are tuned: with more, GAP hardly differs.
_MOST_TUNED = 50_000
_TUNING_BYTES = 2**29
# Steps of weights, all of which together are 1, and what a step must gain.
_LEAST_GAIN = 1e-6
_STEPS = tuple(0.5**number for number in range(1, 9))


def define_flags():
  """Defines the flags of the program."""
  config.define_flags(EnsembleSettings)


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main():
  """Joins predictions as the flags say."""
  devices.choose(num_gpu=0)  # Numpy computes all.
  ensemble(config.from_flags(EnsembleSettings))


def ensemble(settings: EnsembleSettings) -> dict[str, Any]:
  """Joins predictions: the whole program, without its flags.

  Returns:
    A dict of "weights", one for each file, which add up to 1; and, where they
    were tuned, "gap" on the shards and "num_videos", those it was computed on.

  Raises:
    UserError: a file cannot be read or written, or no video is in all files.
  """
  outputs = prediction_files.requested_outputs(settings)
  with (
    experiment.start(settings, {}, cluster.alone(), None) as run,
    prediction_files.open_files(
      settings.paths, settings.num_classes, "predictions"
    ) as files,
  ):
    inputs = list(settings.paths)
    if settings.tune_on:
      inputs += utils.list_shards(settings.tune_on, "tune_on")
    utils.refuse_overwriting(settings.written_paths, inputs)
    scorers = [make_scorer(file, settings.mean_of) for file in files]
    weights = np.array(settings.weights or [1.0] * len(files))
    results = {"weights": weights / weights.sum()}
    if settings.tune_on:
      results = tune(results["weights"], files, scorers, run)
    if outputs:
      video_ids = joined_ids(files, settings.missing)
      items = mean_predictions(
        video_ids, scorers, results["weights"], settings.mean_of
      )
      prediction_files.write(outputs, items, run)
  return {**results, "weights": results["weights"].tolist()}


def make_scorer(file: PredictionsFile, mean_of: str) -> Scorer:
  """The scores of a file's videos, of which the mean is taken."""
  if mean_of == "logits":
    return file.logits
  if mean_of == "probabilities":
    return lambda video_ids: confidences_of(file.logits(video_ids))
  ranks = ranks_of_codes(file)
  return lambda video_ids: ranks[_codes(file.logits(video_ids))]


def ranks_of_codes(file: PredictionsFile) -> np.ndarray:
  """[2**16] float32: the ranks in a file of all logits that there can be.

  The rank of a score is the share of the file's scores that are lower, and of
  half of those that are equal: in (0, 1). Logits are compared in float16, of
  which there are few enough to count each.
  """
  counts = np.zeros(2**16, np.int64)
  for logits in file.blocks():
    counts += np.bincount(_codes(logits).reshape(-1), minlength=counts.size)
  values = np.arange(counts.size, dtype=np.uint16).view(np.float16)
  order = np.argsort(values, kind="stable")
  in_order = counts[order]
  ranks = np.empty(counts.size)
  ranks[order] = np.cumsum(in_order) - in_order / 2
  return (ranks / counts.sum()).astype(np.float32)


def _codes(logits: np.ndarray) -> np.ndarray:
  """Float16 logits as numbers of 16 bits; the two zeros have one."""
  return (logits.astype(np.float16) + np.float16(0)).view(np.uint16)


def joined_ids(files: Sequence[PredictionsFile], missing: str) -> np.ndarray:
  """[N] bytes: the videos of the result, in the order of the first file.

  Args:
    files: the files.
    missing: "skip" for the videos that all files have; "zero" for all videos.

  Raises:
    UserError: there is none.
  """
  video_ids = files[0].video_ids
  for number, file in enumerate(files[1:], 1):
    if missing == "skip":
      video_ids = video_ids[file.rows_of(video_ids) >= 0]
      continue
    is_new = np.ones(file.video_ids.size, bool)
    for other in files[:number]:
      is_new &= other.rows_of(file.video_ids) < 0
    video_ids = np.concatenate([video_ids, file.video_ids[is_new]])
  for file in files:
    num_missing = np.count_nonzero(file.rows_of(video_ids) < 0)
    if num_missing:
      logging.info(
        "%d videos are not in %s; their confidences count as 0 there.",
        *(num_missing, file.path),
      )
    num_left_out = file.video_ids.size + num_missing - video_ids.size
    if num_left_out:
      logging.info(
        "%d videos of %s are left out: not all files have them.",
        *(num_left_out, file.path),
      )
  if not video_ids.size:
    raise UserError(
      "--predictions: no video is in all files. --missing=zero takes 0 for "
      "what is missing."
    )
  return video_ids


def mean_predictions(
  video_ids: np.ndarray,
  scorers: Sequence[Scorer],
  weights: np.ndarray,
  mean_of: str,
) -> Iterator[evaluation.Predictions]:
  """Yields the weighted mean of the files' scores, as confidences."""
  for start in range(0, video_ids.size, prediction_files.BLOCK_ROWS):
    block = video_ids[start : start + prediction_files.BLOCK_ROWS]
    mean = sum(
      np.float32(weight) * scorer(block)
      for weight, scorer in zip(weights, scorers, strict=True)
      if weight
    )
    if mean_of == "logits":
      # In float64: in float32, high confidences would be rounded to a few.
      mean = confidences_of(mean.astype(np.float64))
    yield prediction_files.stored_predictions(block, mean)


# Weights


class Candidates(NamedTuple):
  """The classes of N videos that may be among the best of a mean of K files.

  Attributes:
    scores: [N, M, K] float32.
    is_first: [N, M] bool, False where a class is there again.
    correct: [N, M] bool, whether the class is a label of the video.
    num_labels: [N] int64, all labels of the video.
  """

  scores: np.ndarray
  is_first: np.ndarray
  correct: np.ndarray
  num_labels: np.ndarray

  def gap(self, weights: np.ndarray) -> float:
    """GAP of the weighted sum."""
    sums = self.scores @ weights.astype(np.float32)
    sums = eval_util.of_rated_classes(sums, self.is_first)
    best, places = eval_util.best_classes(sums, _GAP_CLASSES)
    correct = np.take_along_axis(self.correct & self.is_first, places, axis=1)
    return ap_calculator.AveragePrecisionCalculator.ap_at_n(
      best.ravel(),
      correct.ravel(),
      n=None,
      total_num_positives=self.num_labels.sum(),
    )


def candidates_of(scores: np.ndarray, labels: np.ndarray) -> Candidates:
  """The best classes of each file and of their mean, for each video.

  Args:
    scores: [K, N, C] float32.
    labels: [N, C]; true where above 0.
  """
  rankings = [
    eval_util.best_classes(some, _GAP_CLASSES)[1]
    for some in (*scores, scores.mean(axis=0))
  ]
  classes = np.sort(np.concatenate(rankings, axis=1), axis=1)
  is_first = np.ones(classes.shape, bool)
  is_first[:, 1:] = classes[:, 1:] != classes[:, :-1]
  rows = np.arange(len(classes))[:, np.newaxis]
  return Candidates(
    scores=np.moveaxis(scores[:, rows, classes], 0, -1),
    is_first=is_first,
    correct=np.take_along_axis(labels > 0, classes, axis=1),
    num_labels=np.count_nonzero(labels > 0, axis=1),
  )


def tune(
  weights: np.ndarray,
  files: Sequence[PredictionsFile],
  scorers: Sequence[Scorer],
  run: experiment.Run,
) -> dict[str, Any]:
  """Finds the weights with which GAP is highest on the shards of `--tune_on`.

  Returns:
    As `ensemble`.

  Raises:
    UserError: the files have none of the videos.
  """
  candidates = read_candidates(files, scorers, run)
  best = climb(candidates.gap, weights)
  gap = candidates.gap(best)
  num_videos = len(candidates.scores)
  alone = [candidates.gap(row) for row in np.eye(len(files))]
  logging.info(
    "GAP on %d videos: %.5f with --weights=%s; before it was %.5f with %s; "
    "alone %s.",
    *(num_videos, gap, _shown(best)),
    *(candidates.gap(weights), _shown(weights)),
    ", ".join(
      f"{value:.5f} of {file.path}"
      for value, file in zip(alone, files, strict=True)
    ),
  )
  return {"weights": best, "gap": gap, "num_videos": num_videos}


def _shown(weights: np.ndarray) -> str:
  return ",".join(f"{weight:.4f}" for weight in weights)


def read_candidates(
  files: Sequence[PredictionsFile],
  scorers: Sequence[Scorer],
  run: experiment.Run,
) -> Candidates:
  """Reads labels, and the scores of the classes that may matter.

  As many videos are taken as suffice, and fit into memory.
  """
  video_bytes = 4 * _GAP_CLASSES * len(files) * (len(files) + 1)
  most = min(_MOST_TUNED, _TUNING_BYTES // video_bytes)
  parts, num_videos, num_missing = [], 0, 0
  num_classes = files[0].num_classes
  batches = experiment.open_labels(
    run, "tune_on", num_classes, prediction_files.BLOCK_ROWS
  )
  for batch in batches:
    video_ids, labels = prediction_files.ids_and_labels(batch)
    are_there = [file.rows_of(video_ids) >= 0 for file in files]
    join = np.any if run.settings.missing == "zero" else np.all
    is_there = join(are_there, axis=0)
    num_missing += np.count_nonzero(~is_there)
    num_videos += np.count_nonzero(is_there)
    scores = np.stack([scorer(video_ids[is_there]) for scorer in scorers])
    parts.append(candidates_of(scores, labels[is_there]))
    if num_videos >= most:
      logging.info("--tune_on: its first %d videos suffice.", num_videos)
      break
  experiment.gather_bad_records(run)
  if not num_videos:
    raise UserError(
      f"--tune_on: the files have none of the {num_missing:,} videos of the "
      "shards. Write predictions for them, too."
    )
  if num_missing:
    logging.warning(
      "--tune_on: %d videos are left out, which the files do not have.",
      num_missing,
    )
  return Candidates(*map(np.concatenate, zip(*parts, strict=True)))


def climb(
  value_of: Callable[[np.ndarray], float], weights: np.ndarray
) -> np.ndarray:
  """Weights that add up to 1, from some others uphill to a higher value.

  A compass search: one weight after the other is made larger and smaller, by
  steps that become smaller where no step leads up (Kolda, Lewis and Torczon
  2003, "Optimization by Direct Search", https://doi.org/10.1137/S0036144502428893).
  GAP has no gradient.
  """
  best, highest = weights, value_of(weights)
  for step in _STEPS:
    has_risen = True
    while has_risen:
      has_risen = False
      for change in (*np.eye(len(best)) * step, *np.eye(len(best)) * -step):
        others = np.maximum(best + change, 0)
        if not others.any():
          continue
        others /= others.sum()
        value = value_of(others)
        if value > highest + _LEAST_GAIN:
          best, highest, has_risen = others, value, True
  return best


if __name__ == "__main__":
  run()
