"""Computes indices of air, noise, rooms and odours from measurements, each with its source and coverage.

An index is computed by a method with a name, a version, a citation and a coverage rule. Methods are pure:
numpy arrays in, `IndexResult` out. `input_queries` reads the measurements, `service` selects and computes,
`router` serves the results.
"""
