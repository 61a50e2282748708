"""The whole pipeline against a simulated platform's truth: a home's warehouse and its `truth/` in, one table out."""

from lab.evaluation.yardstick.evaluate import evaluate_home
from lab.evaluation.yardstick.reading import TruthError
from lab.evaluation.yardstick.report import PIPELINE, HomeReport

__all__ = ["PIPELINE", "HomeReport", "TruthError", "evaluate_home"]
