"""Writes the document to the file that is named."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.asyncapi.document import as_yaml

Path(sys.argv[1]).write_text(as_yaml(), encoding="utf-8")
