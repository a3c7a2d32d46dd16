"""The commands that users run, one module each: ``python -m experiments.<command> --help``."""
