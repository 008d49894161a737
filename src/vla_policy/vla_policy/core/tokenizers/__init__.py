"""Between action chunks and the tokens that a language model reads and writes."""
