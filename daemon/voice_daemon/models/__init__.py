"""Recogniser models: find one on this disk, list them, verify them, fetch one from the hub.

Fetching loads `huggingface_hub`, finding does not: the daemon needs no network code to start.
"""

from voice_daemon.models.catalogue import CATALOGUE, CatalogueEntry
from voice_daemon.models.store import (
    InstalledModel,
    Verification,
    list_models,
    locate,
    resolve,
    verify,
)

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "InstalledModel",
    "Verification",
    "list_models",
    "locate",
    "resolve",
    "verify",
]
