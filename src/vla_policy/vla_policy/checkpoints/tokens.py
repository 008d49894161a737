"""Tokenizers of published language models, from the tokenizer.json in a local folder."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from vla_core.errors import WeightsError


class Tokens:
    """Text to tokens with the special ones that the tokenizer puts around it.

    Args:
        folder: With a tokenizer.json.
        longest: Most tokens; 0: as many as there are.

    Raises:
        WeightsError: no such file, or a corrupt one.
    """

    def __init__(self, folder: Path, longest: int = 0) -> None:
        path = folder / "tokenizer.json"
        fix = "put the language model's tokenizer there, or name its folder in the preset's `model: tokenizer`"
        if not path.is_file():
            raise WeightsError(f"no file {path}", "a tokenizer", fix)
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise WeightsError(f"{path}: {' '.join(str(error).split())}", "an intact tokenizer", fix) from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if longest:
            self.tokenizer.enable_truncation(longest)

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [int(token) for token in self.tokenizer.encode(text).ids]
