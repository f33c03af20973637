# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What the README and docs/ hold: code blocks, commands, sections, tables."""

import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

# A line of the shell that gives a value to a name.
SETTING = r"\w+=\S*"


def blocks(page: pathlib.Path, language: str) -> list[str]:
  """The fenced code blocks of a language."""
  pattern = rf"^```{language}\n(.*?)^```$"
  return re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)


def block_with(language: str, text: str) -> str:
  """The one code block of all pages that holds a text."""
  (block,) = [
    block for page in PAGES for block in blocks(page, language) if text in block
  ]
  return block


def section(page: pathlib.Path, heading: str) -> str:
  """What is between a heading and the next one of the same level or above."""
  level = heading.split()[0]
  pattern = rf"^{heading}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)"
  return re.search(pattern, page.read_text(), re.MULTILINE | re.DOTALL)[1]


def table_rows(text: str) -> list[list[str]]:
  """The cells of a table's rows, without its two heading lines."""
  lines = [line for line in text.splitlines() if line.startswith("|")]
  return [
    [cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]
  ]


def code_words(cell: str) -> list[str]:
  """What is set as code in a cell."""
  return re.findall(r"`([^`]+)`", cell)


def block_lines(block: str) -> list[str]:
  """Every command of a block of the shell as one line; no comments."""
  lines = re.sub(r"\\\n *", "", block).splitlines()
  return [line for line in lines if shlex.split(line, comments=True)]


def command_lines(page: pathlib.Path) -> list[str]:
  """Every shell command as one line, without lines that only set a name."""
  lines = [line for block in blocks(page, "sh") for line in block_lines(block)]
  return [line for line in lines if not re.fullmatch(SETTING, line)]


def commands(page: pathlib.Path) -> list[list[str]]:
  """The words of every shell command."""
  return [shlex.split(line, comments=True) for line in command_lines(page)]
