"""Which distribution an import means, and what some distributions need of Debian.

A name that `engine.ecosystems.python.imported` does not know means the distribution of the same name,
with "_" as "-".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.ecosystems.python.imported import DISTRIBUTIONS

# Namespaces that many distributions share: an import of them that is not above is not guessed at.
NAMESPACES = frozenset({"azure", "google", "mysql", "nvidia", "ruamel", "snowflake", "zope"})

# distribution -> Debian packages that it needs when it runs
DEBIAN: Mapping[str, tuple[str, ...]] = {
    "graphviz": ("graphviz",),
    "pydot": ("graphviz",),
    "gitpython": ("git",),
    "lightgbm": ("libgomp1",),
    "moviepy": ("ffmpeg",),
    "ffmpeg-python": ("ffmpeg",),
    "openai-whisper": ("ffmpeg",),
    "opencv-python": ("libgl1", "libglib2.0-0"),
    "opencv-contrib-python": ("libgl1", "libglib2.0-0"),
    "pdf2image": ("poppler-utils",),
    "pydub": ("ffmpeg",),
    "pytesseract": ("tesseract-ocr",),
    "sounddevice": ("libportaudio2",),
    "pyaudio": ("libportaudio2",),
    "python-magic": ("libmagic1",),
    "wand": ("libmagickwand-6.q16-6",),
    "tabula-py": ("default-jre-headless",),
    "pyspark": ("default-jre-headless",),
}

# distributions that say by being there that a GPU is wanted
GPU_ONLY = frozenset(
    {
        "apex",
        "bitsandbytes",
        "cupy-cuda11x",
        "cupy-cuda12x",
        "deepspeed",
        "flash-attn",
        "nvidia-dali-cuda120",
        "onnxruntime-gpu",
        "tensorflow-gpu",
        "triton",
        "vllm",
        "xformers",
    }
)
FRAMEWORKS = frozenset({"jax", "tensorflow", "torch", "torchvision", "torchaudio"})


def distribution(module: str) -> str:
    """The distribution that a dotted module name means, "" when it cannot be told."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (found := DISTRIBUTIONS.get(".".join(parts[:length]))) is not None:
            return found
    return "" if parts[0] in NAMESPACES else parts[0].replace("_", "-").lower()


def debian_packages(distributions: Iterable[str]) -> list[str]:
    """What these distributions need of Debian, sorted."""
    return sorted({name for one in distributions for name in DEBIAN.get(one, ())})
