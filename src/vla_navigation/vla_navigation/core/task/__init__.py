"""From a sentence to what is to be fetched, from where, to where."""
