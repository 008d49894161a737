"""Titles of pictures in any script: the fonts of this machine that can write them."""

from __future__ import annotations

_CHINESE = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")
_OWN = "DejaVu Sans"  # matplotlib brings it; it has no Chinese


def legible(title: str) -> tuple[str, list[str]]:
    """A title and the font families to write it in; empty where no font can: boxes instead of words help nobody."""
    from matplotlib import font_manager  # seconds to load, and the graph should be up first

    fonts = [name for name in _CHINESE if name in set(font_manager.get_font_names())]
    return (title if title.isascii() or fonts else ""), [_OWN, *fonts]
