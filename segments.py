# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Segments of five seconds: which of all videos' show a class best.

The task of 2019: for each class a ranking of at most 100,000 segments, each
named by its video's id and the second in which it starts. Only some segments
were rated by people, for a class or two each.

- `read_submission` and `write_submission`: rankings as the challenge's CSV.
- `score_rankings`: MAP@K, of rankings and ratings.
- `rated_pairs`, `score_pairs`: the same of a model's scores of rated segments.
- `TopSegments`: rankings of more segments than fit into memory.

MAP@K is the mean, over the classes with rated positives, of

    AP(c) = sum_{k <= K} P(k) * rel(k) / N_c

where k runs over the ranks of class c, rel(k) is 1 for a positive, P(k) is the
share of positives among the rated segments up to rank k, and N_c is the number
of positives in the ratings, found or not. A segment that was not rated for the
class is neither right nor wrong; nor is one that a ranking names once more. A
class that is not ranked has an AP of 0.

References:
  "The 3rd YouTube-8M Video Understanding Challenge", Kaggle 2019,
  https://www.kaggle.com/c/youtube8m-2019/overview/evaluation
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from program import UserError

import numpy as np

import mean_average_precision_calculator as map_calculator
import utils
from records import SEGMENT_SECS, Problem
from vocabulary import name_of

# K, and the most segments that the challenge takes of a class.
MOST_SEGMENTS = 100_000
HEADER = b"Class,Segments"
NAMES_HEADER = b"id,start,end,class,name,confidence"
# Spreadsheets cut what is longer off a cell.
CELL_CHARACTERS = 32_767
# Longer ids would take memory for every segment of a row.
_MOST_ID_BYTES = 256
_MOST_DIGITS = 9
_SPACE, _COLON, _ZERO = b" :0"
# What would end an id in a submission.
_ID_ENDS = tuple(b' ,"\r\n')
# An odd number without pattern: the golden ratio's, as in Knuth's TAOCP 6.4.
_HASH_FACTOR = 0x9E3779B97F4A7C15
# Of a hash, the upper bits are a place in a table of this size.
_NUM_SLOTS, _SLOT_SHIFT = 2**16, np.uint64(48)
# A segment is one number: its video's, times this, plus the second it starts.
_STARTS = 2**32


class Ranking(NamedTuple):
  """Segments of one class, best first.

  Attributes:
    index: the class.
    video_ids: [N] bytes.
    starts: [N] int64, the second in which each segment starts.
    scores: [N] float32, falling; None where only the order is known.
  """

  index: int
  video_ids: np.ndarray
  starts: np.ndarray
  scores: np.ndarray | None = None

  def cut(self, size: int) -> "Ranking":
    """The first ranks."""
    index, *columns = self
    return Ranking(index, *(c if c is None else c[:size] for c in columns))


class Ratings(NamedTuple):
  """R ratings of segments; each segment at most once for a class.

  Attributes:
    video_ids: [R] bytes.
    starts: [R] int64, the second in which the segment starts.
    classes: [R] int64, the class that was asked for.
    are_positive: [R] bool, whether the segment shows it.
  """

  video_ids: np.ndarray
  starts: np.ndarray
  classes: np.ndarray
  are_positive: np.ndarray


# MAP@K


class _RatedSegments:
  """Finds out which segments of a ranking were rated, and how.

  Few were: a table of hashes passes over nearly all others.
  """

  def __init__(self, ratings: Ratings):
    hashes = _hashes(ratings.video_ids, ratings.starts)
    order = np.lexsort((hashes, ratings.classes))
    self._ratings = Ratings(*(column[order] for column in ratings))
    self._hashes = hashes[order]
    self.num_positives = np.bincount(
      ratings.classes, ratings.are_positive
    ).astype(int)

  def find(self, ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """The places [F] in a ranking of rated segments, and [F] bool, positive.

    A segment is found where it comes first.
    """
    bounds = [ranking.index, ranking.index + 1]
    rated = slice(*np.searchsorted(self._ratings.classes, bounds))
    rated_hashes = self._hashes[rated]
    if not rated_hashes.size:
      return np.empty(0, int), np.empty(0, bool)
    video_ids, starts, _, are_positive = (c[rated] for c in self._ratings)
    table = np.zeros(_NUM_SLOTS, bool)
    table[rated_hashes >> _SLOT_SHIFT] = True
    hashes = _hashes(ranking.video_ids, ranking.starts)
    places = np.flatnonzero(table[hashes >> _SLOT_SHIFT])
    found = np.searchsorted(rated_hashes, hashes[places])
    found = found.clip(max=rated_hashes.size - 1)
    is_same = (video_ids[found] == ranking.video_ids[places]) & (
      starts[found] == ranking.starts[places]
    )
    # Of several values for one place numpy keeps the last: the first rank.
    ranks = np.full(rated_hashes.size, -1)
    ranks[found[is_same][::-1]] = places[is_same][::-1]
    is_found = ranks >= 0
    return ranks[is_found], are_positive[is_found]


def _hashes(video_ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
  """[N] uint64: hashes of segments, whose upper bits differ most.

  No two ids of four letters, as the data set's, have the same: multiples of the
  golden ratio are further apart than the seconds of any video. For longer ids
  the odds are one in 2**64.
  """
  num_words = max(1, -(-video_ids.dtype.itemsize // 4))
  words = np.ascontiguousarray(video_ids, f"S{4 * num_words}").view(np.uint32)
  # The zeros behind an id add nothing: its hash is the same in any array.
  hashes, factor = starts.astype(np.uint64), 1
  for column in words.reshape(-1, num_words).T:
    factor = factor * _HASH_FACTOR % 2**64
    hashes += column * np.uint64(factor)
  return hashes * np.uint64(_HASH_FACTOR)


def repeated_places(ranking: Ranking) -> np.ndarray:
  """[D] int64: the places of segments that a ranking names once more."""
  hashes = _hashes(ranking.video_ids, ranking.starts)
  in_order = np.sort(hashes)
  if (in_order[1:] != in_order[:-1]).all():
    return np.empty(0, int)
  # Slower: sorted with their places.
  _, firsts = np.unique(hashes, return_index=True)
  is_first = np.zeros(hashes.size, bool)
  is_first[firsts] = True
  return np.flatnonzero(~is_first)


def score_rankings(
  rankings: Iterable[Ranking], ratings: Ratings, k: int = MOST_SEGMENTS
) -> dict[str, Any]:
  """MAP@K of rankings, as the challenge defines it.

  Args:
    rankings: of each class at most one.
    ratings: what people said.
    k: ranks of each class that count.

  Returns:
    A dict of "map_at_k", in [0, 1]; "num_classes", those with positives, over
    which it is the mean; "num_missing_classes", those of them that are not
    ranked; "num_pairs", the ranks that count; "num_unrated_pairs", those of
    them that were not rated.
  """
  rated, ranked = _RatedSegments(ratings), set()
  found = [(np.empty(0, int), np.empty(0, int), np.empty(0, bool))]
  num_pairs = 0
  for ranking in rankings:
    ranking = ranking.cut(k)
    places, are_positive = rated.find(ranking)
    found.append((np.full(places.size, ranking.index), places, are_positive))
    ranked.add(ranking.index)
    num_pairs += ranking.starts.size
  classes, places, are_positive = map(np.concatenate, zip(*found, strict=True))
  aps = map_calculator.average_precisions_by_class(
    classes, -places.astype(np.float64), are_positive, rated.num_positives
  )
  has_positives = np.flatnonzero(rated.num_positives)
  num_missing = len(set(has_positives.tolist()) - ranked)
  return _results(aps[has_positives], num_missing, num_pairs, places.size)


def _results(aps, num_missing: int, num_pairs: int, num_rated: int):
  return {
    "map_at_k": float(aps.sum() / max(1, aps.size)),
    "num_classes": int(aps.size),
    "num_missing_classes": num_missing,
    "num_pairs": num_pairs,
    "num_unrated_pairs": num_pairs - num_rated,
  }


class RatedPairs(NamedTuple):
  """A model's scores of rated segments for the classes they were rated for.

  Attributes:
    classes: [P] int64.
    scores: [P] float.
    are_positive: [P] bool.
    num_unrated: how many scores were left out, since nobody rated them.
  """

  classes: np.ndarray
  scores: np.ndarray
  are_positive: np.ndarray
  num_unrated: np.ndarray


def rated_pairs(predictions, labels, label_weights) -> RatedPairs:
  """Picks the scores that were rated; all that MAP@K needs of a batch.

  Args:
    predictions: [N, C] scores of segments.
    labels: [N, C]; true where above 0.
    label_weights: [N, C]; rated where 1.
  """
  segments, classes = np.nonzero(label_weights >= 1)
  return RatedPairs(
    classes=classes,
    scores=predictions[segments, classes],
    are_positive=labels[segments, classes] > 0,
    num_unrated=np.array(predictions.size - classes.size),
  )


class MapAtK:
  """MAP@K of a model, batch by batch.

  Each class ranks its rated segments only. K = 100,000 never cuts such a
  ranking off, since no class has as many ratings. Among equal scores the
  negative segments rank first, as for mAP.

  Args:
    num_classes: number of classes C.
  """

  def __init__(self, num_classes: int):
    self._num_classes = num_classes
    self._calculator = map_calculator.MeanAveragePrecisionCalculator(
      num_classes
    )
    self._num_rated = self._num_unrated = 0

  def accumulate(self, pairs: RatedPairs):
    """Adds a batch.

    Raises:
      ValueError: a score is NaN, or a class is unknown.
    """
    positives = pairs.classes[pairs.are_positive]
    self._calculator.accumulate_pairs(
      pairs.classes,
      pairs.scores,
      pairs.are_positive,
      np.bincount(positives, minlength=self._num_classes),
    )
    self._num_rated += pairs.classes.size
    self._num_unrated += int(pairs.num_unrated)

  def get(self) -> dict[str, Any]:
    """As `score_rankings`; no class is missing."""
    aps = self._calculator.peek_map_at_n()
    num_pairs = self._num_rated + self._num_unrated
    return _results(aps, 0, num_pairs, self._num_rated)


# The challenge's file


def read_submission(path: str, flag_name: str) -> Iterator[Ranking]:
  """Yields the rows of a submission, which may lack its header.

  Args:
    path: local or gs://.
    flag_name: the flag that the path came from, for the error messages.

  Raises:
    UserError: the file cannot be read, or a row is wrong; the message names the
      line.
  """
  lines = {}
  for number, line in rows_of(utils.read_lines(path, flag_name)):
    ranking, problem = parse_row(line)
    if not problem and ranking.index in lines:
      detail = f"class {ranking.index} has a row already"
      problem = Problem("class twice", f"{detail}, line {lines[ranking.index]}")
    if problem:
      place = f"--{flag_name}={path!r}, line {number}"
      raise UserError(f"{place}: {problem.detail}.")
    lines[ranking.index] = number
    yield ranking
  if not lines:
    raise UserError(
      f"--{flag_name}={path!r} has no row; expected {_EXPECTED_ROW}."
    )


def rows_of(
  lines: Iterable[bytes], header: bytes = HEADER
) -> Iterator[tuple[int, bytes]]:
  """Yields number and text of a file's lines but for the header, if any."""
  for number, line in enumerate(lines, 1):
    is_header = number == 1 and line.strip().lower() == header.lower()
    if line.strip() and not is_header:
      yield number, line


def parse_row(line: bytes) -> tuple[Ranking | None, Problem | None]:
  """A row's ranking, and what is wrong with it.

  Returns:
    The pairs that can be read, None where the row has no class; and the first
    problem or None.
  """
  name, comma, cell = line.partition(b",")
  if not comma or not name.strip().isdigit() or len(name) > _MOST_DIGITS:
    detail = f"{utils.shown(line)} is no row; expected {_EXPECTED_ROW}"
    return None, Problem("no row", detail)
  # Zeros, so that a piece of some width can be read at any place.
  codes = np.frombuffer(cell + bytes(_MOST_ID_BYTES), np.uint8)
  is_inside = np.zeros(len(cell) + 2, bool)
  np.not_equal(codes[: len(cell)], _SPACE, out=is_inside[1:-1])
  edges = np.flatnonzero(is_inside[1:] != is_inside[:-1])
  begins, ends = edges[0::2], edges[1::2]
  colons = _last_colons(codes, begins, ends)
  sizes = colons - begins
  starts, is_right = _parse_numbers(codes, colons + 1, ends)
  is_right &= (0 < sizes) & (sizes <= _MOST_ID_BYTES)
  problem = None
  if not is_right.all():
    first = int(np.argmin(is_right))
    problem = _describe_pair(cell, begins, ends, first)
    begins, sizes, starts = begins[is_right], sizes[is_right], starts[is_right]
  return Ranking(int(name), _slices(codes, begins, sizes), starts), problem


def _last_colons(codes, begins, ends) -> np.ndarray:
  """[N] int64: the places of pairs' last colons; where they begin without."""
  colons = np.flatnonzero(codes == _COLON)
  if colons.size == begins.size and (begins < colons).all():
    if (colons < ends).all():
      return colons
  # An id may hold some, too.
  colons = np.concatenate([[-1], colons])
  colons = colons[np.searchsorted(colons, ends) - 1]
  return np.maximum(colons, begins)


def _parse_numbers(codes, begins, ends) -> tuple[np.ndarray, np.ndarray]:
  """[N] int64, decimal numbers, and [N] bool, whether there is one.

  Args:
    codes: [B] uint8.
    begins: [N] int64, the places of first digits.
    ends: [N] int64, the places behind the last ones.
  """
  lengths, numbers = ends - begins, np.zeros(begins.size, np.int64)
  is_right = (0 < lengths) & (lengths <= _MOST_DIGITS)
  for place in range(min(lengths.max(initial=0), _MOST_DIGITS)):
    digits = codes[ends - (place + 1)] - _ZERO
    digits[lengths <= place] = 0
    is_right &= digits <= 9  # What is below "0" is above: they are uint8.
    numbers += np.multiply(digits, 10**place, dtype=np.int64)
  return numbers, is_right


def _slices(codes, begins, sizes) -> np.ndarray:
  """[N] bytes: pieces of [B] uint8, which goes on behind the last of them."""
  width = max(1, sizes.max(initial=0))
  count = codes.size - width + 1
  pieces = np.ndarray((count,), f"V{width}", codes, strides=(1,))[begins]
  pieces = pieces.view(np.uint8).reshape(-1, width)
  if (sizes < width).any():
    pieces[np.arange(width) >= sizes[:, np.newaxis]] = 0
  return pieces.view(f"S{width}").reshape(-1)


def _describe_pair(cell: bytes, begins, ends, number: int) -> Problem:
  pair = utils.shown(cell[begins[number] : ends[number]])
  if number < begins.size - 1:
    detail = f"its pair {number + 1}, {pair}, is not id:start"
    return Problem("no pair", detail)
  detail = f"its last pair, {pair}, is not id:start: the row was cut"
  if len(cell) == CELL_CHARACTERS:
    detail += f" at {len(cell):,} characters, as spreadsheets cut cells"
  return Problem("row was cut", detail)


_EXPECTED_ROW = "class,id:start id:start ... such as 3,AbCd:0 EfGh:15"


@contextlib.contextmanager
def open_submission(
  path: str,
  names_path: str | None = None,
  names: Mapping[int, str] | None = None,
) -> Iterator[Callable[[Ranking], None]]:
  """A context with a function that writes a ranking as the challenge has it.

  It is called once for each class; what is behind `MOST_SEGMENTS` is left out.
  The files are complete or absent.

  Args:
    path: local or gs://.
    names_path: a second file, for people, with a row for each segment of each
      class; for rankings with scores. None for no such file.
    names: class -> name, for that file.

  Raises:
    UserError: a file cannot be written, or an id would not be read again.
  """
  with contextlib.ExitStack() as stack:

    def open_output(path: str, header: bytes):
      output = stack.enter_context(utils.replacing(path, follows_links=True))
      output.write(header + b"\n")
      output.flush()  # A folder that cannot be written shows now.
      return output

    output = open_output(path, HEADER)
    if names_path:
      names_output = open_output(names_path, NAMES_HEADER)

    def write(ranking: Ranking):
      index, video_ids, starts, scores = ranking.cut(MOST_SEGMENTS)
      output.write(b"%d,%b\n" % (index, _format_pairs(video_ids, starts)))
      if names_path:
        name = name_of(index, names).encode()
        end = b"%d,%b" % (index, utils.csv_field(name))
        columns = (column.tolist() for column in (video_ids, starts, scores))
        names_output.write(_named_rows(zip(*columns, strict=True), end))

    yield write


def write_submission(
  path: str,
  rankings: Iterable[Ranking],
  names_path: str | None = None,
  names: Mapping[int, str] | None = None,
):
  """Writes rankings, one of each class; see `open_submission`."""
  with open_submission(path, names_path, names) as write:
    for ranking in rankings:
      write(ranking)


def _check_ids(video_ids: np.ndarray):
  """Refuses ids that a submission cannot have."""
  letters = np.ascontiguousarray(video_ids).view(np.uint8)
  if np.isin(letters, _ID_ENDS).any() or video_ids.itemsize > _MOST_ID_BYTES:
    wrong = next(
      i
      for i in video_ids.tolist()
      if set(i) & set(_ID_ENDS) or len(i) > _MOST_ID_BYTES
    )
    raise UserError(
      f"Video {utils.shown(wrong)} cannot be in a submission: its id has a "
      "space, a comma, a quote or a line break, or more than "
      f"{_MOST_ID_BYTES} bytes."
    )


def _format_pairs(video_ids: np.ndarray, starts: np.ndarray) -> bytes:
  """Text "id:start id:start ..."."""
  _check_ids(video_ids)
  # There are few starts, and a text of each is made once.
  different, numbers = np.unique(starts, return_inverse=True)
  texts = np.array([b":%d " % start for start in different.tolist()], bytes)
  pairs = np.empty(
    len(video_ids), [("id", video_ids.dtype), ("start", texts.dtype)]
  )
  pairs["id"], pairs["start"] = video_ids, texts[numbers]
  # Each is filled up with zeros.
  return pairs.tobytes().replace(b"\0", b"").rstrip()


def _named_rows(rows, class_and_name: bytes) -> bytes:
  return b"".join(
    b"%b,%d,%d,%b,%.6f\n"
    % (video_id, start, start + SEGMENT_SECS, class_and_name, score)
    for video_id, start, score in rows
  )


def read_segment_classes(path: str, num_classes: int) -> np.ndarray:
  """[C] int64: the classes of --segment_classes, rising.

  They are in the column Index of a CSV, as in the data set's
  segment_label_ids.csv.

  Raises:
    UserError: the file cannot be read, has no such column, no class, one twice,
      or one outside [0, num_classes).
  """

  def parse(reader) -> np.ndarray:
    if "Index" not in (reader.fieldnames or ()):
      raise ValueError("it has no column Index")
    classes = [int(row["Index"]) for row in reader]
    found, counts = np.unique(np.array(classes, np.int64), return_counts=True)
    if not classes:
      raise ValueError("it has no class")
    if found[0] < 0 or found[-1] >= num_classes:
      wrong = found[0] if found[0] < 0 else found[-1]
      raise ValueError(f"class {wrong} is outside [0, {num_classes})")
    if counts.max() > 1:
      raise ValueError(f"class {found[counts.argmax()]} is there twice")
    return found

  kind = "a list of classes such as segment_label_ids.csv, with a column Index"
  return utils.read_csv(path, "segment_classes", kind, parse)


# The best segments of each class


class TopSegments:
  """The best segments of each class, of any number of segments.

  Each class has a buffer for somewhat more segments than are kept. Where it is
  full, all but the best are dropped, and from then on only what reaches the
  last one of these enters it: a segment takes part in few of these choices. Of
  equal scores those with the lower id are kept, and of one video's the earlier
  ones, so that the order in which segments come makes no difference.

  Memory: 12 bytes for each place of a buffer, 1.5 GB for 1,000 classes and
  100,000 segments of each, taken from the system as buffers fill; and about 120
  bytes a video, for its id.

  Args:
    classes: [C] int, the classes; others are left alone.
    limit: segments of each class that are kept.
  """

  def __init__(self, classes, limit: int = MOST_SEGMENTS):
    self._classes = np.asarray(classes)
    self._limit = limit
    self._extra = max(1, limit // 4)
    self._capacity = limit + self._extra
    num_classes = self._classes.size
    size = num_classes * self._capacity
    self._scores = np.empty(size, np.float32)
    self._segments = np.empty(size, np.int64)
    self._sizes = np.zeros(num_classes, np.int64)
    # What does not reach its class' bound cannot be among the best.
    self._bounds = np.full(num_classes, -np.inf, np.float32)
    self._video_ids: list[bytes] = []  # By number.
    self._numbers: dict[bytes, int] = {}

  def add(self, video_ids, starts, scores):
    """Adds segments, which have not been added before.

    Args:
      video_ids: [N] bytes.
      starts: [N] int, the second in which each starts.
      scores: [N, num_classes] float32, without NaN, of all classes by number.
    """
    segments = self._number(video_ids, starts)
    # Sorting small integers is several times as fast.
    index_type = np.min_scalar_type(self._sizes.size)
    for start in range(0, len(segments), self._extra):
      rows = slice(start, start + self._extra)
      own_scores = np.take(scores[rows], self._classes, axis=1)
      places = np.flatnonzero(own_scores >= self._bounds)
      found, indexes = np.divmod(places, self._sizes.size)
      order = np.argsort(indexes.astype(index_type), kind="stable")
      self._append(
        indexes[order],
        segments[rows][found[order]],
        own_scores.reshape(-1)[places[order]],
      )

  def rankings(self) -> Iterator[Ranking]:
    """Yields the best segments of each class, of which there may be none."""
    video_ids = np.array(self._video_ids, bytes)
    _, ranks = np.unique(video_ids, return_inverse=True)
    for index, number in enumerate(self._classes.tolist()):
      self._prune(index)
      scores, segments = self._of_class(index)
      videos, starts = np.divmod(segments, _STARTS)
      order = np.lexsort((ranks[videos] * _STARTS + starts, -scores))
      yield Ranking(
        number, video_ids[videos[order]], starts[order], scores[order]
      )

  def _number(self, video_ids, starts) -> np.ndarray:
    """[N] int64: segments as numbers; new videos get one."""
    video_ids = np.asarray(video_ids).tolist()
    new = dict.fromkeys(i for i in video_ids if i not in self._numbers)
    if new:  # Told now, not when all has been predicted.
      _check_ids(np.array([*new], bytes))
    self._numbers.update(zip(new, itertools.count(len(self._numbers))))
    self._video_ids.extend(new)
    numbers = np.array([self._numbers[i] for i in video_ids], np.int64)
    return numbers * _STARTS + starts

  def _append(self, indexes, segments, scores):
    """Adds [N] pairs, sorted by class, of each class `_extra` at most."""
    counts = np.bincount(indexes, minlength=self._sizes.size)
    for index in np.flatnonzero(self._sizes + counts > self._capacity):
      self._prune(index)
    firsts = np.cumsum(counts) - counts
    offsets = self._sizes - firsts + np.arange(counts.size) * self._capacity
    places = offsets[indexes] + np.arange(indexes.size)
    self._scores[places] = scores
    self._segments[places] = segments
    self._sizes += counts

  def _of_class(self, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of a class's scores and segments."""
    first = index * self._capacity
    own = slice(first, first + self._sizes[index])
    return self._scores[own], self._segments[own]

  def _prune(self, index: int):
    """Drops all but the best of a class."""
    scores, segments = self._of_class(index)
    if scores.size <= self._limit:
      return
    last = scores.size - self._limit
    bound = np.partition(scores, last)[last]
    kept, ties = np.flatnonzero(scores > bound), np.flatnonzero(scores == bound)
    num_ties = self._limit - kept.size
    if num_ties < ties.size:
      videos, starts = np.divmod(segments[ties], _STARTS)
      video_ids = [self._video_ids[number] for number in videos.tolist()]
      ties = ties[np.lexsort((starts, video_ids))]
    kept = np.concatenate([kept, ties[:num_ties]])
    scores[: self._limit] = scores[kept]
    segments[: self._limit] = segments[kept]
    self._sizes[index] = self._limit
    self._bounds[index] = bound


def merged(rankings: Sequence[Sequence]) -> Ranking:
  """Merges rankings of one class, such as those of several workers, into one.

  Args:
    rankings: the fields of `Ranking`, with scores; no segment is in two.

  Returns:
    The best `MOST_SEGMENTS` of all, best first; of equal scores the lower id
    comes first, and of one video's the earlier segment.
  """
  index, *columns = zip(*rankings, strict=True)
  video_ids, starts, scores = map(np.concatenate, columns)
  order = np.lexsort((starts, video_ids, -scores))[:MOST_SEGMENTS]
  return Ranking(int(index[0]), video_ids[order], starts[order], scores[order])
