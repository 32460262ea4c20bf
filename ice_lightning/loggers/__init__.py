"""What is recorded for Weights & Biases: `logger=wandb` is `Tracker`."""

from __future__ import annotations

from typing import Any

__all__ = ["Tracker"]


def __getattr__(name: str) -> Any:
    """Import on first use: the process that uploads needs neither torch nor Lightning."""
    if name == "Tracker":
        from ice_lightning.loggers.wandb import Tracker

        return Tracker
    raise AttributeError(f"module 'ice_lightning.loggers' has no attribute '{name}'")
