"""
The configuration of the documentation: Sphinx, furo and MyST.

    pip install '.[docs]'
    sphinx-build -W docs docs/_build
"""

import sys
from pathlib import Path

import openrouter_async

sys.path.append(str(Path(__file__).parent / "_extensions"))

project = "openrouter_async"
author = "The openrouter_async authors"
project_copyright = author
version = release = openrouter_async.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    # In _extensions.
    "docstrings",
]
exclude_patterns = ["_build", "_extensions"]
nitpicky = True

# Pages.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "openrouter_async"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]

# The reference.
add_module_names = False
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# The extension adds them, with short names.
napoleon_attr_annotations = False
napoleon_custom_sections = ["Source"]
python_maximum_signature_line_length = 88

# In docstrings and pages, `name` is code, and a link if the reference has that name.
default_role = "py:obj"
# Annotations name classes of other projects, and private classes and type variables.
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", ".*"), ("py:exc", ".*")]
