# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Fresh virtual environments, and what is installed into them, offline."""

import pathlib
import shutil
import sys
import venv

PIP_INSTALL = (
  *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
  *("--no-deps", "--no-index", "--no-build-isolation"),
)


def copy_top_level(
  checkout: pathlib.Path, parent: pathlib.Path
) -> pathlib.Path:
  """Copies the root's files, where a build may leave traces; their folder."""
  folder = parent / "youtube-8m"
  folder.mkdir()
  for path in checkout.iterdir():
    if path.is_file() and not path.name.startswith("."):
      shutil.copy(path, folder)
  (folder / "tools").mkdir()
  for path in checkout.glob("tools/*.py"):
    shutil.copy(path, folder / "tools")
  return folder


def make_environment(folder: pathlib.Path) -> pathlib.Path:
  """A virtual environment that also sees what this one has installed.

  `--system-site-packages` would show the base interpreter's packages, which
  are not those of the environment that runs the tests. Packages installed here
  in editable mode stay invisible, as a .pth file does not read another's.

  Returns:
    Its site-packages folder.
  """
  venv.create(folder, symlinks=True, with_pip=False)
  (site_packages,) = folder.glob("lib/python*/site-packages")
  ours = [path for path in sys.path if path.endswith("-packages")]
  (site_packages / "outer.pth").write_text("\n".join(ours))
  return site_packages
