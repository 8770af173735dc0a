"""The report of a run as one HTML page, and its findings as Markdown."""

from refusal_lens.report.page import write_report as write_report
