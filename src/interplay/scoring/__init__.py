"""Sample x model -> scores of all coalitions. The only part besides data/ that knows tokenizers, and models at all."""

from interplay.scoring.loading import load_model
from interplay.scoring.models import LoadedModel, load_tokenizer
from interplay.scoring.scores import Prepared, Scores, UnitScores, prepare, score, score_answers, score_prepared

__all__ = [
    "LoadedModel",
    "Prepared",
    "Scores",
    "UnitScores",
    "load_model",
    "load_tokenizer",
    "prepare",
    "score",
    "score_answers",
    "score_prepared",
]
