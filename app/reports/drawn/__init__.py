"""What a report says and how it looks, made of what was read: pure, no database, no HTTP, no clock."""
