# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Checks the CSV files of the challenges, and says what they hold.

  python -m tools.check_submission predictions.csv
  python -m tools.check_submission segments.csv \
    --segment_classes=segment_label_ids.csv

Takes any number of files: rows "id,class confidence class confidence ..." as in
2017 and 2018, or "class,id:start id:start ..." as in 2019. The exit code is 0
if there is no problem, 1 if there is one, 2 if a flag is wrong.
"""

import array
import dataclasses
import itertools
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import program
from program import UserError

import config
import segments
import utils
from prediction_files import HEADER, split_row
from records import Problem

# Classes of a video that count in the challenges of 2017 and 2018.
MOST_CLASSES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckSettings:
  """What the files should hold."""

  num_classes: int = config.setting(
    config.ExperimentConfig.num_classes,
    "Number of classes; those of the files are in [0, num_classes).",
    (1, 10_000_000),
    group="Data",
  )
  segment_classes: str | None = config.setting(
    None,
    "The classes of the task of 2019, a CSV with a column Index such as "
    "segment_label_ids.csv. Others are unknown in a file of segments.",
    group="Data",
    is_path=True,
  )

  def __post_init__(self):
    config.check(self)


class Report:
  """What was found in a file.

  Attributes:
    num_pairs: of each row.
    problems: rows by cause.
    first: cause -> line and detail of the first one.
  """

  def __init__(self):
    self.num_pairs = array.array("q")
    self.problems: Counter[str] = Counter()
    self.first: dict[str, tuple[int, str]] = {}

  def add_row(self, line: int, num_pairs: int, problems: Iterable[Problem]):
    """Adds a row."""
    self.num_pairs.append(num_pairs)
    for cause, detail in problems:
      self.problems[cause] += 1
      self.first.setdefault(cause, (line, detail))

  def text(self, path: str, header: bytes) -> str:
    """The report as text for a terminal."""
    sizes = self.num_pairs
    mean = sum(sizes) / len(sizes)
    lines = [
      f"{path!r}, {header.decode()}: {len(sizes):,} rows, {sum(sizes):,} pairs "
      f"(min {min(sizes):,}, mean {mean:,.1f}, max {max(sizes):,} a row)"
    ]
    for cause, count in self.problems.most_common():
      line, detail = self.first[cause]
      rows = "row" if count == 1 else "rows"
      lines += [f"{cause}: {count:,} {rows}; the first:"]
      lines += [f"  line {line}: {detail}"]
    return "\n".join([*lines, f"Problems: {self.problems.total():,}."])


class VideoRows:
  """Checks rows "id,class confidence class confidence ..."."""

  header = HEADER.rstrip()

  def __init__(self, known_classes: Collection[int]):
    self._known_classes = known_classes
    self._seen: set[bytes] = set()

  def check(self, line: bytes) -> tuple[int, Iterator[Problem]]:
    """The number of pairs of a row, and its problems."""
    video_id, comma, cell = split_row(line)
    if not video_id or not comma:
      detail = f"{utils.shown(line)} is not 'id,class confidence class ...'"
      return 0, iter([Problem("no row", detail)])
    pairs = _parse_pairs(cell.split())
    return len(pairs[0]), self._find_problems(video_id, *pairs)

  def _find_problems(
    self, video_id, classes, scores, problem
  ) -> Iterator[Problem]:
    if problem:
      yield problem
    if video_id in self._seen:
      yield Problem(
        "video twice", f"video {utils.shown(video_id)} has a row already"
      )
    self._seen.add(video_id)
    if len(classes) > MOST_CLASSES:
      detail = f"it has {len(classes)} pairs, of which {MOST_CLASSES} count"
      yield Problem("too many pairs", detail)
    if repeated := [c for c, count in Counter(classes).items() if count > 1]:
      yield Problem("class twice", f"it has class {repeated[0]} twice")
    if unknown := [c for c in classes if c not in self._known_classes]:
      yield Problem("unknown class", f"it has class {unknown[0]}")
    if scores != sorted(scores, reverse=True):
      yield Problem("wrong order", "a confidence is above the one before it")


def _parse_pairs(
  words: Sequence[bytes],
) -> tuple[list[int], list[float], Problem | None]:
  """Classes and confidences up to the first word that is none, if there is."""
  classes, scores = [], []
  try:
    for number, word in enumerate(words):
      if number % 2:
        scores.append(float(word))
        if not math.isfinite(scores[-1]):
          raise ValueError
      else:
        classes.append(int(word))
  except ValueError:
    kind = "confidence" if number % 2 else "class"
    problem = Problem("no pair", f"{utils.shown(word)} is no {kind}")
  else:
    if len(classes) == len(scores):
      return classes, scores, None
    detail = f"its last class, {classes[-1]}, has no confidence"
    problem = Problem("row was cut", detail)
  return classes[: len(scores)], scores, problem


class SegmentRows:
  """Checks rows "class,id:start id:start ..."."""

  header = segments.HEADER

  def __init__(self, known_classes: Collection[int]):
    self._known_classes = known_classes
    self._seen: set[int] = set()

  def check(self, line: bytes) -> tuple[int, Iterator[Problem]]:
    """The number of pairs of a row, and its problems."""
    ranking, problem = segments.parse_row(line)
    size = segments.CELL_CHARACTERS
    if not problem and len(line.partition(b",")[2]) == size:
      detail = f"it has {size:,} characters of pairs: spreadsheets cut cells so"
      problem = Problem("row was cut", detail)
    num_pairs = ranking.starts.size if ranking else 0
    return num_pairs, self._find_problems(ranking, problem)

  def _find_problems(self, ranking, problem) -> Iterator[Problem]:
    if problem:
      yield problem
    if not ranking:
      return
    index, video_ids, starts, _ = ranking
    if index in self._seen:
      yield Problem("class twice", f"class {index} has a row already")
    self._seen.add(index)
    if index not in self._known_classes:
      yield Problem("unknown class", f"it is of class {index}")
    if starts.size > segments.MOST_SEGMENTS:
      counted = f"{segments.MOST_SEGMENTS:,} count"
      detail = f"it has {starts.size:,} pairs, of which {counted}"
      yield Problem("too many pairs", detail)
    repeated = segments.repeated_places(ranking)
    if repeated.size:
      first = f"{video_ids[repeated[0]].decode(errors='replace')}"
      detail = f"{repeated.size:,} of its segments are there already"
      example = f"{first}:{starts[repeated[0]]}"
      yield Problem("segment twice", f"{detail}, {example!r} for instance")


def check_file(path: str, known: Mapping[type, Collection[int]]) -> bool:
  """Checks a file row by row, and prints what it holds.

  Args:
    path: local or gs://.
    known: the classes of each form of rows.

  Returns:
    Whether there is no problem.

  Raises:
    UserError: it cannot be read, or has no row.
  """
  lines = utils.read_lines(path, None)
  first = next(lines, b"")
  form = SegmentRows if _is_of_segments(first) else VideoRows
  rows, report = form(known[form]), Report()
  with program.ProgressDisplay("row", every_secs=2.0) as display:
    numbered = segments.rows_of(itertools.chain([first], lines), form.header)
    for number, line in numbered:
      report.add_row(number, *rows.check(line))
      display.show(number, f"line {number} of {path!r}")
  if not report.num_pairs:
    raise UserError(f"{path!r} has no row.")
  sys.stdout.write(f"{report.text(path, form.header)}\n")
  return not report.problems


def _is_of_segments(line: bytes) -> bool:
  """Whether a file's first line is of segments, header or not."""
  _, _, cell = line.partition(b",")
  first_pair = cell.strip().partition(b" ")[0]
  return cell.strip().lower() == b"segments" or b":" in first_pair


def main(arguments: Sequence[str]) -> int:
  """Checks the files that the arguments name; returns the exit code."""
  settings = config.from_flags(CheckSettings)
  all_classes = range(settings.num_classes)
  known = {VideoRows: all_classes, SegmentRows: all_classes}
  if settings.segment_classes:
    found = segments.read_segment_classes(
      settings.segment_classes, settings.num_classes
    )
    known[SegmentRows] = set(found.tolist())
  are_right = [check_file(utils.expanded(path), known) for path in arguments]
  return 0 if all(are_right) else program.EXIT_FAILURE


def run():
  """Starts the program."""
  program.run(main, lambda: config.define_flags(CheckSettings), "FILE")


if __name__ == "__main__":
  run()
