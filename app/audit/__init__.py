"""Who did what, and who saw whose data: written with what it tells of, in a chain that shows each change."""
