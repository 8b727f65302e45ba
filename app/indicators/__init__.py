"""City computations: indices, exceedances, noise levels, risks and comfort, from what was measured.

Each is a method with a name, a version, a citation and a rule of coverage. All that computes is pure: numpy
arrays in, `Result` out; no database, no HTTP, no clock. `reads`, `service` and `router` bring what was
measured to it, and the results to whoever asks.
"""
