"""A plain Python call for every task: objects in, objects out, and no file is written.

from ice_lightning import discover, explain, judge, load_generator

G = load_generator("embedded")
S = discover(G, "hair_color", people=8, progress=True)
E = explain(G, "smiling_biased", S, people=8)
print(judge([E]).sentence)
"""

from ice_lightning.api.calls import discover, explain, invert, judge
from ice_lightning.api.moves import at, traverse
from ice_lightning.api.results import Discovered, Explanation, Verdict

__all__ = ["Discovered", "Explanation", "Verdict", "at", "discover", "explain", "invert", "judge", "traverse"]
