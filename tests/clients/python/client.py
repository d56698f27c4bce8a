"""`python client.py <adapter> <url>`: has one library read a stream, until the process is killed."""

import importlib
import sys

adapter, url = sys.argv[1:]
importlib.import_module(f"adapters.{adapter}").read(url)
