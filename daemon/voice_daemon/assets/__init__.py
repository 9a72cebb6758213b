"""Files that come with the package; README.md beside them says where each is from."""

from __future__ import annotations

from pathlib import Path

DEMO_CLIP = Path(__file__).parent / "demo.wav"
"""A synthetic voice: "Hey Jarvis", then "turn on the kitchen lights"."""
HOME_CLIP = Path(__file__).parent / "home.wav"
"""A synthetic voice: "turn off the Plantuary", a name that no model knows."""
