"""Sphinx, with the repository as its source folder, so that links hold in the repository and on the site alike."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reference import write_pages

from partinr import __version__

project = "partinr"
author = "The partinr authors"
copyright = "the partinr authors, MIT licence"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "experiments/*/README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [
    ".*",
    "site",
    "build",
    "outputs",
    "partinr",
    "tests",
    "conf",
    "**/__pycache__",
    "**/.ipynb_checkpoints",
]

html_theme = "furo"
html_title = f"partinr {version}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_extra_path = ["index.html"]  # leads from the top of the site to docs/index.html
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
myst_links_external_new_tab = True

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300  # a notebook takes less than 30 s on two quiet cores; .ci/run has others on them
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_default_options = {"show-inheritance": True}
autodoc_use_type_comments = False
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
python_display_short_literal_types = True

write_pages()
