"""Python packages that are imported under another name than that of their distribution.

Curated: the names that data science and ML projects import.
"""

from __future__ import annotations

from collections.abc import Mapping

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
