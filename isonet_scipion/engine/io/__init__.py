"""Files: the only room that opens tables and volumes."""
