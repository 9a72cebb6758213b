"""What a signature is: the seal over a bundle, and the hash that names the code.

The rules for what in a bundle is nested code are `rules2` of bundlediskrep.cpp, and how they are
applied is signer.cpp, both in Apple's open Security. A program is a Mach-O, or the ELF that
stands for it where the tests run. The signature lies beside the resources and not in the program,
so that a real Mac, which looks at every byte of a program, would still run it.
"""

from __future__ import annotations

import hashlib
import json
import plistlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

AD_HOC = "-"
RULES = {
    # A pattern, its weight, and what it makes of a file: a resource, nested code, or nothing.
    r"^Resources/": (20, "resource"),
    r"^Resources/.*\.lproj/": (1000, "resource"),
    r"^Resources/.*\.lproj/locversion.plist$": (1100, "omit"),
    r"^Resources/Base\.lproj/": (1010, "resource"),
    r"^[^/]+$": (10, "nested"),
    r"^(Frameworks|SharedFrameworks|PlugIns|Plug-ins|XPCServices|Helpers|MacOS|"
    r"Library/(Automator|Spotlight|LoginItems))/": (10, "nested"),
    r"^.*": (1, "resource"),
    r".*\.dSYM($|/)": (11, "resource"),
    r"^(.*/)?\.DS_Store$": (2000, "omit"),
    r"^Info\.plist$": (20, "omit"),
    r"^version\.plist$": (20, "resource"),
    r"^embedded\.provisionprofile$": (20, "resource"),
    r"^PkgInfo$": (20, "omit"),
}
_MACHINE_CODE = (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\x7fELF")
_SIGNATURE = Path("_CodeSignature", "CodeDirectory")


class RefusedError(Exception):
    """codesign's refusal, in its words."""


@dataclass(frozen=True)
class Signature:
    """What is signed: hashes of the program, of Info.plist and of the list of resources."""

    identifier: str
    signed_by: str
    program: str
    info: str
    resources: str

    @property
    def cdhash(self) -> str:
        """The hash by which the code is known: the same for the same content."""
        return _digest(json.dumps(asdict(self), sort_keys=True).encode())[:40]

    @property
    def requirement(self) -> str:
        """What code must be to be the same program in the eyes of TCC."""
        if self.signed_by == AD_HOC:
            return f'cdhash H"{self.cdhash}"'
        return f'identifier "{self.identifier}" and certificate leaf = "{self.signed_by}"'


@dataclass(frozen=True)
class Bundle:
    """An app; raises `RefusedError` for what is none."""

    app: Path

    def __post_init__(self) -> None:
        if not self.program.is_file():
            raise RefusedError(f"{self.app}: bundle format unrecognized, invalid, or unsuitable")

    @property
    def contents(self) -> Path:
        return self.app / "Contents"

    @property
    def info(self) -> dict[str, object]:
        try:
            found = plistlib.loads((self.contents / "Info.plist").read_bytes())
        except (OSError, ValueError, ExpatError):
            found = None
        return found if isinstance(found, dict) else {}

    @property
    def program(self) -> Path:
        return self.contents / "MacOS" / str(self.info.get("CFBundleExecutable", ""))

    def signature(self) -> Signature | None:
        """Read the signature, whether it still fits or not."""
        file = self.contents / _SIGNATURE
        return Signature(**json.loads(file.read_text())) if file.is_file() else None

    def sign(self, identifier: str, identity: str) -> None:
        """Seal everything; raises `RefusedError` where codesign would."""
        code = self.program.read_bytes()
        if not code.startswith(_MACHINE_CODE):
            raise RefusedError(f"{self.app}: the main executable is no machine code")
        sealed = plistlib.dumps({"files2": self._sealed()})
        folder = self.contents / "_CodeSignature"
        folder.mkdir(exist_ok=True)
        (folder / "CodeResources").write_bytes(sealed)
        signature = self._signature_of(code, sealed, identifier, identity)
        (self.contents / _SIGNATURE).write_text(json.dumps(asdict(signature)))

    def verify(self) -> Signature:
        """Give the signature where all of it holds, as `--verify --strict` wants it."""
        signature = self.signature()
        resources = self.contents / "_CodeSignature" / "CodeResources"
        if signature is None or not resources.is_file():
            raise RefusedError(f"{self.app}: code object is not signed at all")
        found = self._signature_of(
            self.program.read_bytes(),
            resources.read_bytes(),
            signature.identifier,
            signature.signed_by,
        )
        if found.program != signature.program or found.resources != signature.resources:
            raise RefusedError(
                f"{self.app}: invalid signature (code or signature have been modified)"
            )
        if found.info != signature.info:
            raise RefusedError(
                f"{self.app}: invalid Info.plist (plist or signature have been modified)"
            )
        self._compare(plistlib.loads(resources.read_bytes())["files2"])
        return signature

    def _signature_of(self, code: bytes, sealed: bytes, identifier: str, by: str) -> Signature:
        info = (self.contents / "Info.plist").read_bytes()
        return Signature(identifier, by, _digest(code), _digest(info), _digest(sealed))

    def _compare(self, sealed: dict[str, str]) -> None:
        now = self._sealed()
        told = [f"file modified: {name}" for name in sealed if now.get(name, "") != sealed[name]]
        told += [f"file added: {name}" for name in now if name not in sealed]
        if told:
            raise RefusedError(
                f"{self.app}: a sealed resource is missing or invalid\n" + "\n".join(told)
            )

    def _sealed(self) -> dict[str, str]:
        """Give name -> hash for everything but the program; refuse unsigned nested code."""
        found = {}
        for path in sorted(self.contents.rglob("*")):
            name = str(path.relative_to(self.contents))
            ours = name.startswith("_CodeSignature/") or path == self.program
            if ours or (path.is_dir() and not path.is_symlink()):
                continue
            kind = _kind(name)
            if path.is_symlink():  # resources.cpp: "symlinks cannot ever be nested code"
                found[name] = f"link to {path.readlink()}"
            elif kind == "nested":
                if not _is_signed_code(path):
                    raise RefusedError(
                        f"{self.app}: code object is not signed at all\nIn subcomponent: {path}"
                    )
                found[name] = _digest(path.read_bytes())
            elif kind == "resource":
                found[name] = _digest(path.read_bytes())
        return found


def _kind(name: str) -> str:
    fitting = [rule for pattern, rule in RULES.items() if re.search(pattern, name)]
    return max(fitting)[1]


def _is_signed_code(path: Path) -> bool:
    return path.read_bytes().startswith(_MACHINE_CODE)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def app_of(program: Path) -> Path | None:
    """Give the app whose main executable a program is; None for a program outside of any."""
    folder = program.parent.parent
    is_inside = program.parent.name == "MacOS" and folder.name == "Contents"
    return folder.parent if is_inside else None
