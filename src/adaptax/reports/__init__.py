"""What a person looks at: plots, tables for the terminal, and a self-contained HTML page."""

from adaptax.reports.html import write_report
from adaptax.reports.plots import adaptation_curve, learning_curve
from adaptax.reports.summary import EvaluationSummary, RunSummary
from adaptax.reports.tables import Table, console, headline

__all__ = [
    "EvaluationSummary",
    "RunSummary",
    "Table",
    "adaptation_curve",
    "console",
    "headline",
    "learning_curve",
    "write_report",
]
