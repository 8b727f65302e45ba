"""Roll-ups: summaries of hours and of local days, kept right by marks that are written with the samples."""
