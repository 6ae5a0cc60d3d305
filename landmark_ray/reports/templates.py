"""Load the templates of pages."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def template(name: str, **filters: object) -> Template:
    """Load a template of this folder, with autoescape, and errors for undefined variables.

    Args:
        name: The name of the file.
        **filters: Further filters for the template.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)
