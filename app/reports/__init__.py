"""Reports on a site for city officials: a day or a month, as HTML or PDF, in English or French.

The API process reads the data and passes them to a child process (`report_process`), which computes the
figures, writes the texts, draws the charts and lays out the pages (`render`).
"""
