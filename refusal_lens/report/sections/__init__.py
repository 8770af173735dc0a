"""The sections of the report, a file each with its template; see `refusal_lens.report.section`."""
