"""Explorables: anywidgets whose JavaScript runs on live state in a notebook and on embedded state in a built page."""

from contrastlib.widgets._dial import TemperatureDial

__all__ = ["TemperatureDial"]
