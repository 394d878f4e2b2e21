"""The one exception that speaks to the person: what was wrong, and what to do next."""


class UserError(Exception):
    """A mistake or a state of the world that the person at the keyboard can mend.

    The command line prints the message and exits with `status`; from Python it is raised as it is.
    """

    def __init__(self, problem: str, remedy: str = "", status: int = 1) -> None:
        self.problem = problem
        self.remedy = remedy
        self.status = status
        super().__init__(f"{problem}\n{remedy}" if remedy else problem)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: Python's, NumPy's, or PyTorch's on any device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
