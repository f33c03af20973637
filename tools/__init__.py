# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What a user starts and a training job does not: `python -m tools.NAME`."""
