"""How is a folder of pictures read? A folder a class, as torchvision's ImageFolder has it, or pictures alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from PIL import Image

from leyden.data.errors import DataError, SampleError
from leyden.data.shards.encode import JPEG_QUALITY, MAGIC, compress
from leyden.data.shards.schema import Field

_SUFFIXES: Final = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "",
    ".bmp": "",
    ".tif": "",
    ".tiff": "",
    ".gif": "",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Redo:
    """How pictures are made anew: `size`, of the shorter side (pictures are never made larger), and the kind."""

    kind: str  # jpeg or png
    size: int | None = None
    quality: int = JPEG_QUALITY

    def __call__(self, raw: bytes) -> bytes:
        """The picture, decoded, resized with a Lanczos filter and compressed again."""
        with Image.open(io.BytesIO(raw)) as opened:
            image: Image.Image = opened
            if self.size is not None and min(image.size) > self.size:
                scale = self.size / min(image.size)
                size = (round(image.width * scale), round(image.height * scale))
                image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            return compress(self.kind, image, self.quality)


@final
class ImageFolder:
    """Samples {"image", "label"} of FOLDER/CLASS/…/*.jpg, or {"image"} where there are no folders of classes.

    Labels number the classes in the order of their names. Raises DataError where pictures of several kinds lie together
    and `redo` does not make them alike.
    """

    def __init__(self, folder: Path, *, redo: Redo | None = None, keep_keys: bool = False) -> None:
        self._folder, self._redo, self._keep_keys = folder, redo, keep_keys
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        self._files = [path.relative_to(folder).as_posix() for path in found if not path.name.startswith(".")]
        if not self._files:
            raise DataError(
                asked=f"pictures of {folder} were asked for",
                found="there are none",
                do=f"It looks for files that end in {', '.join(_SUFFIXES)}.",
            )
        self.classes = tuple(sorted({name.partition("/")[0] for name in self._files if "/" in name}))
        if self.classes and any("/" not in name for name in self._files):
            raise DataError(
                asked=f"pictures of {folder} were asked for",
                found="some lie in folders of classes, some beside them",
                do="Move these into folders too.",
            )
        self._kind = redo.kind if redo else self._common_kind()

    @property
    def schema(self) -> dict[str, Field]:
        """The picture's kind, and the classes."""
        label = {"label": Field(kind="int", names=self.classes)} if self.classes else {}
        return {"image": Field(kind=self._kind), **label}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        name = self._files[number]
        raw = (self._folder / name).read_bytes()
        if self._redo:
            try:
                raw = self._redo(raw)
            except (OSError, SyntaxError, ValueError) as error:
                raise self._broken(name, str(error)) from error
        elif not raw.startswith(MAGIC[self._kind]):
            raise self._broken(name, f"it is no {self._kind.upper()}: it begins with {raw[:4]!r}")
        sample: dict[str, Any] = {"image": raw}
        if self._keep_keys:
            sample["__key__"] = name.rpartition(".")[0].replace(".", "_")
        if self.classes:
            sample["label"] = self.classes.index(name.partition("/")[0])
        return sample

    def _common_kind(self) -> str:
        endings = {Path(name).suffix.lower() for name in self._files}
        kinds = {_SUFFIXES[ending] for ending in endings}
        if len(kinds) > 1 or kinds == {""}:
            raise DataError(
                asked=f"pictures of {self._folder} were to be stored as they are",
                found=f"they end in {', '.join(sorted(endings))}; a field holds either JPEG or PNG",
                do="Say --format jpeg (or png) to make them alike.",
            )
        return kinds.pop()

    def _broken(self, name: str, found: str) -> SampleError:
        return SampleError(
            asked=f"{self._folder / name} was to be stored",
            found=found,
            do="Mend it or move it away; then run it again.",
        )
