"""Finds openWakeWord's model files and runs their graphs, by ONNX Runtime or LiteRT.

The `openwakeword` Python
package is never imported (it pulls in scikit-learn, pickle and random state); only its folder
of models is used.
"""

import importlib
import os
import re
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voice_daemon._lib.names import name_key
from voice_daemon.config import WakeSettings
from voice_daemon.errors import ModelError
from voice_daemon.paths import default_paths
from voice_daemon.wake.head import HEAD_SUFFIX, load_head

MELSPECTROGRAM = "melspectrogram"
EMBEDDING = "embedding_model"
_NOT_WAKE_WORDS = frozenset({MELSPECTROGRAM, EMBEDDING, "silero_vad"})
PHRASES = frozenset({"timer", "weather"})
"""Bundled models for whole phrases ("set a timer for ..."): nobody calls a device by them."""
_VERSION = re.compile(r"_v\d+(\.\d+)*$")

_OPENWAKEWORD = "openwakeword==0.5.1"
"""Without what it asks for: of that only ONNX Runtime is used, and voice-daemon asks for it too."""

EVERY = "all"
"""Chooses all wake words that are configured."""

BACKENDS = ("onnx", "tflite")
"""Runtimes of the models; also their files' suffixes."""


class Graph(Protocol):
    """A model with one input and one output, both float32."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape that the model declares; None where any size goes."""

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the output of one input."""


def load_graph(path: Path) -> Graph:
    """Load a model by the runtime that its suffix names; raises `ModelError`."""
    if path.suffix.lower() == ".tflite":
        return _LiteRtGraph(path)
    if path.suffix.lower() == HEAD_SUFFIX:
        return load_head(path)
    return _OnnxGraph(path)


class _OnnxGraph:
    """An ONNX model on one thread of the CPU: these are far too small for more."""

    def __init__(self, path: Path) -> None:
        # ONNX Runtime reports to its maker unless this is set before it is imported.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        # Half a second of import that only a listening daemon should pay for.
        import onnxruntime  # noqa: PLC0415 - see above

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # what fails is told by its exception
        # Its kernels for ARM are not repeatable on Apple Silicon (onnxruntime#31569); other
        # processors have none.
        options.add_session_config_entry("mlas.disable_kleidiai", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _unusable(path, error) from error
        inputs = self._session.get_inputs()
        if not inputs:
            raise _unusable(path, ValueError("it takes no input"))
        declared = inputs[0]
        self._input_name = declared.name
        self._input_shape = tuple(n if isinstance(n, int) else None for n in declared.shape)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return self._input_shape

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._session.run(None, {self._input_name: x})[0]
        return output


class _LiteRtGraph:
    """A TFLite model on one thread of the CPU."""

    def __init__(self, path: Path) -> None:
        interpreter = _litert_interpreter()
        try:
            self._interpreter = interpreter(model_path=str(path), num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise _unusable(path, error) from error
        declared = self._interpreter.get_input_details()[0]
        self._input = declared["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._input_shape = tuple(int(n) for n in declared["shape"])
        self._allocated_for: tuple[int, ...] | None = None

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return self._input_shape

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if x.shape != self._allocated_for:
            # Not before: the mel model cannot be allocated at the size that it declares.
            self._interpreter.resize_tensor_input(self._input, list(x.shape))
            self._interpreter.allocate_tensors()
            self._allocated_for = x.shape
        self._interpreter.set_tensor(self._input, x)
        self._interpreter.invoke()
        output: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return output


def _litert_interpreter() -> Any:
    """Return LiteRT's interpreter class.

    Not tflite_runtime's, the older package of the same thing: its last release needs numpy 1.
    """
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ImportError as error:
        raise ModelError(
            "wake.no_litert",
            f"the tflite backend of the wake word needs LiteRT: {error}",
            remedy="pip install ai-edge-litert, or set wake.backend to onnx",
        ) from error


def _unusable(path: Path, error: Exception) -> ModelError:
    why = next(iter(str(error).splitlines()), type(error).__name__)
    return ModelError(
        "wake.model_unusable",
        f"the wake word model {path} cannot be loaded: {why}",
        remedy="install it again; a bundled one: "
        f"pip install --force-reinstall --no-deps {_OPENWAKEWORD}",
    )


def bundled_folder() -> Path:
    """Return the folder with openWakeWord's own models; raises `ModelError`."""
    spec = find_spec("openwakeword")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "resources" / "models"
        if (folder / f"{EMBEDDING}.onnx").is_file():
            return folder
    raise ModelError(
        "wake.no_models",
        "openWakeWord's models are not installed",
        remedy=f"pip install --no-deps {_OPENWAKEWORD} (later versions carry no models)",
    )


def wake_word_of(path: Path) -> str:
    """Name the wake word of a model file: "hey_jarvis_v0.1.onnx" -> "hey_jarvis"."""
    # A Mac spells its files' accents apart; subscribers compare.
    return unicodedata.normalize("NFC", _VERSION.sub("", path.stem))


def wake_word_of_setting(name: str) -> str:
    """Name the wake word of an entry of `wake.models`: "Hey Jarvis" -> "hey_jarvis"."""
    if _is_path(name):
        return wake_word_of(Path(name))
    return wake_word_key(_VERSION.sub("", name.strip()))


def wake_word_key(word: str) -> str:
    """Give what all spellings of a wake word share: "Hey Jarvis", "hey-jarvis"."""
    return name_key(word).replace(" ", "_").replace("-", "_")


def wake_thresholds(settings: WakeSettings, models: Sequence[str]) -> dict[str, float]:
    """Give each wake word's threshold: as configured, else its model's own, else for all."""
    given = {wake_word_of_setting(word): score for word, score in settings.thresholds.items()}
    return {
        word: given.get(word, _own_threshold(model) or settings.threshold)
        for model in models
        for word in (wake_word_of_setting(model),)
    }


def _own_threshold(model: str) -> float | None:
    """Return the threshold that a model's file names; None for one that names none."""
    path = Path(model).expanduser() if _is_path(model) else own_file(wake_word_of_setting(model))
    if path.suffix.lower() != HEAD_SUFFIX or not path.is_file():
        return None
    try:
        return load_head(path).threshold
    except ModelError:
        return None  # whoever loads it says what is wrong


def wake_choices(models: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Give what can be listened for, and the models for it: what `models` asks for comes first.

    Several configured wake words are a choice of their own, `EVERY`; each of them, the owner's
    own and every bundled one can be had alone; a bundled phrase only where it is configured.
    """
    several = {EVERY: tuple(models)} if len(models) > 1 else {}
    configured = {wake_word_of_setting(model): (model,) for model in models}
    configured |= {word: (word,) for word in own_wake_words() if word not in configured}
    try:
        bundled = {word: (word,) for word in bundled_wake_words() if word not in PHRASES}
    except ModelError:
        bundled = {}
    return several | configured | {w: m for w, m in bundled.items() if w not in configured}


def _is_path(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in (".onnx", ".tflite", HEAD_SUFFIX) or len(path.parts) > 1


def own_folder() -> Path:
    """Return the folder of the owner's own wake words."""
    return default_paths(os.environ).wake_words_dir


def own_file(wake_word: str) -> Path:
    """Return the model's place of a wake word of the owner's own."""
    return own_folder() / f"{wake_word}{HEAD_SUFFIX}"


def own_wake_words() -> tuple[str, ...]:
    """Name the wake words of the owner's own."""
    files = own_folder().glob(f"*{HEAD_SUFFIX}")
    return tuple(sorted(file.stem for file in files if file.is_file()))


def bundled_wake_words() -> tuple[str, ...]:
    """Name the wake words that come with openWakeWord."""
    files = sorted(bundled_folder().glob("*.onnx"))
    return tuple(wake_word_of(file) for file in files if file.stem not in _NOT_WAKE_WORDS)


def find_wake_model(name: str, *, backend: str) -> Path:
    """Return the file of a wake word, given by its bundled name or as a path.

    Raises `ModelError` when there is none that `backend` ("onnx", "tflite") can run.
    """
    if _is_path(name):
        return _given_file(Path(name).expanduser(), backend=backend)
    wanted = wake_word_of_setting(name)
    if own_file(wanted).is_file():
        return own_file(wanted)
    for file in sorted(bundled_folder().glob(f"*.{backend}")):
        if wake_word_key(wake_word_of(file)) == wanted and file.stem not in _NOT_WAKE_WORDS:
            return file
    raise ModelError(
        "wake.unknown_model",
        f"there is no wake word {name!r}",
        remedy=f"choose one of {', '.join((*own_wake_words(), *bundled_wake_words()))}, or give "
        "the path of a model",
    )


def _given_file(path: Path, *, backend: str) -> Path:
    """Return a model file of the user's, or the one beside it that `backend` can run."""
    file = path if path.suffix.lower() == HEAD_SUFFIX else path.with_suffix(f".{backend}")
    if file.is_file():
        return file
    if not path.is_file():
        said = "is not a file" if path.exists() else "does not exist"
        raise ModelError(
            "wake.no_such_file",
            f"the wake word model {path} {said}",
            remedy=f"correct wake.models; bundled ones are {', '.join(bundled_wake_words())}",
        )
    raise ModelError(
        "wake.wrong_backend",
        f"wake.backend {backend} cannot run {path}",
        remedy=f"put {file.name} beside it, or change wake.backend",
    )


def backends_to_try(backend: str, models: Sequence[str]) -> tuple[str, ...]:
    """Order the backends for a setting: "auto" begins with what the given files are for."""
    if backend != "auto":
        return (backend,)
    if any(name.lower().endswith(".tflite") for name in models):
        return ("tflite", "onnx")
    return BACKENDS
