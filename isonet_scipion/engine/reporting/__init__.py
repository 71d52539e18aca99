"""Figures and pages: the only room with matplotlib or HTML."""
