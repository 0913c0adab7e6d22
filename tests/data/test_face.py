"""The face of `weighted_mtp.data` gives every name, and nothing heavy before it is asked for."""

import subprocess
import sys

from weighted_mtp import data


def test_every_name_is_given_and_an_unknown_one_is_an_attribute_error():
    assert all(getattr(data, name) is not None for name in data.__all__)
    assert not hasattr(data, "load_row")


def test_rows_are_read_and_split_without_torch():
    code = (
        "import sys; from weighted_mtp.data import load_rows, parse_row; import weighted_mtp.labelling.split;"
        "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
