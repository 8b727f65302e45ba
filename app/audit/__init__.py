"""Records changes and accesses in an audit log whose hash chain reveals tampering."""
