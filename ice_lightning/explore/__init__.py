"""The explorer: a person and sliders in the browser, `python -m ice_lightning.explore`."""
