"""The one error that is the user's to mend: something given is not what was expected."""


class InputError(ValueError):
    """A file, setting or argument is not what was expected.

    The message names the file or argument, what was expected and what came; the scripts print it alone, without a
    traceback, and exit with 1. Anything else that is raised is a fault of ours and keeps its traceback.
    """
