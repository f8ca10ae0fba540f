"""The recipe's own rules, and that it runs where there is no launch package."""

import ast
import sys
from pathlib import Path

import pytest

from launch.model.quantize import recipe
from launch.model.quantize.recipe import RecipeError, choose_group_size
from launch.model.quantize.schemes import Scheme


@pytest.mark.parametrize(
    ("widths", "size"),
    [({"q": 4096, "down": 14336}, 128), ({"q": 576, "down": 1536}, 64), ({"q": 96}, 32), ({"q": 128}, 128)],
)
def test_the_largest_group_size_that_divides_every_width(widths: dict[str, int], size: int):
    assert choose_group_size(widths, None) == size


def test_a_group_size_that_is_asked_for_is_taken_where_it_divides():
    assert choose_group_size({"q": 576, "down": 1536}, 32) == 32
    assert choose_group_size({"q": 96}, 48) == 48  # vLLM may have no kernel for it; the user asked
    with pytest.raises(RecipeError, match=r"128 does not divide 576, the input width of q\. .* takes 64\."):
        choose_group_size({"q": 576, "down": 1536}, 128)


def test_widths_that_no_group_size_divides_are_named_with_what_to_do():
    with pytest.raises(RecipeError, match=r"32 does not divide 100, the input width of q\. Choose --scheme"):
        choose_group_size({"down": 256, "q": 100}, None)


def test_the_recipe_imports_nothing_of_ours_and_nothing_heavy_before_it_is_called():
    tree = ast.parse(Path(recipe.__file__).read_text(encoding="utf-8"))
    everywhere = [name for node in ast.walk(tree) for name in imported(node)]
    assert not [name for name in everywhere if name.split(".")[0] == "launch"]
    on_import = [name.split(".")[0] for node in tree.body for name in imported(node)]
    assert set(on_import) <= sys.stdlib_module_names


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_every_scheme_says_what_it_is_and_only_fp8_goes_without_prompts():
    assert all(scheme.meaning for scheme in Scheme)
    assert [scheme.value for scheme in Scheme if not scheme.needs_prompts] == ["fp8"]
