"""A user's model: its class from a Python file, and errors of its code in one line with file and line."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from node_agent.errors import InputError, TestbedError, line_passed

if TYPE_CHECKING:
    from node_agent.models.networks.early_exit import EarlyExitModel

MOST_FILE_BYTES = 4 * 2**20


def is_model_file(text: str) -> bool:
    """Return True if a model's name has the form FILE.py:CLASS, or FILE.py without a class."""
    return ".py:" in text or text.endswith(".py")


@dataclass(frozen=True, slots=True)
class UserClass:
    """The class of a model in a user's file; nothing of the file runs before `load`."""

    file: Path
    name: str

    @classmethod
    def parse(cls, text: str) -> "UserClass":
        """Return the class that FILE.py:CLASS names.

        Raises:
            InputError: the text names no class, or there is no such file.
        """
        path, _, name = text.rpartition(":") if ".py:" in text else (text, "", "")
        if not name.isidentifier():
            raise InputError(f"model {text!r} names no class", hint=f"state it as {path or text}:Class")
        if not Path(path).is_file():
            raise InputError(f"there is no model file {path}", hint="state FILE.py:CLASS, with the path of the file")
        return cls(Path(path), name)

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def folder(self) -> Path:
        """The folder into which `model train` writes by default."""
        return self.file.parent / f"{self.file.stem}-{self.name}"

    def source(self) -> bytes:
        """Return the file's bytes. Raises InputError if it cannot be read, or is no text of a program's size."""
        try:
            if self.file.stat().st_size > MOST_FILE_BYTES:
                raise InputError(f"{self.file}: more than {MOST_FILE_BYTES} bytes", hint="state FILE.py:CLASS")
            return self.file.read_bytes()
        except OSError as error:
            raise InputError(f"{self.file}: {error.strerror}", hint="state FILE.py:CLASS") from error

    def sha256(self) -> str:
        """Return the SHA-256 (hex) of the file. Raises InputError as `source` does."""
        return hashlib.sha256(self.source()).hexdigest()

    def load(self, sha256: str | None = None) -> "type[EarlyExitModel]":
        """Run the file and return the class; loads torch.

        Args:
            sha256: of the file that is expected; None: any.

        Raises:
            InputError: the file is another one, its code raises, or it has no such class derived from EarlyExitModel.
        """
        from node_agent.models.networks.early_exit import EarlyExitModel  # noqa: PLC0415 - loads torch

        source = self.source()
        if sha256 is not None and hashlib.sha256(source).hexdigest() != sha256:
            raise changed(self)
        module = ModuleType(f"dtoee_user_model_{self.file.stem}")
        module.__file__ = str(self.file)
        sys.modules[module.__name__] = module  # dataclasses and pickling look a class's module up
        with self.running("it"):
            exec(compile(source, str(self.file), "exec", dont_inherit=True), module.__dict__)
        found = getattr(module, self.name, None)
        if not (isinstance(found, type) and issubclass(found, EarlyExitModel)):
            own = (each for each in vars(module).values() if isinstance(each, type))
            names = [each.__name__ for each in own if issubclass(each, EarlyExitModel) and each is not EarlyExitModel]
            hint = f"it holds {', '.join(names)}" if names else "derive it from dtoee_testbed.EarlyExitModel"
            raise InputError(f"{self.file} has no model class {self.name!r}", hint=hint)
        return found

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Turn an exception of the user's code into an InputError of one line; `what` is the thing that was run."""
        try:
            yield
        except TestbedError:
            raise
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            text = " ".join(str(error).split())
            said = f"{type(error).__name__}: {text}" if text else type(error).__name__
            raise InputError(f"model {self}: {what} fails: {said}", hint=self._hint_on(error)) from error

    def _hint_on(self, error: BaseException) -> str:
        place = self._place_of(error)
        if not self._beside(error):
            return place
        advice = "a model's file cannot import modules beside it: put all in one file, or install the module"
        return f"{advice}; {place}" if place else advice

    def _beside(self, error: BaseException) -> bool:
        """Return True if an import failed, and the folder of the user's file has such a module."""
        if not isinstance(error, ModuleNotFoundError) or error.name is None:
            return isinstance(error, ImportError) and "relative import" in str(error)
        module = self.file.parent / error.name.partition(".")[0]
        return module.is_dir() or module.with_suffix(".py").is_file()

    def _place_of(self, error: BaseException) -> str:
        """The last line of the user's file that an exception passed, in words; empty if it did not pass the file."""
        if isinstance(error, SyntaxError) and error.filename == str(self.file):
            return f"{self.file}, line {error.lineno}"
        line = line_passed(self.file, error)
        return "" if line is None else f"it was raised by {self.file}, line {line}"


def changed(model: UserClass) -> InputError:
    """Return the error of a file that is not the one that was measured."""
    return InputError(
        f"model {model}: its bundle was measured with another version of the file",
        hint=f"measure again with the stored weights: dtoee-testbed model train {model} --epochs 0; or train anew",
    )


def untrained(model: UserClass, folder: Path) -> InputError:
    """Return the error of a model without a bundle."""
    return InputError(
        f"model {model} is not trained yet: there is no {folder / 'card.json'}",
        hint=f"train it: dtoee-testbed model train {model}",
    )
