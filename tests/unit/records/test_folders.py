"""Where no file can be written, one clear line says so."""

from pathlib import Path

import pytest
import torch
from support.directions import fitted_with
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.directions import DirectionSet, export_directions
from refusal_lens.errors import InputError
from refusal_lens.folders import make_folder, make_folder_of
from refusal_lens.records import write_atomic, write_json
