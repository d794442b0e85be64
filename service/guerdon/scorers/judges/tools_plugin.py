"""A user's own tool: a function of a text, named as ``package.module:function``."""

import asyncio
import importlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

from guerdon.domain.errors import NotServable
from guerdon.scorers.judges.tools_contract import ToolFailed, Use

MOST_THREADS = 16


def load_plugin(path: str) -> tuple[Use, str]:
    """How the plug-in is used, and its own description. Raises NotServable that says what is wrong with it."""
    function = _found(path)
    _takes_a_text(path, function)
    description = (inspect.getdoc(function) or "").partition("\n")[0].strip()
    return (_Awaited(function) if _is_async(function) else _Threaded(path, function)), description


def _found(path: str) -> Callable[[str], Any]:
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name.isidentifier()):
        raise NotServable(f"plugin: `{path}` is not of the form `package.module:function`")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise NotServable(f"plugin: {module_name} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise NotServable(f"plugin: {module_name} has no function `{name}`")
    return function  # type: ignore[no-any-return]  # what it returns is looked at after each call


def _takes_a_text(path: str, function: Callable[[str], Any]) -> None:
    try:
        inspect.signature(function).bind("text")
    except (TypeError, ValueError) as error:
        raise NotServable(f"plugin: {path} cannot be called with one text: {error}") from error


def _is_async(function: Callable[[str], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class _Awaited:
    """A function of the event loop."""

    def __init__(self, function: Callable[[str], Any]) -> None:
        self._function = function

    async def __call__(self, text: str, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds) as clock:
                return _text(await self._function(text))
        except ToolFailed:
            raise
        except Exception as error:  # a plug-in may raise anything
            raise (_too_slow(seconds) if clock.expired() else _failed(error)) from error


class _Threaded:
    """A function that blocks. Each call has a thread, which cannot be stopped, so that hanging ones are counted."""

    def __init__(self, path: str, function: Callable[[str], Any]) -> None:
        self._path, self._function = path, function
        self._places = threading.BoundedSemaphore(MOST_THREADS)

    async def __call__(self, text: str, seconds: float) -> str:
        if not self._places.acquire(blocking=False):
            raise ToolFailed(f"{MOST_THREADS} of its calls are still running")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[str] = loop.create_future()
        threading.Thread(target=self._call, args=(text, answered, loop), daemon=True, name=self._path).start()
        try:
            async with asyncio.timeout(seconds):
                return await answered
        except TimeoutError as error:
            raise _too_slow(seconds) from error

    def _call(self, text: str, answered: asyncio.Future[str], loop: asyncio.AbstractEventLoop) -> None:
        try:
            said = _text(self._function(text))
        except ToolFailed as error:
            self._settle(loop, answered, error)
        except BaseException as error:  # a plug-in may raise anything, and somebody waits
            self._settle(loop, answered, _failed(error))
        else:
            self._settle(loop, answered, said)

    def _settle(self, loop: asyncio.AbstractEventLoop, answered: asyncio.Future[str], what: str | ToolFailed) -> None:
        self._places.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, answered, what)


def _deliver(answered: asyncio.Future[str], what: str | ToolFailed) -> None:
    if answered.done():
        return
    if isinstance(what, ToolFailed):
        answered.set_exception(what)
    else:
        answered.set_result(what)


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise ToolFailed(f"it gave no text but {type(said).__name__}")
    return said


def _failed(error: BaseException) -> ToolFailed:
    return ToolFailed(f"{type(error).__name__}: {error}"[:200])


def _too_slow(seconds: float) -> ToolFailed:
    return ToolFailed(f"it took longer than {seconds:g} s")
