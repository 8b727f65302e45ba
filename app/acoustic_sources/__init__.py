"""What an impulsive sound may come from: firearms and look-alikes, as data with a version; their API."""
