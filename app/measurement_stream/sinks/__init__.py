"""Sends batches of measurements to the systems of clients. One file for each kind of sink, one interface."""
