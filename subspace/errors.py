"""What is wrong with what was given, as opposed to what is wrong with the program."""


class InputError(ValueError):
    """An argument, a setting or a file that cannot be used, in one sentence that names it.

    Commands show it as one line and exit with status 2. Every other exception but an :class:`OSError` that names its file is
    a fault of the program and shows its traceback.

    Args:
        message: the sentence.
        argument: the argument or field that is to be changed, where a command has an option for it.
    """

    def __init__(self, message: str, *, argument: str | None = None):
        super().__init__(message)
        self.argument = argument
