# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Records that cannot be used: the policy, the counts, the limit, the report.

By default a program stops at the first bad record. With --on_bad_record=skip it
goes on without it, and this module counts, logs and lists what was left out.
"""

import collections
import json
import threading
import time
from collections.abc import Sequence

from program import UserError

from absl import logging

import shard_files
import utils
from records import Problem, place

REPORT_FILE = "bad_records.json"

# Most log lines for each cause; the report lists all records.
_MOST_LINES = 20
_WRITE_EVERY_SECS = 10.0
# The keys that identify an entry of a report.
_KEY = ("shard", "record", "cause")


class BadRecords:
  """Counts, logs and lists what a program leaves out; for several threads.

  What is met again in a later pass over the data counts once. As a context
  manager, it logs and writes the totals at its end.

  Args:
    report_path: the JSON file that lists what was left out. It is written only
      if something was. None: it is only logged.
    max_fraction: the largest part of the data that may be left out, in [0, 1].
    goes_on: whether a report that exists is of earlier runs of the same work,
      and is kept as "earlier_runs"; otherwise it is deleted.
  """

  def __init__(
    self,
    report_path: str | None,
    max_fraction: float = 0.01,
    goes_on: bool = False,
  ):
    self._report_path = report_path
    self._max_fraction = max_fraction
    self._goes_on = goes_on
    self._earlier: list[dict] = []
    self._lock = threading.Lock()
    self._shards: set[str] = set()
    self._total_bytes = 0.0
    self._record_bytes = 1.0
    # Counts over the shards that have been read to their end.
    self._readable: set[str] = set()
    self._num_readable = self._num_bytes = 0
    # The cause, too: a shard may go after its first record was left out.
    self._left_out: dict[tuple[str, int, str], dict] = {}
    self._news: list[dict] = []
    self._num_in_faults = 0
    self._causes = collections.Counter()
    self._num_lines = collections.Counter()
    self._num_written = 0
    self._last_write = time.monotonic()

  def __enter__(self):
    if not self._report_path:
      return self
    if self._goes_on:
      self._earlier = _read_entries(self._report_path)
    elif utils.is_file(self._report_path):
      utils.delete(self._report_path)
    return self

  def __exit__(self, *unused_error):
    if self._left_out:
      self._write()
      see = f" See {self._report_path}." if self._report_path else ""
      logging.warning("Left out: %s.%s", self.summary(), see)

  def forget_earlier_runs(self):
    """No longer lists them: their work is begun anew."""
    self._earlier = []

  def expect(self, shards: Sequence[str], record_bytes: int):
    """Says what will be read; called again, adds other shards to it.

    Args:
      shards: the shards of a data set.
      record_bytes: size of a typical record.
    """
    self._record_bytes = max(1.0, record_bytes)
    others = [shard for shard in shards if shard not in self._shards]
    if others:
      self._total_bytes += utils.mean_file_size(others) * len(others)
    self._shards.update(others)

  def add_shard(self, shard: str, num_records: int, num_bytes: int):
    """Counts a shard's records that can be read, whatever they hold.

    Args:
      shard: the shard's path.
      num_records: their number.
      num_bytes: the bytes of their data.
    """
    with self._lock:
      if shard in self._readable:
        return
      self._readable.add(shard)
      self._num_readable += num_records
      self._num_bytes += num_bytes
      if self._num_readable:
        # A record may have no data at all.
        self._record_bytes = max(1.0, self._num_bytes / self._num_readable)

  def leave_out(
    self, shard: str, number: int, problem: Problem, video_id: str | None
  ):
    """Counts and logs a record that is left out.

    Args:
      shard: the shard's path.
      number: the record's number in it.
      problem: what is wrong.
      video_id: the video's id, if it can be read.
    """
    self._add(shard, number, problem, video_id, 1)

  def leave_out_fault(
    self, shard: str, fault: shard_files.Fault, video_id: str | None
  ):
    """Counts and logs a damaged place of a shard, with all that is lost there.

    Args:
      shard: the shard's path.
      fault: the place.
      video_id: the id of the video there, if it can be read.
    """
    num_lost = max(1, round(fault.lost_bytes / self._record_bytes))
    if fault.is_short:  # As many as the other shards have, it is to be feared.
      per_shard = self._num_expected() / max(1, len(self._shards))
      num_lost = max(num_lost, round(per_shard) - fault.number)
    problem = Problem(fault.cause, fault.detail)
    self._add(shard, fault.number, problem, video_id, num_lost, True)

  def _add(self, shard, number, problem, video_id, num_records, in_fault=False):
    """Notes what is left out, and logs it if it is new."""
    entry = {
      "shard": shard,
      "record": number,
      "video_id": video_id,
      "cause": problem.cause,
      "detail": problem.detail,
      "num_records": num_records,
    }
    if not self._count(entry, in_fault):
      return
    with self._lock:
      self._news.append((entry, in_fault))
    if self._num_lines[problem.cause] <= _MOST_LINES:
      logging.warning(
        "Left out: %s: %s. So far: %s.",
        place(shard, number, video_id),
        problem.detail,
        self.summary(),
      )

  def _count(self, entry: dict, in_fault: bool) -> bool:
    """Counts what is left out, if it is new."""
    key = tuple(map(entry.get, _KEY))
    with self._lock:
      if key in self._left_out:
        return False
      self._left_out[key] = entry
      self._causes[entry["cause"]] += entry["num_records"]
      self._num_lines[entry["cause"]] += 1
      self._num_in_faults += in_fault * entry["num_records"]
    return True

  def take_news(self) -> bytes:
    """Entries since the last call, as JSON for other workers, or no bytes."""
    with self._lock:
      news, self._news = self._news, []
    return json.dumps(news).encode() if news else b""

  def add_news(self, news: bytes):
    """Counts what another worker has left out and logged."""
    for entry, in_fault in json.loads(news):
      self._count(entry, in_fault)

  def check(self):
    """Called now and then by the thread that uses the data; writes the report.

    Raises:
      UserError: more is bad than may be left out.
    """
    is_due = time.monotonic() - self._last_write > _WRITE_EVERY_SECS
    if is_due and len(self._left_out) > self._num_written:
      logging.warning("Left out so far: %s.", self.summary())
      self._write()
    fraction = self._causes.total() / max(1, self._num_expected())
    if fraction > self._max_fraction:
      path = self._report_path
      raise UserError(
        f"More cannot be used than --max_bad_fraction={self._max_fraction} "
        f"allows: {self.summary()}."
        + (f" They are listed in {path!r}." if path else "")
      )

  def _num_expected(self) -> float:
    """Records of the whole data: exact once all shards have been looked at."""
    found = self._num_readable + self._num_in_faults
    if len(self._readable) == len(self._shards):
      return found
    return max(found, self._total_bytes / self._record_bytes)

  def summary(self) -> str:
    """How many records were left out, and why."""
    with self._lock:
      causes = self._causes.most_common()
    total, expected = self._causes.total(), max(1, self._num_expected())
    listing = ", ".join(f"{count:,} {cause}" for cause, count in causes)
    return (
      f"{total:,} of about {expected:,.0f} records ({total / expected:.2%}), "
      f"{listing}"
    )

  def _write(self):
    if not self._report_path:
      return
    with self._lock:
      entries = list(self._left_out.values())
      report = {
        "num_records": round(self._num_expected()),
        "num_left_out": self._causes.total(),
        "max_bad_fraction": self._max_fraction,
        "causes": dict(self._causes),
        "left_out": entries,
        "earlier_runs": [
          entry
          for entry in self._earlier
          if tuple(map(entry.get, _KEY)) not in self._left_out
        ],
      }
    self._num_written = len(entries)
    self._last_write = time.monotonic()
    try:
      utils.write_json(self._report_path, report)
    except UserError as error:  # Of what may be days of work the least part.
      logging.warning("%s", error)


def _read_entries(report_path: str) -> list[dict]:
  """The entries of a report; those of a damaged one that can be used."""
  try:
    report = utils.read_json(report_path) if utils.is_file(report_path) else {}
  except UserError as error:
    logging.warning("%s", error)
    return []
  keys = ("left_out", "earlier_runs") if isinstance(report, dict) else ()
  lists = [report.get(key) for key in keys]
  return [
    entry
    for entries in lists
    if isinstance(entries, list)
    for entry in entries
    if isinstance(entry, dict)
    and all(isinstance(entry.get(name), str | int) for name in _KEY)
  ]
