"""A run as one page that works offline: what it shows (`facts`, `learnt`), and the page (`page`).

Rule: nothing that a run holds reaches the page but as JSON, and no text reaches the screen but as
text, so that a model may be called anything. The page loads nothing from anywhere.
"""

from mergekit_mo.report.facts import report_facts
from mergekit_mo.report.learnt import learnt_facts, lesson_of
from mergekit_mo.report.page import page_text, report_text

__all__ = ["learnt_facts", "lesson_of", "page_text", "report_facts", "report_text"]
