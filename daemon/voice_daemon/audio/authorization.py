"""macOS' own answer to whether this program may use the microphone (AVCaptureDevice).

Without the permission the microphone delivers zeros and no error, just as one that is switched
off does: only macOS knows the difference. Asked through the Objective-C runtime by ctypes, so
that it needs no package.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Final

OBJECTIVE_C: Final = "/usr/lib/libobjc.A.dylib"
AV_FOUNDATION: Final = "/System/Library/Frameworks/AVFoundation.framework/AVFoundation"
SYSTEM: Final = "/usr/lib/libSystem.B.dylib"
_GLOBAL_BLOCK: Final = 1 << 28


class Authorization(Enum):
    """AVAuthorizationStatus, by its numbers."""

    NOT_DETERMINED = 0
    """Nobody was asked yet."""
    RESTRICTED = 1
    """A profile or Screen Time forbids it; the user cannot allow it."""
    DENIED = 2
    AUTHORIZED = 3


@dataclass(frozen=True, slots=True)
class Libraries:
    """Paths of the three libraries; a test has its own."""

    objective_c: str = OBJECTIVE_C
    av_foundation: str = AV_FOUNDATION
    system: str = SYSTEM


class _BlockDescriptor(ctypes.Structure):
    """The second half of a block, by clang's "Block Implementation Specification"."""

    _fields_ = (("reserved", ctypes.c_ulong), ("size", ctypes.c_ulong))


class _Block(ctypes.Structure):
    """A block without captured variables: what Objective-C calls back."""

    _fields_ = (
        ("isa", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("invoke", ctypes.c_void_p),
        ("descriptor", ctypes.POINTER(_BlockDescriptor)),
    )


_Answered = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_bool)


class MicrophonePermission:
    """macOS' permission for this program to use the microphone.

    It speaks of the responsible program: under launchd the app, in a terminal the terminal.
    Raises `OSError` where macOS cannot be asked.
    """

    def __init__(self, libraries: Libraries | None = None) -> None:
        paths = libraries or Libraries()
        self._runtime = ctypes.CDLL(paths.objective_c)
        framework = ctypes.CDLL(paths.av_foundation)
        try:
            for function in (self._runtime.objc_getClass, self._runtime.sel_registerName):
                function.restype, function.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
            self._audio = ctypes.c_void_p.in_dll(framework, "AVMediaTypeAudio")
            block_class = ctypes.c_void_p.in_dll(
                ctypes.CDLL(paths.system), "_NSConcreteGlobalBlock"
            )
        except (AttributeError, ValueError) as error:
            raise OSError(
                f"macOS does not say whether the microphone is allowed: {error}"
            ) from error
        # It stays for as long as macOS may call it, that is until the question is answered.
        self._answered = _Answered(lambda _block, _granted: None)
        self._descriptor = _BlockDescriptor(0, ctypes.sizeof(_Block))
        self._block = _Block(
            ctypes.addressof(block_class),
            _GLOBAL_BLOCK,
            0,
            ctypes.cast(self._answered, ctypes.c_void_p),
            ctypes.pointer(self._descriptor),
        )

    def status(self) -> Authorization:
        """Ask how it stands; nobody is bothered by it."""
        send = self._sender(ctypes.c_long, ctypes.c_void_p)
        number = send(self._device, self._selector("authorizationStatusForMediaType:"), self._audio)
        return Authorization(number)

    def request(self) -> None:
        """Have macOS put its question to the user, where it has none yet; returns at once."""
        send = self._sender(None, ctypes.c_void_p, ctypes.c_void_p)
        selector = self._selector("requestAccessForMediaType:completionHandler:")
        send(self._device, selector, self._audio, ctypes.addressof(self._block))

    @property
    def _device(self) -> int:
        found: int | None = self._runtime.objc_getClass(b"AVCaptureDevice")
        if found is None:
            raise OSError(
                "macOS does not say whether the microphone is allowed: there is no AVCaptureDevice"
            )
        return found

    def _selector(self, name: str) -> int:
        registered: int = self._runtime.sel_registerName(name.encode())
        return registered

    def _sender(self, result: type | None, *arguments: type) -> ctypes._FuncPointer:
        """Give objc_msgSend with a message's own types: on arm64 a variadic call goes wrong."""
        receiver_and_selector = (ctypes.c_void_p, ctypes.c_void_p)
        prototype = ctypes.CFUNCTYPE(result, *receiver_and_selector, *arguments)
        return prototype(("objc_msgSend", self._runtime))


def microphone_permission(platform: str = sys.platform) -> MicrophonePermission | None:
    """Give macOS' view of the microphone; None on other systems, and where it cannot be asked."""
    if platform != "darwin":
        return None
    try:
        return MicrophonePermission()
    except OSError:
        return None
