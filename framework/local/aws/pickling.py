"""Pickles object graphs that were not made for it: locks, lambdas, RSA keys, and references between services.

Not a security boundary: a snapshot is read back only by the user who wrote it, from a folder that only that user may read.
"""

from __future__ import annotations

import collections
import importlib
import io
import pickle
import threading
import types
from collections.abc import Callable
from typing import Any

# Concrete types of locks are private names; these are they.
_LOCKS: dict[type, str] = {type(threading.Lock()): "Lock", type(threading.RLock()): "RLock"}


def dumps(value: object, reference: Callable[[object], Any | None]) -> tuple[bytes, set[type]]:
    """Pickle `value`; wherever `reference(x)` is not None, that is stored in the place of `x`.

    Returns:
        the pickle, and the types of the objects in it (without the basic ones): what was read back once for a set of types will be
        readable again.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: something in the graph (a thread, a socket, a generator) cannot be saved.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, reference)
    pickler.dump(value)
    return buffer.getvalue(), pickler.types


def loads(content: bytes, resolve: Callable[[Any], Any]) -> Any:
    """The value that was pickled; `resolve` turns what `reference` returned into the object meant."""
    return _Unpickler(io.BytesIO(content), resolve).load()


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, reference: Callable[[object], Any | None]) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self._reference = reference
        self.types: set[type] = set()

    def persistent_id(self, obj: object) -> Any | None:
        return self._reference(obj)

    def reducer_override(self, obj: object) -> Any:
        kind = type(obj)
        self.types.add(kind)
        lock = _LOCKS.get(kind)
        if lock:
            return _new_lock, (lock,)
        if isinstance(obj, types.FunctionType) and "<locals>" in obj.__qualname__ and obj.__closure__ is None:
            return _nested_function, (obj.__module__, obj.__qualname__, obj.__code__.co_code, obj.__defaults__)
        if isinstance(obj, dict) and kind.__module__ not in ("builtins", "collections"):
            # Pickle would call the subclass's constructor or __setitem__, which need what is not there yet.
            factory = getattr(obj, "default_factory", None)
            state = (dict(dict.items(obj)), getattr(obj, "__dict__", {}))
            return _new_dict, (kind, factory), state, None, None, _fill_dict
        if kind.__module__.startswith("cryptography.") and hasattr(obj, "private_bytes"):
            return _private_key, (_private_bytes(obj),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, resolve: Callable[[Any], Any]) -> None:
        super().__init__(buffer)
        self._resolve = resolve

    def persistent_load(self, pid: Any) -> Any:
        return self._resolve(pid)


def _new_lock(kind: str) -> Any:
    return getattr(threading, kind)()


def _new_dict(kind: Any, factory: Any) -> Any:
    new = kind.__new__(kind)
    if issubclass(kind, collections.defaultdict):
        collections.defaultdict.__init__(new, factory)
    return new


def _fill_dict(new: dict[Any, Any], state: tuple[dict[Any, Any], dict[str, Any]]) -> None:
    items, attributes = state
    dict.update(new, items)
    vars(new).update(attributes)


def _nested_function(module: str, qualname: str, bytecode: bytes, defaults: tuple[Any, ...] | None) -> Any:
    """The function of that qualified name, found in the code of the function around it.

    `defaultdict(lambda: ...)` in a constructor has no name that pickle could import. Among several lambdas of one function the
    bytecode tells them apart; after an update of the library the only one left with that name is taken.
    """
    target: Any = importlib.import_module(module)
    namespace = vars(target)
    outer, *inner = qualname.split(".<locals>.")
    for name in outer.split("."):
        target = getattr(target, name)
    codes = [target.__code__]
    for name in inner:
        codes = [
            constant
            for code in codes
            for constant in code.co_consts
            if isinstance(constant, types.CodeType) and constant.co_name == name.rpartition(".")[2]
        ]
    same = [code for code in codes if code.co_code == bytecode] or codes
    if not same:
        raise pickle.UnpicklingError(f"{module}.{qualname} is gone")
    return types.FunctionType(same[0], namespace, qualname.rpartition(".")[2], defaults)


def _private_bytes(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _private_key(content: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    return load_der_private_key(content, password=None)
