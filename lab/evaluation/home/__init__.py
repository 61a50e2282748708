"""The whole pipeline against a simulated platform's truth: a home's warehouse and its `truth/` in, one table out."""

from lab.evaluation.home.benchmark import WorldHome
from lab.evaluation.home.evaluate import evaluate_home
from lab.evaluation.home.report import PIPELINE, HomeReport

__all__ = ["PIPELINE", "HomeReport", "WorldHome", "evaluate_home"]
