"""What a user can get wrong. The command line prints the message and leaves with exit code 2."""


class UserError(ValueError):
    """Something the caller gave is wrong; the message is one sentence that names the value."""


class DataError(UserError):
    """A data set is missing, damaged or not what it says it is; the message names file and reason."""
