"""Scores of all coalitions of a prompt's words under a model: the packed prefix trie and its noise."""

from interplay.scoring.scores import Prepared, Scores, UnitScores, prepare, score, score_answers, score_prepared

__all__ = ["Prepared", "Scores", "UnitScores", "prepare", "score", "score_answers", "score_prepared"]
