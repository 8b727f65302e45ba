"""Quality of readings: flags that say what is odd about a sample, and corrections that clients define.

Nothing of either is stored with the samples, which stay as they came: both are made as they are read.
"""
