"""Reading a user's YAML file. Repeated keys, and aliases that grow without bounds, are errors."""

from pathlib import Path

import yaml

from neurocohort.user_files import read_bytes

LARGEST_BYTES = 1 << 20
MOST_NODES = 100_000  # keys and values, with aliases expanded; the longest study of the tests has about 500
DEEPEST = 50  # groups within groups; a study has some 6


def read_yaml(path: Path | str) -> object:
    """The content of a YAML file.

    Raises:
        UnusableFile: If it can't be read or is large.
        UnicodeDecodeError: If it isn't UTF-8.
        yaml.YAMLError: If it isn't YAML, has a key twice, is nested too deeply, or grows too large by its aliases.
    """
    text = read_bytes(path, LARGEST_BYTES).decode("utf-8-sig")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None
    except (ValueError, OverflowError) as error:  # of an escape that is no character, a version with 5000 digits
        raise yaml.YAMLError(f"a character or number can't be read ({error})") from error
    if node is None:
        return None
    _check_size(node)
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError:
        raise
    except Exception as error:  # a date with the month 13, an integer of 5000 digits, a key that is a list
        raise yaml.YAMLError(f"a value can't be read ({error})") from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """YAML in which a repeated key is an error; the plain loader silently drops the first one."""

    def construct_mapping(self, node, deep=False):
        seen = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen and key.value != "<<":
                problem = f"the key `{key.value}` occurs here a second time, first in line {seen[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


_TOO_DEEP = f"its groups are nested more than {DEEPEST} deep"


def _check_size(root: yaml.Node) -> None:
    """Raise YAMLError if the expanded aliases have too many nodes, or an alias is inside its own value."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise yaml.composer.ComposerError(
                None, None, "an alias is inside the value to which it refers", node.start_mark
            )
        if len(above) > DEEPEST:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, node.start_mark)
        if id(node) not in sizes:
            below = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = [part for pair in below for part in (pair if isinstance(pair, tuple) else (pair,))]
            sizes[id(node)] = 1 + sum(size(part, (*above, id(node))) for part in parts)
        if sizes[id(node)] > MOST_NODES:
            problem = f"its aliases make it grow to more than {MOST_NODES} keys and values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return sizes[id(node)]

    size(root, ())
