"""The one exception that the object layer raises about its input."""

from __future__ import annotations


class ObjectError(Exception):
    """Something about an object file that stops the work, told to the user.

    ``section`` is a section's name and ``offset`` a byte offset in it (in the file when there is no
    section). ``line`` and ``column`` are of a source file, which ``file`` names then. ``str()`` is
    ``file:section+0xoffset: error: message``, without the parts not known; the message says what is wrong and what
    to do about it.
    """

    def __init__(
        self,
        message: str,
        file: str | None = None,
        section: str | None = None,
        offset: int | None = None,
        *,
        line: int = 0,
        column: int = 0,
    ) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.message = message
        self.file = file
        self.section = section
        self.offset = offset

    def __str__(self) -> str:
        parts = (self.file, self.line, self.column, self.section)
        where = ":".join(str(part) for part in parts if part)
        if self.offset is not None:
            where += f"+{self.offset:#x}"
        text = f"{where}: error: {self.message}" if where else f"error: {self.message}"
        # Names come from the input: bytes that are no UTF-8 are surrogates here, which no terminal takes.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
