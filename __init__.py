# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Puts this folder first on `sys.path`, so that `import readers` finds ours.

The modules import each other by their bare names, as `python train.py` needs.
Started as `python -m youtube-8m.train` from the parent folder, by gcloud, or
from an installed package, this folder would not be on the path at all, and a
`utils.py` in the working folder would be found instead.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
# The same folder further down would only be searched twice.
sys.path[1:] = [folder for folder in sys.path[1:] if folder != sys.path[0]]
