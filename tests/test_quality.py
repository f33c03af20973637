# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of the models has what benchmarks/quality.py measured."""

import pytest
from pages import DOCS

from benchmarks import quality


@pytest.mark.parametrize("data", quality.DATA)
def test_the_page_has_the_tables(data):
  text = (DOCS / "models.md").read_text()
  rows = quality.read_table()
  assert quality.format_table(data, rows) in text
  measured = {row["recipe"]: row["flags"] for row in rows}
  for recipe in quality.RECIPES:
    if recipe.name in measured:
      assert measured[recipe.name] == recipe.description
  assert quality.format_commands(data, measured) in text


def test_rows_stay_in_the_order_of_the_recipes(tmp_path):
  path = str(tmp_path / "models.csv")
  rows = [
    dict.fromkeys(quality.COLUMNS, "1") | {"data": data, "recipe": recipe}
    for data, recipe in (
      ("audioset", "clip_logistic"),
      ("video", "moe"),
      ("video", "no longer there"),
      ("video", "logistic"),
    )
  ]
  quality.write_table(rows, path)
  assert quality.read_table(path) == [rows[3], rows[1], rows[0]]
