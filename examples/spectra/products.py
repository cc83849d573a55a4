"""SDSS data products by name: their paths, both ways, and their dataset types.

tree = ProductTree.from_yaml()                 # what comes with this example
tree = tree.extended(ProductTree.from_yaml("mine.yaml"))
product = tree["apVisit"]
product.path("dr16", field="218-04", telescope="apo25m", plate=9245, mjd=58034, fiber=7)
product.match("dr16", path)                    # {'field': '218-04', ..., 'fiber': '7'}
product.data_id("dr16", path)                  # {'release': 'dr16', 'visit': 580340007, ...}
product.path_of("dr16", data_id)               # and back
product.dataset_type                           # Dataset class, to register and ingest
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from supertask.datasets import Dataset
from supertask.errors import ConfigError, DataIdError, Problems, did_you_mean
from supertask.yamlfiles.text import YamlError, load_file

__all__ = ["SDSS_TREE", "Product", "ProductTree", "Template"]

SDSS_TREE = Path(__file__).parent / "sdss_tree.yaml"

_WORD = re.compile(r"\{(?P<name>[a-z]\w*)(?::0>(?P<width>\d+))?\}")
_ROOT = re.compile(r"\$([A-Z]\w*)/")


@attrs.frozen
class Template:
    """Text with words in it, such as ``apVisit-{plate}-{mjd}-{fiber:0>3}.fits``, both ways."""

    text: str

    def __attrs_post_init__(self) -> None:
        rest = _WORD.sub("", self.text)
        if "{" in rest or "}" in rest:
            raise ConfigError(f"template {self.text!r}: only {{word}} and {{word:0>N}} are understood")

    @property
    def words(self) -> tuple[str, ...]:
        """Its words, each once."""
        return tuple(dict.fromkeys(m["name"] for m in _WORD.finditer(self.text)))

    def fill(self, words: Mapping[str, Any]) -> str:
        """Return the text with words filled in.

        Raises
        ------
        DataIdError
            Words are missing; names all of them.
        """
        missing = [w for w in self.words if words.get(w) is None]
        if missing:
            raise DataIdError(
                f"{self.text!r} needs {', '.join(missing)}; given are {', '.join(words) or 'none'}"
            )
        return _WORD.sub(lambda m: str(words[m["name"]]).rjust(int(m["width"] or 0), "0"), self.text)

    def match(self, text: str, *, anywhere: bool = False) -> dict[str, str] | None:
        """Return the words in a text without the zeros that fill them up; None if it does not fit.

        Parameters
        ----------
        text : str
            The text.
        anywhere : bool, optional
            Whether more may stand before it.
        """
        pattern, at = "", 0
        words = list(_WORD.finditer(self.text))
        for i, m in enumerate(words):
            pattern += re.escape(self.text[at : m.start()])
            # Behind another word only its width tells where it begins; elsewhere it may be longer.
            joined = m.start() == at and i > 0
            width = m["width"]
            pattern += f"(?P<w{i}>[^/]" + (f"{{{width}{'' if joined else ','}}}?)" if width else "+?)")
            at = m.end()
        pattern += re.escape(self.text[at:])
        fitted = re.search(("(?:^|/)" if anywhere else r"\A") + pattern + r"\Z", text)
        if fitted is None:
            return None
        found: dict[str, str] = {}
        for i, m in enumerate(words):
            value = fitted[f"w{i}"]
            value = (value.lstrip("0") or "0") if m["width"] else value
            if found.setdefault(m["name"], value) != value:
                return None
        return found


@attrs.frozen
class Product:
    """One kind of file."""

    name: str
    doc: str
    units: tuple[str, ...]
    storage: str
    says: Mapping[str, Template]
    """Unit or ``unit.field`` → what a path's words mean for it."""
    paths: Mapping[str, Template]
    """Release → path; ``*`` for all others. Roots are written out."""
    constants: Mapping[str, Mapping[str, str]]
    """Release → words that are the same for all its files."""

    @property
    def dataset_type(self) -> type[Dataset]:
        """The dataset type of such files."""
        return Dataset.subclass(self.name, self.units, self.storage, self.doc)

    def template(self, release: str) -> Template:
        """Return the path of such files in a release."""
        found = self.paths.get(release) or self.paths.get("*")
        if found is None:
            raise DataIdError(
                f"{self.name!r} has no path in release {release!r}; it has {', '.join(self.paths)}"
            )
        return found

    def path(self, release: str, **words: Any) -> str:
        """Return the path of a file, from the folder that has the release.

        Raises
        ------
        DataIdError
            Words are missing, or are none of the path's.
        """
        template = self.template(release)
        unknown = [w for w in words if w not in template.words]
        if unknown:
            known = ", ".join(template.words)
            hint = did_you_mean(unknown[0], template.words)
            raise DataIdError(f"path of {self.name!r} has no {', '.join(unknown)}{hint}; it has {known}")
        return template.fill({**self.constants.get(release, {}), **words})

    def match(self, release: str, path: str) -> dict[str, str] | None:
        """Return the words in a path, whatever folders stand before it; None if it is none of these files."""
        return self.template(release).match(path, anywhere=True)

    def data_id(self, release: str, path: str) -> dict[str, Any]:
        """Return what a path says: units and ``unit.field``, as text, visits as int.

        What it does not say (the object of an apVisit) stands in the file's header.

        Raises
        ------
        DataIdError
            The path is none of these files.
        """
        words = self.match(release, path)
        if words is None:
            raise DataIdError(f"{path!r} is no path of {self.name!r} in release {release!r}")
        known = {**self.constants.get(release, {}), **words}
        said: dict[str, Any] = {"release": release}
        for name, template in self.says.items():
            if all(w in known for w in template.words):
                text = template.fill(known)
                said[name] = int(text) if name == "visit" else text
        return said

    def path_of(self, release: str, dataId: Mapping[str, Any], **words: Any) -> str:
        """Return the path of the file of a data ID.

        Parameters
        ----------
        release : str
            The release.
        dataId : Mapping
            Units, and ``unit.field`` for what the path needs beyond them.
        **words
            Words of the path that data IDs do not say.

        Raises
        ------
        DataIdError
            The path needs more than this, or a value does not fit.
        """
        found: dict[str, Any] = {}
        for name, template in self.says.items():
            if dataId.get(name) is not None:
                matched = template.match(str(dataId[name]))
                if matched is None:
                    raise DataIdError(
                        f"{name} {dataId[name]!r} does not fit {template.text!r} of {self.name!r}"
                    )
                found |= matched
        used = self.template(release).words
        return self.path(release, **{w: v for w, v in found.items() if w in used} | words)


@attrs.frozen
class ProductTree:
    """Data products by name."""

    products: Mapping[str, Product]

    def __getitem__(self, name: str) -> Product:
        if name not in self.products:
            hint = did_you_mean(name, self.products)
            raise ConfigError(f"there is no product {name!r}{hint}; known are {', '.join(self.products)}")
        return self.products[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.products)

    def identify(self, release: str, path: str) -> Product | None:
        """Return the product that a path is of, or None."""
        return next((p for p in self.products.values() if _fits(p, release, path)), None)

    def extended(self, other: ProductTree) -> ProductTree:
        """Return these products and those of another tree, which count where both have one."""
        return ProductTree({**self.products, **other.products})

    @classmethod
    def from_yaml(cls, path: str | Path = SDSS_TREE) -> ProductTree:
        """Read a tree; see `sdss_tree.yaml` for what stands in it.

        Raises
        ------
        ConfigError
            It is not valid; names every mistake.
        """
        try:
            given = load_file(path).value
        except YamlError as error:
            raise ConfigError(f"this is no tree of products: {error}") from None
        problems = Problems(f"products of {path}")
        if not isinstance(given, dict) or not isinstance(given.get("products"), dict):
            raise ConfigError(f"{path} is no tree of products: it must have a mapping 'products'")
        for key in given:
            if key not in ("roots", "releases", "products"):
                problems.add(f"unknown key {key!r}; known are roots, releases, products")
        roots = given.get("roots") or {}
        constants = {str(r): dict(words) for r, words in (given.get("releases") or {}).items()}
        products = {}
        for name, body in given["products"].items():
            made = _product(str(name), body, roots, constants, problems)
            if made is not None:
                products[made.name] = made
        problems.raise_if_any(ConfigError)
        return cls(products)


def _fits(product: Product, release: str, path: str) -> bool:
    return bool({release, "*"} & set(product.paths)) and product.match(release, path) is not None


def _product(
    name: str,
    body: Any,
    roots: Mapping[str, str],
    constants: Mapping[str, Mapping[str, str]],
    problems: Problems,
) -> Product | None:
    before = len(problems)
    known = ("doc", "units", "storage", "says", "paths")
    if not isinstance(body, dict):
        problems.add(f"{name}: must be a mapping of {', '.join(known)}")
        return None
    for key in body:
        if key not in known:
            problems.add(
                f"{name}: unknown key {key!r}{did_you_mean(str(key), known)}; known are {', '.join(known)}"
            )
    for key in ("units", "paths"):
        if not body.get(key):
            problems.add(f"{name}: {key!r} is missing")

    def rooted(text: str) -> str:
        root = _ROOT.match(text)
        if root is None:
            return text
        if root[1] not in roots:
            problems.add(f"{name}: there is no root ${root[1]}{did_you_mean(root[1], roots)}")
            return text
        return f"{roots[root[1]]}/{text[root.end() :]}"

    def template(text: Any) -> Template:
        try:
            return Template(rooted(str(text)))
        except ConfigError as error:
            problems.add(f"{name}: {error}")
            return Template("")

    paths = body.get("paths") or {}
    paths = {str(r): template(t) for r, t in (paths if isinstance(paths, dict) else {"*": paths}).items()}
    says = {str(k): template(t) for k, t in (body.get("says") or {}).items()}
    words = {w for t in paths.values() for w in t.words}
    for unit, said in says.items():
        for word in said.words:
            if word not in words:
                problems.add(f"{name}: {unit} rests on {word!r}, which is in none of its paths")
    if len(problems) > before:
        return None
    return Product(
        name,
        str(body.get("doc", "")),
        tuple(body["units"]),
        str(body.get("storage", "spectrum")),
        says,
        paths,
        constants,
    )
