"""What `task=` names: a configuration in, a result out. Only here and in `run` is Hydra imported."""

from ice_lightning.tasks.compare import Comparison

__all__ = ["Comparison"]
