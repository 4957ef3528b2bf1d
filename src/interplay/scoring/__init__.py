"""Scores of all coalitions of a prompt's words under a model: the packed prefix trie and its noise."""
