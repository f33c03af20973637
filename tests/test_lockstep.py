# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""`cluster.Lockstep`: workers of any parts take the same steps, and no others.

The workers are threads here, and their all-reduce is a barrier between them.
"""

import threading

import program
from program import UserError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cluster

_TIMEOUT_SECS = 20
BLANK = "padding"


class Meeting:
  """An all-gather between threads."""

  def __init__(self, count: int):
    self._barrier = threading.Barrier(count, timeout=_TIMEOUT_SECS)
    self._rows = [None] * count

  def gather(self, index: int, row) -> np.ndarray:
    self._rows[index] = row
    self._barrier.wait()
    table = np.array(self._rows, float)
    self._barrier.wait()
    return table


class ThreadWorkers:
  """What `Lockstep` needs of `cluster.Workers`."""

  def __init__(self, meeting: Meeting, index: int, count: int):
    self._meeting, self._index, self.count = meeting, index, count

  def split(self, batch):
    return batch

  def agree(self, values, error=None):
    table = self._meeting.gather(self._index, [*values, bool(error)])
    if table[:, -1].any():
      raise error or UserError("Another worker stops.")
    return table[:, :-1]


def run_worker(workers, meeting, index, part, most, outcome):
  """One worker's pass; `part` has batches, errors to raise, or signals."""
  stop = program.StopSignals()
  trained = outcome.setdefault(index, [])

  def batches():
    for item in part:
      if isinstance(item, Exception):
        raise item
      yield item

  lockstep = cluster.Lockstep(workers, batches(), lambda: BLANK, stop)
  try:
    for batch, flags in lockstep.steps(most):
      if batch == "signal":
        stop.received = 15
      trained.append(batch)
      sums = meeting.gather(index, flags).sum(axis=0)
      lockstep.note(sums)
    lockstep.agree_on_end()
    end = stop.received
  except Exception as error:  # The test looks at it.
    end = error
  outcome[index] = trained, end, lockstep.is_cut_short


def run_workers(parts, most=1000):
  meeting, outcome = Meeting(len(parts)), {}
  threads = [
    threading.Thread(
      target=run_worker,
      args=(
        *(ThreadWorkers(meeting, index, len(parts)), meeting, index),
        *(part, most, outcome),
      ),
    )
    for index, part in enumerate(parts)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(_TIMEOUT_SECS)
    assert not thread.is_alive()
  return [outcome[index] for index in range(len(parts))]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 7), min_size=2, max_size=4), st.integers(1, 9))
def test_all_take_as_many_steps_as_the_longest_part(sizes, most):
  parts = [list(range(size)) for size in sizes]
  num_steps = min(max(sizes), most)
  for part, (trained, end, is_cut) in zip(
    parts, run_workers(parts, most), strict=True
  ):
    padding = [BLANK] * max(0, num_steps - len(part))
    assert trained == part[:num_steps] + padding
    assert end is None
    # No step is of padding alone, and a pass that is done is known to be.
    assert is_cut == (max(sizes) > most)


@settings(deadline=None, max_examples=60)
@given(
  st.integers(0, 6),
  st.integers(0, 6),
  st.integers(0, 1),
)
def test_a_signal_at_one_of_them_stops_all_within_two_steps(before, other, who):
  parts = [[*range(before), "signal", *range(9)], list(range(other))]
  results = run_workers(parts[::-1] if who else parts)
  lengths = {len(trained) for trained, _, _ in results}
  assert len(lengths) == 1
  assert lengths.pop() <= before + 3
  assert [end for _, end, _ in results] == [15, 15]
  assert all(is_cut for _, _, is_cut in results)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 6), st.integers(0, 9))
def test_a_reader_that_fails_at_one_of_them_stops_all(before, other):
  broken = UserError("'a.tfrecord', record 3: broken")
  first, second = run_workers([[*range(before), broken], list(range(other))])
  assert len(first[0]) == len(second[0])
  # What was read before the failure and could still be trained on.
  assert [batch for batch in first[0] if batch != BLANK] == list(
    range(len([batch for batch in first[0] if batch != BLANK]))
  )
  assert first[1] is broken
  assert str(second[1]) == "Another worker stops."


def test_one_alone_stops_before_its_next_step():
  stop = program.StopSignals()
  workers = cluster.alone()
  lockstep = cluster.Lockstep(workers, range(9), None, stop)
  seen = []
  for batch, flags in lockstep.steps(100):
    seen.append(batch)
    assert flags.tolist() == [0, 0]
    if batch == 1:
      stop.received = 15
  assert seen == [0, 1]
  lockstep.agree_on_end()
  assert lockstep.is_cut_short


def test_one_alone_fails_at_once():
  def batches():
    yield 0
    raise UserError("broken")

  lockstep = cluster.Lockstep(
    cluster.alone(), batches(), None, program.StopSignals()
  )
  steps = lockstep.steps(100)
  next(steps)
  with pytest.raises(UserError, match="broken"):
    next(steps)
