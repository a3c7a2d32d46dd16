"""The commands that users run, one module each: ``python -m experiments.<command> --help``."""

import sys

from weights_convert import stopping

# Python puts -m there while it looks for the module that it is to run; otherwise it is the path of the installed script.
if sys.argv and (sys.argv[0] == "-m" or sys.argv[0].endswith("attribute-subspaces")):
    stopping.end_without_words()
