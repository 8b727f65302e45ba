"""E-mail as a way out: what a mail says, whom it may go to, and how it is sent."""
