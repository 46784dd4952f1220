"""Which distribution an import means, where its name differs; and what some need of Debian.

Curated: the names that data science and ML projects import. A name that is not here means the
distribution of the same name, with "_" as "-".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# import -> distribution; dotted names are looked up from the longest
DISTRIBUTIONS: Mapping[str, str] = {
    "Bio": "biopython", "Crypto": "pycryptodome", "MySQLdb": "mysqlclient", "OpenGL": "pyopengl",
    "OpenSSL": "pyopenssl", "PIL": "pillow", "Xlib": "python-xlib", "absl": "absl-py",
    "attr": "attrs", "azure.identity": "azure-identity", "azure.storage.blob": "azure-storage-blob",
    "bs4": "beautifulsoup4", "clip": "openai-clip", "cupy": "cupy-cuda12x",
    "cv2": "opencv-python-headless", "dateutil": "python-dateutil", "discord": "discord.py",
    "dns": "dnspython", "docx": "python-docx", "dotenv": "python-dotenv", "faiss": "faiss-cpu",
    "fitz": "pymupdf", "git": "gitpython", "github": "pygithub", "google.auth": "google-auth",
    "google.cloud.aiplatform": "google-cloud-aiplatform",
    "google.cloud.bigquery": "google-cloud-bigquery", "google.cloud.pubsub": "google-cloud-pubsub",
    "google.cloud.storage": "google-cloud-storage", "google.generativeai": "google-generativeai",
    "google.protobuf": "protobuf", "googleapiclient": "google-api-python-client", "grpc": "grpcio",
    "haystack": "haystack-ai", "hydra": "hydra-core", "imblearn": "imbalanced-learn",
    "jose": "python-jose", "jwt": "pyjwt", "kafka": "kafka-python", "ldap": "python-ldap",
    "llama_cpp": "llama-cpp-python", "magic": "python-magic", "mpl_toolkits": "matplotlib",
    "mpl_toolkits.basemap": "basemap", "mysql.connector": "mysql-connector-python",
    "nacl": "pynacl", "nvidia.dali": "nvidia-dali-cuda120", "odf": "odfpy", "osgeo": "gdal",
    "paddle": "paddlepaddle", "pkg_resources": "setuptools", "pl_bolts": "lightning-bolts",
    "pptx": "python-pptx", "psycopg2": "psycopg2-binary", "pylab": "matplotlib", "pythoncom": "",
    "pywt": "pywavelets", "rest_framework": "djangorestframework", "ruamel.yaml": "ruamel.yaml",
    "scikits": "scikit-learn", "serial": "pyserial", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "skopt": "scikit-optimize", "slugify": "python-slugify",
    "snappy": "python-snappy", "snowflake.connector": "snowflake-connector-python",
    "socks": "pysocks", "speech_recognition": "speechrecognition", "surprise": "scikit-surprise",
    "tabula": "tabula-py", "telegram": "python-telegram-bot", "tlz": "toolz", "umap": "umap-learn",
    "usb": "pyusb", "websocket": "websocket-client", "whisper": "openai-whisper", "win32api": "",
    "win32com": "", "wx": "wxpython", "yaml": "pyyaml", "zmq": "pyzmq",
}

# Namespaces that many distributions share: an import of them that is not above is not guessed at.
NAMESPACES = frozenset({"azure", "google", "mysql", "nvidia", "ruamel", "snowflake", "zope"})

# distribution -> Debian packages that it needs when it runs
DEBIAN: Mapping[str, tuple[str, ...]] = {
    "graphviz": ("graphviz",), "pydot": ("graphviz",), "gitpython": ("git",),
    "lightgbm": ("libgomp1",), "moviepy": ("ffmpeg",), "ffmpeg-python": ("ffmpeg",),
    "openai-whisper": ("ffmpeg",), "opencv-python": ("libgl1", "libglib2.0-0"),
    "opencv-contrib-python": ("libgl1", "libglib2.0-0"), "pdf2image": ("poppler-utils",),
    "pydub": ("ffmpeg",), "pytesseract": ("tesseract-ocr",), "sounddevice": ("libportaudio2",),
    "pyaudio": ("libportaudio2",), "python-magic": ("libmagic1",), "wand": ("libmagickwand-6.q16-6",),
    "tabula-py": ("default-jre-headless",), "pyspark": ("default-jre-headless",),
}

# distributions that say by being there that a GPU is wanted
GPU_ONLY = frozenset({
    "apex", "bitsandbytes", "cupy-cuda11x", "cupy-cuda12x", "deepspeed", "flash-attn",
    "nvidia-dali-cuda120", "onnxruntime-gpu", "tensorflow-gpu", "triton", "vllm", "xformers",
})
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
