"""The library's own lines under their equation: what a notebook shows is what runs, never a copy of it."""

import ast
import inspect
import re
import textwrap

_EQUATIONS = re.compile(r"\bEq\. (\d+(?:(?:, | and | or | to |-)\d+)*)")


def source(*functions, docstring: bool = False):
    """Return the source of ``functions`` of the library as one Markdown output, for the last line of a cell.

    Above each stands where it is from and the equations that its docstring and comments name. The docstring itself is
    left out unless ``docstring``, so that the line that does it is seen. Raises ValueError, in one line, for what is
    no function or method of bso_lib.
    """
    from IPython.display import Markdown  # which only notebooks need

    if not functions:
        raise ValueError("source() shows functions of bso_lib: name one")
    return Markdown("\n\n".join(_block(function, docstring) for function in functions))


def _block(function, docstring):
    own = inspect.unwrap(function) if callable(function) else None
    own = getattr(own, "__func__", own)  # of a bound method
    if not (inspect.isfunction(own) and own.__module__.split(".")[0] == "bso_lib"):
        what = getattr(function, "__qualname__", type(function).__name__)
        raise ValueError(f"{what} is no function or method of bso_lib: source() shows the library's own lines alone")
    lines, first = inspect.getsourcelines(own)
    named = ", ".join(_EQUATIONS.findall("".join(lines)))
    equations = ", ".join(dict.fromkeys(re.split(r", | and | or ", named)))
    where = f"`{own.__module__}.{own.__qualname__}`, line {first}" + f" · Eq. {equations}" * bool(equations)
    text = textwrap.dedent("".join(lines))
    if not docstring:
        text = _without_docstring(text)
    return f"{where}\n\n```python\n{text.rstrip()}\n```"


def _without_docstring(text):
    definition = ast.parse(text).body[0]
    told, *rest = definition.body
    if not (rest and ast.get_docstring(definition, clean=False)):
        return text
    lines = text.splitlines()
    return "\n".join(lines[: told.lineno - 1] + lines[told.end_lineno :])
