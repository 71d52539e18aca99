"""One file per command: tables and files in, tables and files out, around the functions on arrays."""
