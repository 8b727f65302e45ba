"""Takes a batch of messages to a commit, step by step."""
