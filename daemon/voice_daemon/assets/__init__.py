"""Files that come with the package; README.md beside them says where each is from."""

from pathlib import Path

DEMO_CLIP = Path(__file__).parent / "demo.wav"
"""A synthetic voice: "Hey Jarvis", then "turn on the kitchen lights"."""
HOME_CLIP = Path(__file__).parent / "home.wav"
"""A synthetic voice: "turn off the Plantuary", a name that no model knows."""

HEARD_SOUND = Path(__file__).parent / "heard.wav"
"""Played when a wake word was heard."""
DONE_SOUND = Path(__file__).parent / "done.wav"
"""Played when a command has ended."""
NOTHING_SOUND = Path(__file__).parent / "nothing.wav"
"""Played when nothing was heard, or nothing could be made of it."""
TIMER_SOUND = Path(__file__).parent / "timer.wav"
"""Played again and again when a timer is over."""
WAKE_NEGATIVES = Path(__file__).parent / "wake-negatives.npz"
"""Embeddings of speech, noise and music in which no wake word is said, and common words."""
