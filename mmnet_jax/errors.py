"""The one exception that users are meant to read."""


class UserError(Exception):
    """Something the user can put right; its message is one sentence that names the thing at fault.

    The commands print the message alone on stderr and exit with status 2.
    """
