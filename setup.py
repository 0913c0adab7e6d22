"""What pyproject.toml cannot say: the description that a registry shows is the README without what only a clone has."""

import re
from pathlib import Path

from setuptools import setup

readme = Path("README.md").read_text(encoding="utf-8")
readme = re.sub(r"(?m)^\[한국어\].*\n\n", "", readme)
readme = re.sub(r"(?m)^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n", "", readme)  # pictures
readme = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", readme)  # links to files
setup(long_description=readme, long_description_content_type="text/markdown")
