"""The card of the documentation, and a dashboard of its own for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rigs.homeassistant.hub import Hub

_PAGE = Path(__file__).parents[3] / "docs" / "home-assistant.md"


def documented_card(node: str) -> dict[str, Any]:
    """Give the card as it is to be pasted, for a node."""
    block = re.search(r"```yaml\n(type: markdown\n.*?)```", _PAGE.read_text(), re.DOTALL)
    assert block is not None
    card: dict[str, Any] = yaml.safe_load(block[1])
    content = str(card["content"]).replace("voice_kitchen", f"voice_{node.replace('-', '_')}")
    return {**card, "content": content}


@contextmanager
def dashboard(hub: Hub, name: str, card: dict[str, Any]) -> Iterator[str]:
    """Have a dashboard with one card for the length of a block; give its address."""
    about = {"title": "Voice", "show_in_sidebar": True, "require_admin": False, "mode": "storage"}
    made = hub.ask("lovelace/dashboards/create", url_path=name, **about)
    view = {"title": "Home", "path": "home", "cards": [card]}
    hub.ask("lovelace/config/save", url_path=name, config={"views": [view]})
    try:
        yield f"{hub.url}/{name}/home"
    finally:
        hub.ask("lovelace/dashboards/delete", dashboard_id=made["id"])
