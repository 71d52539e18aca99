"""One file per command: tables and files in, tables and files out.

Rule: no arithmetic; each calls the functions of the other rooms and is called by the command line alone.
"""
