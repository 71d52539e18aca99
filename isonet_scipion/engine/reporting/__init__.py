"""Figures and pages.

Rule: the only room with matplotlib or HTML.
"""
