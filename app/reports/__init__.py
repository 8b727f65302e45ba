"""Reports on a site for those who lead a city: a day or a month, as HTML or PDF, in English or French.

The API process reads what there is and hands it to a child process (`child`), which computes the figures,
words them, draws the charts and lays out the pages (`drawn`).
"""
