"""Shows the state of an installation: edges, log, workers, database hosts and processes."""
