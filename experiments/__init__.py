"""The commands that users run, one module each: ``python -m experiments.<command> --help``."""

import sys

from weights_convert import stopping

if sys.argv[:1] == ["-m"]:  # which Python puts there while it looks for the module that it is to run
    stopping.end_without_words()
