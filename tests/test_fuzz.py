# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Floods of damaged records: none crashes a reader, hangs it, or fools it."""

import pathlib
import re

import pytest

FLOOD = pathlib.Path(__file__).parent / "fuzz_records.py"


# Seeds: any. The soak's floods come to 30,000 records.
@pytest.mark.parametrize(
  ("num_records", "seed", "timeout"),
  [
    (100, 1, 60),
    pytest.param(6000, 2, 900, marks=pytest.mark.soak),
    pytest.param(6000, 3, 900, marks=pytest.mark.soak),
  ],
)
def test_flood(start_program, tmp_path, num_records, seed, timeout):
  # In a process of its own, as the interpreter may crash, or not come back.
  flood = start_program(FLOOD, str(num_records), str(seed), str(tmp_path))
  result = flood.wait(timeout)
  assert result.returncode == 0, result.stderr[-5000:]
  for level in ("video", "frame"):
    counts = re.search(
      rf"{level}: (\d+) records arrived, (\d+) were named as bad",
      result.stdout,
    )
    num_good, num_bad = map(int, counts.groups())
    # 12 are sound ones; hypothesis makes 20 at a time.
    num_made_by_hypothesis = num_records // 4 // 20 * 20
    assert num_good + num_bad == 12 + num_records + num_made_by_hypothesis
    # Both kinds are met, or this would not test much.
    assert min(num_good, num_bad) > num_records / 10
