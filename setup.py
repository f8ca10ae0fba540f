"""What setup.cfg cannot say: configs/ and templates/ lie outside launch/ and travel inside the package."""

from setuptools import find_packages, setup

CARRIED = {"launch.configs": "configs", "launch.templates": "templates"}

setup(packages=[*find_packages(include=["launch", "launch.*"]), *CARRIED], package_dir=CARRIED)
