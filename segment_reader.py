# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Segments: five seconds of a video as a row of their own.

In the shards of 2019, raters said of some segments of a video whether they show
some classes. A record's context has a list for each part of these ratings:

  segment_labels       [N] int64, the class that was rated
  segment_start_times  [N] int64, where the segment begins, in seconds
  segment_end_times    [N] int64, where it ends; five seconds later
  segment_scores       [N] float32 in [0, 1], what the raters said

Features have one frame a second, so a time is the number of a frame.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf

import segments
import shard_files
from bad_records import BadRecords
from readers import YT8MFrameFeatureReader
from records import (
  ID_KEYS,
  SEGMENT_SECS,
  Problem,
  first_key,
  only_bytes,
  parse_contexts,
  place,
)
from sources import Fold

LABELS_KEY, SCORES_KEY = "segment_labels", "segment_scores"
STARTS_KEY, ENDS_KEY = "segment_start_times", "segment_end_times"
RATED_PER_VIDEO = 5  # About; of the data set of 2019.
# More than any model has; a row of a record times this is still an int64.
_MOST_CLASSES = 2**31


class Ratings(NamedTuple):
  """The ratings of a video's S segments.

  Attributes:
    starts: [S] int64, the first second of each, rising.
    rows: [N] int64, the segment of each rating.
    classes: [N] int64, its class.
    scores: [N] float32 in [0, 1], 1 where the segment shows the class.
  """

  starts: np.ndarray
  rows: np.ndarray
  classes: np.ndarray
  scores: np.ndarray


_NO_RATINGS = Ratings(*np.zeros((3, 0), np.int64), np.zeros(0, np.float32))


def read_ratings(
  context: Mapping[str, tf.train.Feature], num_classes: int, num_frames: int
) -> Ratings | Problem:
  """The ratings in a record's context; none where it has no such lists.

  Of several ratings of a segment for one class, the first counts.

  Args:
    context: key -> feature.
    num_classes: classes are in [0, num_classes), at most 2^31.
    num_frames: frames of the video that can be read.

  Returns:
    The ratings; or, where they make no sense, the problem.
  """
  classes, starts, ends = (
    np.array(context[key].int64_list.value if key in context else [], np.int64)
    for key in (LABELS_KEY, STARTS_KEY, ENDS_KEY)
  )
  scores = np.array(
    context[SCORES_KEY].float_list.value if SCORES_KEY in context else [],
    np.float32,
  )
  sizes = [len(classes), len(starts), len(ends), len(scores)]
  if ENDS_KEY not in context:  # Nothing depends on it.
    sizes[2] = sizes[0]
  if len({*sizes}) > 1:
    keys = (LABELS_KEY, STARTS_KEY, ENDS_KEY, SCORES_KEY)
    found = ", ".join(
      f"{size} {key}" for size, key in zip(sizes, keys, strict=True)
    )
    return Problem(
      "ratings of other numbers", f"its ratings differ in number: {found}"
    )
  problem = _describe_times(starts, num_frames)
  problem = problem or _describe_values(classes, scores, num_classes)
  if problem:
    return problem
  is_new = np.diff(starts, prepend=-1) > 0  # They rise, from 0.
  rows = np.cumsum(is_new) - 1
  _, firsts = np.unique(rows * num_classes + classes, return_index=True)
  return Ratings(starts[is_new], rows[firsts], classes[firsts], scores[firsts])


def _describe_times(starts, num_frames: int) -> Problem | None:
  if (starts < 0).any() or (np.diff(starts) < 0).any():
    return Problem(
      "segments not in order",
      f"its segment_start_times {starts[:20].tolist()} should rise, from 0",
    )
  if starts.size and starts[-1] >= num_frames:
    return Problem(
      "segment beyond the video",
      f"its segment at {starts[-1]} s begins behind the {num_frames} frames "
      "that are read",
    )
  return None


def _describe_values(classes, scores, num_classes: int) -> Problem | None:
  for label in classes[(classes < 0) | (classes >= num_classes)][:1]:
    return Problem(
      "label out of range",
      f"its segment label {label} is outside [0, {num_classes}); check "
      "--num_classes",
    )
  # Written so that NaN is outside.
  for score in scores[~((scores >= 0) & (scores <= 1))][:1]:
    return Problem(
      "score out of range", f"its segment score {score} is outside [0, 1]"
    )
  return None


def read_truth(
  shards: Iterable[str],
  left_out: BadRecords | None = None,
  fold: Fold | None = None,
) -> segments.Ratings:
  """The ratings of all segments in shards, without their frames.

  Of several ratings of a segment for one class, the first counts.

  Args:
    shards: paths of TFRecord files.
    left_out: takes note of bad records, which are left out; None stops at the
      first.
    fold: which videos to keep; None for all.

  Raises:
    UserError: a record cannot be read, its ratings make no sense, or there are
      no ratings at all.
  """
  video_ids, parts = [], []
  for shard in shards:
    for number, record in enumerate(shard_files.read_shard(shard)):
      video_id, found = _truth_of(record)
      if isinstance(found, Ratings):
        video_ids += [video_id] * found.starts.size
        parts.append(found)
      elif left_out is None:
        raise UserError(f"{place(shard, number)}: {found.detail}.")
      elif isinstance(found, shard_files.Fault):
        left_out.leave_out_fault(shard, found, None)
      else:
        text = video_id.decode(errors="replace") if video_id else None
        left_out.leave_out(shard, number, found, text)
    if left_out:
      left_out.check()
  if not video_ids:
    raise UserError(
      f"No video of the shards has ratings of segments ({LABELS_KEY}). The "
      "validate shards of 2019 have: tools.download --features=segments."
    )
  _, (starts, rows, classes, scores) = _joined(parts)
  video_ids, starts = np.array(video_ids)[rows], starts[rows]
  order = np.lexsort((classes, starts, video_ids))  # Equal ones stay in order.
  is_new = np.ones(len(order), bool)
  is_new[1:] = np.logical_or.reduce(
    [a[order][1:] != a[order][:-1] for a in (video_ids, starts, classes)]
  )
  kept = np.sort(order[is_new])
  if fold:
    kept = kept[fold.keeps(video_ids[kept].tolist())]
    if not kept.size:
      raise UserError(
        f"--fold={fold.index} of {fold.count}: no video of it has ratings."
      )
  return segments.Ratings(
    video_ids[kept], starts[kept], classes[kept], scores[kept] > 0
  )


def _truth_of(record: bytes | shard_files.Fault):
  """The id of a record's video, if there is one, and its ratings or problem."""
  if isinstance(record, shard_files.Fault):
    return None, record
  (context,) = parse_contexts([record])
  video_id = only_bytes(context.get(first_key(ID_KEYS, context)))
  found = read_ratings(context, _MOST_CLASSES, sys.maxsize)
  if isinstance(found, Ratings) and not video_id:
    found = Problem("no id", "it has no id")
  return video_id, found


class YT8MSegmentReader(YT8MFrameFeatureReader):
  """Reads the segments of frame-level records, each as a row.

  With labels, these are the segments that were rated, "labels" are their
  scores, and there are two more keys in a batch. Without, these are all
  segments of each video, from second 0 on.

    label_weights   [B, C] float32, 1 where a class was rated
    segment_starts  [B] int64, in seconds

  Args:
    *args: as in `YT8MFrameFeatureReader`.
    context_frames: frames on both sides of a segment that are read with it, as
      far as the video has them.
    unrated_weight: the label weight of classes that were not rated.
    **kwargs: as in `YT8MFrameFeatureReader`.
  """

  row_name = "segments"

  def __init__(self, *args, context_frames=0, unrated_weight=0.0, **kwargs):
    super().__init__(*args, **kwargs)
    self._context_frames = context_frames
    self._unrated_weight = unrated_weight
    self.row_frames = SEGMENT_SECS + 2 * context_frames

  def rows_per_video(self, with_labels: bool = True) -> int:
    """See `BaseReader`."""
    most = -(-self.max_frames // SEGMENT_SECS)
    return min(RATED_PER_VIDEO, most) if with_labels else most

  def row_spec(self, with_labels: bool = True) -> dict:
    """See `BaseReader`."""
    spec = super().row_spec(with_labels)
    spec["segment_starts"] = tf.TensorSpec([None], tf.int64)
    if with_labels:
      spec["label_weights"] = spec["labels"]
    return spec

  def decode(self, records, with_labels=True, choose_frames=None):
    """See `BaseReader`; instead of labels there are [K] `Ratings`."""
    batch, is_bad = super().decode(records, False, choose_frames)
    del batch["labels"]
    counts = np.minimum(batch["num_frames"], self.max_frames)
    ratings = np.empty(len(records), object)
    if with_labels:
      for row, context in enumerate(parse_contexts(records)):
        found = read_ratings(context, self.num_classes, counts[row])
        ratings[row] = found
        is_bad[row] |= isinstance(found, Problem)
    else:
      for row, count in enumerate(counts):
        starts = np.arange(0, count, SEGMENT_SECS)
        ratings[row] = _NO_RATINGS._replace(starts=starts)
    return {**batch, "num_frames": counts, "ratings": ratings}, is_bad

  def describe_problem(self, record, with_labels=True):
    """See `BaseReader`."""
    problem = super().describe_problem(record, False)
    if problem or not with_labels:
      return problem
    counts = super().decode([record], False)[0]["num_frames"]
    found = read_ratings(
      parse_contexts([record])[0],
      self.num_classes,
      min(counts[0], self.max_frames),
    )
    return found if isinstance(found, Problem) else None

  def rows_of(self, batch: dict, with_labels: bool = True) -> dict:
    """See `BaseReader`: a row for each segment."""
    videos, ratings = _joined(batch["ratings"])
    firsts = np.maximum(ratings.starts - self._context_frames, 0)
    ends = ratings.starts + SEGMENT_SECS + self._context_frames
    ends = np.minimum(ends, batch["num_frames"][videos])
    rows = {
      "video_ids": batch["video_ids"][videos],
      "features": {
        name: _windows(values, videos, firsts, ends, self.row_frames)
        for name, values in batch["features"].items()
      },
      "num_frames": (ends - firsts).astype(np.int32),
      "segment_starts": ratings.starts,
      "labels": np.zeros((len(videos), self.num_classes), np.float32),
    }
    rows["labels"][ratings.rows, ratings.classes] = ratings.scores
    if with_labels:
      weights = np.full_like(rows["labels"], self._unrated_weight)
      weights[ratings.rows, ratings.classes] = 1
      rows["label_weights"] = weights
    return rows


def _joined(ratings: Sequence[Ratings]) -> tuple[np.ndarray, Ratings]:
  """[S] int64, the video of each segment; and the ratings of all videos."""
  counts = [len(of_video.starts) for of_video in ratings]
  firsts = np.cumsum([0, *counts])
  parts = [
    of_video._replace(rows=of_video.rows + first)
    for of_video, first in zip(ratings, firsts, strict=False)
  ]
  joined = map(np.concatenate, zip(_NO_RATINGS, *parts, strict=True))
  return np.repeat(np.arange(len(counts)), counts), Ratings(*joined)


def _windows(values, videos, firsts, ends, size: int) -> np.ndarray:
  """The frames of segments, from [K, T, D] those of K videos.

  Returns:
    [S, size, D], zeros from the end of a segment on; [S, D] of a vector [K, D].
  """
  if values.ndim == 2:
    return values[videos]
  frames = firsts[:, None] + np.arange(size)
  windows = values[videos[:, None], np.minimum(frames, values.shape[1] - 1)]
  windows[frames >= ends[:, None]] = 0
  return windows
