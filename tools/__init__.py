# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Programs that a user starts and no training job: `python -m tools.NAME`."""
