"""Versions made of content: a fingerprint of the code that computes something, and of the files it reads.

Code is read, not imported. A version follows what its roots refer to, definition by definition, through the modules in
`COMPUTING`; a definition counts by its syntax tree, so that comments, docstrings, formatting and log calls do not, nor
does what nothing refers to. Of an asset's own module, what it shows (descriptions, plots) plays no part.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMPUTING = (
    "assets",
    "journeys_dagster.inference",
    "journeys_dagster.llm.masking",
    "journeys_dagster.llm.prompts",
    "journeys_dagster.monitoring",
    "journeys_dagster.orchestration.reads",
    "journeys_dagster.resources.labels",
    "journeys_dagster.sources.contracts",
    "journeys_dagster.sources.parameters",
    "journeys_dagster.training",
)
"""Packages and modules whose code decides results; the search from an asset's module stops at all others."""

_ASSETS = "assets"
_SHOWN = frozenset({"checks", "description", "example", "grain", "group", "kinds", "plot"})
"""Arguments by which an asset says how it looks, in the modules of `_ASSETS`."""
_COLUMN_TYPES = frozenset({"text", "texts", "integer", "bigint", "double", "boolean", "utc_day", "timestamp"})
"""Functions of `journeys_dagster.tables` that make a column; their first argument describes it."""
_DESCRIBING = frozenset({"journeys_dagster.sources.contracts"})
"""Modules besides those of `_ASSETS` that say in such arguments what something is."""
_OWN_PACKAGES = frozenset({"assets", "journeys_dagster", "lab"})
_LOGS = frozenset({"log", "logger", "logging", "run", "_log", "_logger"})
_LOG_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "warn"})
_BESIDE = frozenset({"with_suffix", "with_name"})
_SQL = re.compile(r"\s*(?:--[^\n]*\s*)*(?:with|select|from|insert|delete|update|create)\b", re.IGNORECASE)
_SQL_LAYOUT = re.compile(r"""('(?:[^']|'')*'|"[^"]*")|(?:--[^\n]*|/\*.*?\*/|\s)+""", re.DOTALL)


def code_version(*objects: Callable[..., object]) -> str:
    """Version of functions and classes, with all that they refer to; twelve hexadecimal digits."""
    return installed().version(*(f"{each.__module__}:{each.__qualname__}" for each in objects))


def step_version(step: str) -> str:
    """Version of an asset, by its name or that of its module in ``assets``; twelve hexadecimal digits."""
    return installed().version(step if "." in step else f"{_ASSETS}.{step}")


def step_names() -> list[str]:
    """Names of the modules in ``assets``."""
    return [name.rpartition(".")[2] for name in installed().modules(_ASSETS)]


@functools.cache
def installed() -> "SourceTree":
    """The code that runs."""
    return SourceTree(Path(__file__).resolve().parents[2])


class SourceTree:
    """Python packages in a folder, of which versions are made.

    Parameters
    ----------
    root : Path
        The folder that the packages lie in: a clone, or site-packages.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[str, _Module] = {}
        self._paths: dict[str, Path | None] = {}
        self._files: dict[Path, str] = {}
        self._versions: dict[tuple[str, ...], str] = {}

    def modules(self, package: str) -> list[str]:
        """Names of a package's modules, or of the one module that it is."""
        folder = self._root / package.replace(".", "/")
        if not folder.is_dir():
            return [package]
        return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]

    def version(self, *roots: str) -> str:
        """Fingerprint of some code and all that it refers to.

        Parameters
        ----------
        *roots : str
            ``package``, ``package.module`` or ``package.module:definition``.

        Returns
        -------
        str
            Twelve hexadecimal digits.

        Raises
        ------
        LookupError
            There is no such module or definition.
        """
        if roots not in self._versions:
            parts = "\0".join(sorted(self._reached(roots)))
            self._versions[roots] = hashlib.sha256(parts.encode()).hexdigest()[:12]
        return self._versions[roots]

    def _reached(self, roots: tuple[str, ...]) -> set[str]:
        parts: set[str] = set()
        seen: set[tuple[str, int]] = set()
        waiting: list[tuple[str, _Statement]] = []

        def visit(module: str, places: set[int]) -> None:
            new = {(module, place) for place in places} - seen
            seen.update(new)
            waiting.extend((module, self._module(module).statements[place]) for _, place in new)

        for root in roots:
            name, _, definition = root.partition(":")
            for module in [name] if definition else self.modules(name):
                found = self._module(module)
                visit(module, found.defining(definition.partition(".")[0]) if definition else found.whole())
        while waiting:
            module, statement = waiting.pop()
            parts.add(f"{module}:{statement.text}")
            parts |= {f"{module}/{file}:{self._file_version(module, file)}" for file in statement.files}
            for target, name in self._references(module, statement):
                parts |= self._follow(target, name, visit)
        return parts

    def _references(self, module: str, statement: "_Statement") -> Iterator[tuple[str, str]]:
        """Module and name of what a statement refers to; no name where it is the module as a whole."""
        here = self._module(module)
        imports = here.imports | statement.imports
        for name, attribute in statement.uses:
            if name in imports:
                target, imported = imports[name]
                inner = f"{target}.{imported}"
                if imported and _is_own(target) and self._path(inner) is not None:
                    yield inner, attribute
                else:
                    yield target, imported
            elif name in here.bound:
                yield module, name

    def _follow(self, module: str, name: str, visit: Callable[[str, set[int]], None]) -> set[str]:
        if not _is_own(module):
            return {f"{module}.{name}"}
        if not any(f"{module}.".startswith(f"{room}.") for room in COMPUTING) or module == __name__:
            return set()
        found = self._module(module)
        visit(module, found.defining(name) if name else found.whole())
        return set()

    def _path(self, module: str) -> Path | None:
        if module not in self._paths:
            path = self._root / module.replace(".", "/")
            candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
            self._paths[module] = next((candidate for candidate in candidates if candidate.exists()), None)
        return self._paths[module]

    def _module(self, name: str) -> "_Module":
        if name not in self._modules:
            path = self._path(name)
            if path is None:
                raise LookupError(f"there is no module {name} in {self._root}")
            describes = name in _DESCRIBING or name.startswith(f"{_ASSETS}.")
            self._modules[name] = _Module.of_code(path.read_bytes(), describes=describes)
        return self._modules[name]

    def _file_version(self, module: str, file: str) -> str:
        """Hash of a data file beside a module; of TOML without comments."""
        beside = self._root / module.replace(".", "/")
        path = beside.with_suffix(file) if file.startswith(".") else beside.with_name(file)
        if path not in self._files:
            content = path.read_bytes() if path.exists() else b""
            if path.suffix == ".toml":
                lines = (line.strip() for line in content.splitlines())
                content = b"\n".join(line for line in lines if line and not line.startswith(b"#"))
            self._files[path] = hashlib.sha256(content).hexdigest()
        return self._files[path]


@dataclass
class _Statement:
    """A statement of a module: its syntax as text, and what it refers to.

    Attributes
    ----------
    uses : set of tuples of str
        Names, each with the attribute that is taken of it, or without one.
    imports : dict of str to tuple of str
        Module and name behind each name that is imported in it.
    files : set of str
        Suffixes and names of data files beside the module.
    shows : set of str
        Names by which an asset says how it looks.
    """

    text: str = ""
    uses: set[tuple[str, str]] = field(default_factory=set)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    shows: set[str] = field(default_factory=set)


@dataclass
class _Module:
    """A module's statements; ``bound`` are the places of those that make, or change, what a name stands for."""

    statements: list[_Statement]
    bound: dict[str, set[int]]
    imports: dict[str, tuple[str, str]]

    @classmethod
    @functools.cache
    def of_code(cls, code: bytes, *, describes: bool) -> "_Module":
        """Parsed once, however many trees hold it."""
        module = cls([], {}, {})
        for node in ast.parse(code).body:
            if _plays_no_part(node):
                continue
            statement = _Reader(describes=describes).statement_of(node)
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                module.imports |= statement.imports
            if statement.text:
                for name in _bound_by(node):
                    module.bound.setdefault(name, set()).add(len(module.statements))
                module.statements.append(statement)
        return module

    def defining(self, name: str) -> set[int]:
        """Places of what defines a name, and of what is done whenever the module is imported."""
        found = self.bound.get(name)
        if found is None:
            raise LookupError(f"nothing defines {name!r}")
        return found | self.bound.get("", set())

    def whole(self) -> set[int]:
        """Places of all statements, but for those that serve only what an asset shows."""
        places = {place for place, statement in enumerate(self.statements) if not statement.shows}
        shown = {name for statement in self.statements for name in statement.shows}
        while shown:
            only_shown = self.bound.get(shown.pop(), set()) & places
            places -= only_shown
            shown |= {used for place in only_shown for used, _ in self.statements[place].uses}
        return places | {place for place, statement in enumerate(self.statements) if statement.shows}


class _Reader:
    """Reads one statement."""

    def __init__(self, *, describes: bool) -> None:
        self._describes = describes
        self._parts: list[str] = []
        self._found = _Statement()

    def statement_of(self, node: ast.stmt) -> _Statement:
        self._read(node)
        self._found.text = " ".join(self._parts)
        return self._found

    def _read(self, value: object) -> None:
        if isinstance(value, list):
            for each in value:
                if not _plays_no_part(each):
                    self._read(each)
            self._parts.append("]")
        elif isinstance(value, ast.Constant):
            self._parts.append(repr(_without_layout(value.value) if isinstance(value.value, str) else value.value))
        elif isinstance(value, ast.JoinedStr):
            texts = (part.value if isinstance(part, ast.Constant) else "\0" for part in value.values)
            self._parts.append(repr(_without_layout("".join(map(str, texts)))))
            self._read([part for part in value.values if not isinstance(part, ast.Constant)])
        elif isinstance(value, ast.Import | ast.ImportFrom):
            self._read_import(value)
        elif isinstance(value, ast.keyword) and self._describes and value.arg in _SHOWN:
            self._found.shows |= {node.id for node in ast.walk(value.value) if isinstance(node, ast.Name)}
        elif isinstance(value, ast.AST):
            self._read_node(value)
        else:
            self._parts.append(repr(value))

    def _read_node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self._found.uses.add((node.id, ""))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            self._found.uses.add((node.value.id, node.attr))
            self._parts.append(f"{node.value.id}.{node.attr}")
            return
        elif isinstance(node, ast.Call) and (file := _file_beside(node)) is not None:
            self._found.files.add(file)
        self._parts.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "args" and self._describes and _is_column(node):
                continue
            # Fields that newer versions of Python have added are empty in the older ones.
            if value is not None and value != [] and name != "ctx":
                self._parts.append(name)
                self._read(value)
        self._parts.append(")")

    def _read_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                self._found.imports[alias.asname or alias.name] = (node.module or "", alias.name)
            else:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                self._found.imports[alias.asname or name] = (name, "")


def _plays_no_part(node: object) -> bool:
    """Whether a statement is a docstring, a log call, or asks only whether to log."""
    if isinstance(node, ast.If):
        return not node.orelse and all(_is_log_call(each) for each in node.body)
    return _is_log_call(node) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


def _is_log_call(node: object) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    called = node.value.func
    if isinstance(called, ast.Attribute) and called.attr in _LOG_LEVELS:
        called = called.value
        return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _LOGS
    return isinstance(called, ast.Name) and called.id in _LOGS


def _is_column(node: ast.AST) -> bool:
    """Whether a call makes a column of a table, whose description is its argument."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _COLUMN_TYPES


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in _OWN_PACKAGES


def _file_beside(node: ast.Call) -> str | None:
    """The suffix or name in ``Path(__file__).with_suffix(...)`` or ``.with_name(...)``."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name("Path"), args=[ast.Name("__file__")]), attr=attribute),
            args=[ast.Constant(str(file))],
        ) if attribute in _BESIDE:
            return file
    return None


def _bound_by(node: ast.stmt) -> set[str]:
    """Names that a statement of a module defines or changes; the empty name where it does something else."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    targets = [each for each in ast.walk(node) if isinstance(getattr(each, "ctx", None), ast.Store)]
    bases = (next(each.id for each in ast.walk(target) if isinstance(each, ast.Name)) for target in targets)
    return set(bases) or {""}


def _without_layout(text: str) -> str:
    """A text; without comments and layout if it is SQL."""
    if "\n" not in text or not _SQL.match(text):
        return text
    return _SQL_LAYOUT.sub(lambda found: found[1] or " ", text).strip()
