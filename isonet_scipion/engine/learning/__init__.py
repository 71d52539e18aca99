"""The training: the only room that trains."""
