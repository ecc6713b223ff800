"""The errors that a user can cause. The command line prints them as one line and exits with code 2."""


class MaskbenchError(Exception):
    """Bad input or an impossible request. The message is one line that names the file and the remedy."""


class ImageError(MaskbenchError):
    """An image cannot be read or written, or is larger than the limit."""


class NameRefusedError(MaskbenchError):
    """The file system cannot hold a file of this name, such as one that is too long; other names may do."""


class ProtocolError(MaskbenchError):
    """A protocol folder or a pair list is malformed; the message names file and line."""


class ManifestError(MaskbenchError):
    """A manifest is malformed, incomplete or belongs to another run."""


class RecognizerError(MaskbenchError):
    """A recognizer is unknown, its card and its weights disagree, or its engine is not installed."""


class ResultError(MaskbenchError):
    """A result file is malformed, or results that must not be compared were mixed."""
