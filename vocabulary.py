# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The names of classes, from a data set's vocabulary."""

import csv
from collections.abc import Iterator, Mapping

from program import UserError

import utils

# Columns of the index, the name and the entity's id in a vocabulary.
_COLUMNS = ("Index", "Name", "KnowledgeGraphId")
_AUDIOSET_COLUMNS = ("index", "display_name", "mid")


def name_of(index: int, names: Mapping[int, str]) -> str:
  """The name of a class; "class 7" for one that `names` does not have."""
  return names.get(index, f"class {index}")


def read_vocabulary(path: str, only_named: bool = False) -> dict[int, str]:
  """Class index -> name, from the dataset's vocabulary.csv.

  AudioSet's class_labels_indices.csv is read as well. Rows come in any order. A
  class whose name is empty is called by the id of its entity (KnowledgeGraphId,
  mid), or by its index where that is empty too.

  Args:
    path: local or gs://.
    only_named: whether to leave out classes whose name is empty instead.

  Raises:
    UserError: the file cannot be read, lacks a column, or has a class twice.
  """
  return utils.read_csv(
    path,
    "vocabulary_file",
    "the dataset's vocabulary.csv, a CSV with the columns Index and Name",
    lambda reader: dict(_named_classes(reader, only_named)),
  )


def read_names(path: str, num_classes: int) -> dict[int, str]:
  """The names that a vocabulary has for a model's classes.

  Raises:
    UserError: as `read_vocabulary`, or it has none for them.
  """
  names = read_vocabulary(path, only_named=True)
  if not any(0 <= index < num_classes for index in names):
    raise UserError(
      f"--vocabulary_file={path!r} names none of the model's {num_classes} "
      "classes. It must be that of the data that the model was trained on."
    )
  return names


def _named_classes(
  reader: csv.DictReader, only_named: bool
) -> Iterator[tuple[int, str]]:
  """Index and name of each class in a vocabulary.

  Raises:
    ValueError, csv.Error: it is something else.
  """
  columns = set(reader.fieldnames or ())
  index_column, name_column, id_column = (
    _AUDIOSET_COLUMNS if "display_name" in columns else _COLUMNS
  )
  if missing := {index_column, name_column} - columns:
    raise ValueError(f"it has no column {', '.join(sorted(missing))}")
  seen = set()
  for row in reader:
    index = int(row[index_column])
    if index < 0 or index in seen:
      raise ValueError(f"class {index} is negative, or there twice")
    seen.add(index)
    if row[name_column] or not only_named:
      yield index, row[name_column] or row.get(id_column) or name_of(index, {})
