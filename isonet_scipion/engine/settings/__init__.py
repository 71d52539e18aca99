"""Every option of every command: name, default, unit and meaning, in one place.

The command line is generated from these classes, and Scipion's forms take their defaults from them (`option.options`).
Names and defaults are those of IsoNet 0.2; a default of None is explained in the option's help.

Rule: dataclasses of options, which import no other room.
"""
