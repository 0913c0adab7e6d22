"""Reports: one self-contained HTML page, and the same results in the terminal. Knows no model."""

from weighted_mtp.reports.content import CONTROLS, Accuracy, Curve, Histogram, PageContent, SummaryRow, TokenView
from weighted_mtp.reports.page import render_page, write_page
from weighted_mtp.reports.terminal import print_summary, print_tokens

__all__ = [
    "CONTROLS",
    "Accuracy",
    "Curve",
    "Histogram",
    "PageContent",
    "SummaryRow",
    "TokenView",
    "print_summary",
    "print_tokens",
    "render_page",
    "write_page",
]
