"""Names of Python packages that people mistype, and what is imported under another name.

Nothing depends on this list being complete: it only makes the answer to an unknown name better.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.ecosystems.python.imported import DISTRIBUTIONS
from grammar.nearest import nearest

# What people ask an index for -> what it is called there. "tensorflow-gpu" and their like are names that
# were given up.
_OTHER_NAMES = {
    "open-clip": "open-clip-torch",
    "pytorch": "torch",
    "pytorch-lightning": "lightning",
    "tensorflow-gpu": "tensorflow",
}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


IMPORTED_AS = {
    _normal(name): distribution
    for name, distribution in DISTRIBUTIONS.items()
    if distribution and "." not in name
} | _OTHER_NAMES

_POPULAR = """
    absl-py accelerate aiohttp albumentations altair annoy apache-airflow arrow attrs awkward
    beautifulsoup4 bertopic biopython bitsandbytes black blis bokeh boto3 catboost celery certifi
    cffi chainer charset-normalizer chromadb click cloudpickle cmake coloredlogs comet-ml coverage
    cryptography cupy-cuda11x cupy-cuda12x cvxpy cython dagster dask datasets datashader deap
    deepspeed diffusers dill django docker dvc einops elasticsearch evaluate fairscale
    faiss-cpu fastai fastapi fasttext filelock flake8 flask flax fsspec gensim geopandas gitpython
    gradio graphviz great-expectations grpcio gunicorn gym gymnasium h5py httpx huggingface-hub
    hydra-core hyperopt hypothesis imageio imbalanced-learn ipykernel ipython ipywidgets isort jax
    jaxlib jinja2 joblib jsonschema jupyter jupyterlab jupytext kaggle keras kornia langchain
    lightgbm lightning line-profiler llama-index llvmlite loguru lxml markdown matplotlib
    memory-profiler mkdocs mlflow mmcv monai more-itertools mypy mysqlclient nbconvert nbformat
    networkx ninja nltk notebook numba numexpr numpy omegaconf onnx onnxruntime onnxruntime-gpu
    openai opencv-contrib-python opencv-python opencv-python-headless openpyxl optax optuna
    packaging pandas papermill pathlib2 patsy peft pettingzoo pillow pip plotly pluggy polars
    pre-commit prefect prophet protobuf psutil psycopg2-binary pyarrow pybind11 pycocotools
    pycryptodome pydantic pygments pyjwt pylint pymc pymongo pymupdf pyro-ppl pyspark pytest
    pytest-cov python-dateutil python-docx python-dotenv pytz pywavelets pyyaml pyzmq ray redis
    regex requests rich ruff s3fs safetensors scikit-image scikit-learn scikit-optimize scipy
    seaborn sentence-transformers sentencepiece setuptools shap shapely sktime skorch spacy sphinx
    sqlalchemy stable-baselines3 starlette statsmodels streamlit sympy tables tabulate tensorboard
    tensorboardx tensorflow tensorflow-datasets tensorflow-hub tensorflow-probability termcolor
    textblob tf-keras thinc tiktoken timm tokenizers toml torch torch-geometric torchaudio
    torchmetrics torchtext torchvision tornado tox tqdm transformers triton trl typer
    typing-extensions ultralytics umap-learn urllib3 uvicorn vaex virtualenv vllm wandb wheel
    wordcloud xarray xformers xgboost yellowbrick zarr
"""


def hint(name: str, others: Iterable[str] = ()) -> str:
    """What to say beside an unknown package name: what was probably meant. `others` are names that
    are asked for too."""
    normal = _normal(name)
    if normal in IMPORTED_AS:
        return f"it is called '{IMPORTED_AS[normal]}' there"
    candidates = {*_POPULAR.split(), *others} - {normal}
    close = nearest(normal, candidates, 0.75)
    return f"did you mean '{close}'?" if close else "check its name and config.pip_index"
