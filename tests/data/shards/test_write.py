"""Does write_shards store what it is given, whole or not at all, and go on where it was stopped?"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from obstore.store import MemoryStore
from PIL import Image

from leyden.core.errors import ConfigurationError
from leyden.data.errors import DataError, FetchError, SampleError
from leyden.data.shards import Dataset, Field, place, write_shards
from leyden.data.shards.dataset import combine
from leyden.data.shards.walk import Samples
from leyden.data.sources.native import Shards
from tests.conformance.until import until
from tests.data.faults.proxy import Fault, Proxy, Reset, Silence, Status
from tests.data.faults.server import s3_server
from tests.data.shards.made import SCHEMA, Made, assert_same, contents, made, read, script, small_disk


def test_every_kind_comes_back(tmp_path: Path) -> None:
    dataset = write_shards(Made(50), tmp_path, schema=SCHEMA, samples_per_shard=20, workers=0)
    assert [part.samples for part in dataset.parts] == [20, 20, 10]
    for number, sample in enumerate(read(tmp_path)):
        assert_same(sample, number)
        assert sample.key == f"{number:09}"
    kinds = {name: field.kind for name, field in Shards(tmp_path).schema.items()}
    assert kinds == {
        "image": "jpeg", "mask": "png", "depth": "array", "tokens": "array", "text": "text", "about": "json",
        "classes": "rows", "label": "int", "weight": "float", "blob": "bytes",
    }  # fmt: skip
    assert Shards(tmp_path).schema["classes"] == Field(kind="rows", dtype="|u1", shape=(40, 60))
    window = read(tmp_path)[3].rows("classes").crop(5, 10, 20, 30)
    assert window.tolist() == made(3)["classes"][5:25, 10:40].tolist()
    assert Shards(tmp_path).schema["depth"] == Field(kind="array", dtype="<f4", shape=(3, 4))
    assert Shards(tmp_path).schema["tokens"] == Field(kind="array", dtype="<u2", shape=(None,))


def test_the_same_bytes_by_any_number_of_workers(tmp_path: Path) -> None:
    write_shards(Made(60), tmp_path / "here", samples_per_shard=7, workers=0)
    write_shards(Made(60), tmp_path / "three", samples_per_shard=7, workers=3)
    write_shards(map(made, range(60)), tmp_path / "stream", samples_per_shard=7)
    assert contents(tmp_path / "here") == contents(tmp_path / "three") == contents(tmp_path / "stream")
    assert not any(name.startswith(".") for name in contents(tmp_path / "three"))


def test_shards_are_about_as_big_as_asked(tmp_path: Path) -> None:
    blobs = [{"blob": bytes(10_000)}] * 100
    listed = write_shards(blobs, tmp_path / "listed", shard_size="100kB", workers=0)
    stream = write_shards(iter(blobs), tmp_path / "stream", shard_size="100kB")
    assert max(part.size_bytes for part in listed.parts) <= 100_000
    assert max(part.size_bytes for part in stream.parts) <= 100_000
    assert {part.samples for part in listed.parts} == {8, 4} or len({part.samples for part in listed.parts}) <= 2
    assert listed.samples == stream.samples == 100
    big = write_shards(iter(blobs[:3]), tmp_path / "big", shard_size="1kB")
    assert [part.samples for part in big.parts] == [1, 1, 1]


def test_files_images_and_numpy_numbers_are_values(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(made(1)["image"])
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    sample = {"photo": photo, "mask": image, "label": np.int64(7), "score": np.float32(0.5), "flag": True, "none": None}
    write_shards([sample], tmp_path / "a", workers=0)
    [found] = read(tmp_path / "a")
    assert found.raw("photo") == photo.read_bytes()
    assert np.asarray(Image.open(io.BytesIO(found.raw("mask")))).tolist() == np.asarray(image).tolist()
    assert (found["label"], found["score"], found["flag"], found["none"]) == (7, 0.5, True, None)


def test_images_are_compressed_as_the_schema_says(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), 100, np.uint8)
    samples: list[dict[str, Any]] = [{"image": pixels}, {"image": Image.fromarray(pixels)}]
    write_shards(samples, tmp_path / "a", schema={"image": "jpeg"}, workers=0)
    write_shards(iter(samples), tmp_path / "b", schema={"image": "jpeg"}, workers=2)  # compressed by threads
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for sample in read(tmp_path / "a"):
        assert bytes(sample.raw("image")[:2]) == b"\xff\xd8"
        assert np.abs(sample["image"].astype(int) - 100).max() <= 2


def test_tiles_change_bytes_but_no_pixel(tmp_path: Path) -> None:
    write_shards(Made(5), tmp_path / "plain", workers=0)
    write_shards(Made(5), tmp_path / "tiled", workers=0, tile=True)
    for plain, tiled in zip(read(tmp_path / "plain"), read(tmp_path / "tiled"), strict=True):
        assert plain.raw("image") != tiled.raw("image")
        assert (plain["image"] == tiled["image"]).all()
        assert plain.raw("mask") == tiled.raw("mask")
    broken = [{"image": made(1)["image"][:-300]}]
    with pytest.raises(SampleError, match="field 'image' of sample 000000000 was to be tiled"):
        write_shards(broken, tmp_path / "broken", workers=0, tile=True)


def test_samples_of_another_data_set_are_copied(tmp_path: Path) -> None:
    write_shards(Made(9), tmp_path / "a", schema=SCHEMA, workers=0)
    write_shards(read(tmp_path / "a"), tmp_path / "b", workers=0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"a": 1}, "field 'b' is missing"),
        ({"a": 1, "b": np.zeros(2), "c": 1}, "field 'c' is not among them"),
        ({"a": "one", "b": np.zeros(2)}, "field 'a' of sample 000000001 was to be stored as int; str 'one' cannot be"),
        ({"a": 1.5, "b": np.zeros(2)}, "a whole number is wanted"),
        ({"a": 1, "b": np.zeros(2, np.float32)}, "it is of float32, float64 is wanted"),
        ([1], "it is a list"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(tmp_path: Path, second: Any, told: str) -> None:
    with pytest.raises(DataError, match="sample 000000001") as error:
        write_shards([{"a": 1, "b": np.zeros(3)}, second], tmp_path, workers=0)
    assert told in str(error.value)
    assert not (tmp_path / "dataset.json").exists()


def test_shapes_are_held_where_they_are_given(tmp_path: Path) -> None:
    schema = {"b": Field(kind="array", dtype="float64", shape=(None, 2))}
    write_shards([{"b": np.zeros((n, 2))} for n in range(3)], tmp_path / "a", schema=schema, workers=0)
    with pytest.raises(DataError, match=r"it is \[3\], \[null, 2\] is wanted".replace("null", "None")):
        write_shards([{"b": np.zeros(3)}], tmp_path / "b", schema=schema, workers=0)


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ({}, "one field at least"),
        ({"a/b": 1}, "'a/b' cannot be part"),
        ({"a": "text", "a.txt": "text"}, "two of them would be files named 'a.txt'"),
        ({"__key__": "a.b", "x": 1}, "'a.b' cannot begin a file's name"),
        ({"__key__": "../a", "x": 1}, "cannot begin"),
        ({"__key__": "/a", "x": 1}, "cannot begin"),
        ({"x": np.array([None])}, "Python objects"),
        ({"x": {1, 2}}, "not JSON serializable"),
    ],
)
def test_names_and_values_that_cannot_be(tmp_path: Path, sample: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        write_shards([sample], tmp_path, workers=0)


def test_keys(tmp_path: Path) -> None:
    long = "folder.d/" + "n" * 120
    write_shards([{"__key__": key, "x": 1} for key in ("a", "b/c", long)], tmp_path / "a", workers=0)
    assert [sample.key for sample in read(tmp_path / "a")] == ["a", "b/c", long]
    with pytest.raises(DataError, match=r"sample a was to be stored in shard-000000\.tar; a sample with this key"):
        write_shards([{"__key__": "a", "x": n} for n in range(2)], tmp_path / "b", workers=0)


def test_nothing_to_write(tmp_path: Path) -> None:
    nothings: list[Any] = [[], iter([])]
    for nothing in nothings:
        with pytest.raises(DataError, match="there are none"):
            write_shards(nothing, tmp_path)
    with pytest.raises(ConfigurationError, match="must be positive"):
        write_shards([{"a": 1}], tmp_path, samples_per_shard=0)


def test_a_finished_data_set_is_replaced_only_if_asked(tmp_path: Path) -> None:
    write_shards(Made(30), tmp_path, samples_per_shard=5, workers=0)
    before = contents(tmp_path)
    with pytest.raises(DataError, match="there is a data set already"):
        write_shards(Made(4), tmp_path, workers=0)
    assert contents(tmp_path) == before
    write_shards(Made(4), tmp_path, workers=0, overwrite=True)
    assert sorted(contents(tmp_path)) == ["dataset.json", "shard-000000.tar", "shard-000000.tar.idx"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    def samples() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        with pytest.raises(DataError, match="another process is writing there"):
            write_shards([{"a": 1}], tmp_path, workers=0)

    assert write_shards(samples(), tmp_path).samples == 1


GATED = """
import time
from pathlib import Path
from tests.data.shards.made import made
from leyden.data import write_shards

class Gated:
    def __len__(self):
        return 120
    def __getitem__(self, number):
        while number >= 90 and not Path("open").exists():
            time.sleep(0.01)
        return made(number)

if {stream}:
    write_shards((Gated()[number] for number in range(120)), "killed", samples_per_shard=10)
else:
    write_shards(Gated(), "killed", samples_per_shard=10, workers=2)
"""


@pytest.mark.parametrize("stream", [False, True])
def test_a_killed_writer_is_continued(tmp_path: Path, stream: bool) -> None:
    killed = tmp_path / "killed"
    with script(GATED.format(stream=stream), tmp_path) as process:
        until(lambda: len(list(killed.glob("shard-*.idx"))) >= (8 if stream else 9), within_s=60)
        os.kill(process.pid, signal.SIGKILL)
    assert not (killed / "dataset.json").exists()
    with pytest.raises(FetchError, match="run write_shards again to finish it"):
        Shards(killed)
    finished = {
        path.name: path.stat().st_ino for path in killed.glob("*.tar") if path.with_name(f"{path.name}.idx").exists()
    }
    damaged = killed / "shard-000007.tar"
    damaged.write_bytes(damaged.read_bytes()[:-100] + bytes(range(100)))
    (tmp_path / "open").touch()
    samples = map(made, range(120)) if stream else Made(120)
    write_shards(samples, killed, samples_per_shard=10, workers=2)
    after = {path.name: path.stat().st_ino for path in killed.glob("*.tar")}
    kept = {name for name, inode in finished.items() if after[name] == inode}
    assert kept >= {f"shard-{number:06}.tar" for number in range(7)}
    assert "shard-000007.tar" not in kept
    write_shards(Made(120), tmp_path / "whole", samples_per_shard=10, workers=0)
    assert contents(killed) == contents(tmp_path / "whole")


def test_other_samples_or_settings_do_not_continue(tmp_path: Path) -> None:
    def broken(number: int) -> dict[str, Any]:
        return {"a": number} if number < 25 else {"a": "x"}

    class Broken(list[Any]):
        def __getitem__(self, number: Any) -> Any:
            return broken(number)

    for samples in (Broken(range(30)), map(broken, range(30))):
        place = tmp_path / type(samples).__name__
        with pytest.raises(DataError, match="field 'a' of sample 000000025"):
            write_shards(samples, place, samples_per_shard=10, workers=0)
        assert sorted(path.name for path in place.glob("*.idx")) == ["shard-000000.tar.idx", "shard-000001.tar.idx"]
        assert not list(place.glob(".*"))
        sized = isinstance(samples, Broken)
        right, other = ([{"a": n + more} for n in range(30)] for more in (0, 1))
        with pytest.raises(DataError, match="samples_per_shard 11; an unfinished data set is there, begun with 10"):
            write_shards(right if sized else iter(right), place, samples_per_shard=11, workers=0)
        with pytest.raises(DataError, match=r"not those that shard-000000\.tar was made of"):
            write_shards(other if sized else iter(other), place, samples_per_shard=10, workers=0)
        write_shards(right if sized else iter(right), place, samples_per_shard=10, workers=0)
        assert [sample["a"] for sample in read(place)] == list(range(30))


def test_an_unfinished_one_is_replaced_if_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="field 'a'"):
        write_shards([{"a": 1}, {"a": 2}, {"a": "x"}], tmp_path, samples_per_shard=1, workers=0)
    write_shards([{"b": 1}], tmp_path, workers=0, overwrite=True)
    assert sorted(contents(tmp_path)) == ["dataset.json", "shard-000000.tar", "shard-000000.tar.idx"]


def test_a_full_disk(tmp_path: Path) -> None:
    blobs = [{"blob": np.random.default_rng(n).bytes(100_000)} for n in range(40)]
    with small_disk(tmp_path / "disk", "2m"):
        for samples, workers in ((blobs, 2), (iter(blobs), 1)):
            place = tmp_path / "disk" / f"by-{workers}"
            with pytest.raises(DataError, match=r"the disk of .* is full .* run it again") as error:
                write_shards(samples, place, samples_per_shard=5, workers=workers)
            assert "shard-" in str(error.value)
            assert not list(place.glob(".*"))
            assert not (place / "dataset.json").exists()
            for path in place.glob("*.tar"):
                assert path.stat().st_size == write_shards(blobs[:5], MemoryStore(), workers=0).parts[0].size_bytes
            for path in place.glob("*"):
                path.unlink()


def test_ctrl_c_leaves_finished_shards_and_no_process(tmp_path: Path) -> None:
    with script(GATED.format(stream=False), tmp_path) as process:
        until(lambda: len(list((tmp_path / "killed").glob("*.idx"))) >= 9, within_s=60)
        workers = [child.pid for child in psutil.Process(process.pid).children()]
        assert len(workers) == 2
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode != 0
    assert "stopped: run the same again, and it goes on" in said
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not list((tmp_path / "killed").glob(".*"))


def test_a_worker_that_dies_is_named(tmp_path: Path) -> None:
    class Deadly(Made):
        def __getitem__(self, number: int) -> dict[str, Any]:
            if number == 37:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(number)

    with pytest.raises(DataError, match=r"worker process was packing shard-000003\.tar; it was killed by signal 9"):
        write_shards(Deadly(50), tmp_path, samples_per_shard=10, workers=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_data_set_names_its_line(tmp_path: Path, workers: int) -> None:
    class Failing(Made):
        def __getitem__(self, number: int) -> dict[str, Any]:
            if number == 37:
                raise KeyError("no such row")
            return super().__getitem__(number)

    with pytest.raises(SampleError, match=r"sample 37 of Failing .* KeyError: 'no such row' \(.*test_write.py:\d+\)"):
        write_shards(Failing(50), tmp_path, samples_per_shard=10, workers=workers)


def test_what_cannot_be_sent_to_workers(tmp_path: Path) -> None:
    class Held(Made):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            self.file = open(os.devnull, "rb")  # noqa: PTH123, SIM115

    held = Held(50)
    with pytest.raises(DataError, match=r"cannot be pickled: .* workers=0"):
        write_shards(held, tmp_path, samples_per_shard=10, workers=2)
    held.file.close()


def test_object_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(Made(50), tmp_path / "local", samples_per_shard=20, workers=0)
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with s3_server(tmp_path / "s3") as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        write_shards(Made(50), "s3://bucket/data/set", samples_per_shard=20, workers=2)
        source = Shards("s3://bucket/data/set")
        assert source.lengths("tokens") is not None
        with pytest.raises(DataError, match="there is a data set already"):
            write_shards(Made(50), "s3://bucket/data/set")
        copied = Samples(source, keep_keys=False)
        write_shards(copied, tmp_path / "back", samples_per_shard=20, workers=2)
        copied.close()
    assert list((tmp_path / "tmp").iterdir()) == []  # what was fetched or about to be sent
    assert contents(tmp_path / "back") == contents(tmp_path / "local")
    assert contents(tmp_path / "s3" / "bucket" / "data" / "set") == contents(tmp_path / "local")
    store = MemoryStore()
    write_shards(map(made, range(50)), store, samples_per_shard=20)
    assert {one["path"] for page in store.list() for one in page} == set(contents(tmp_path / "local"))


def test_a_store_that_fails_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(Made(50), tmp_path / "local", samples_per_shard=20, workers=0)
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    faults: dict[int, Fault] = {1: Status(503), 2: Reset(), 3: Status(500)}
    with s3_server(tmp_path / "s3") as port:
        proxy = Proxy(port)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.rule = lambda request: faults.get(request.count) if request.path.endswith("shard-000000.tar") else None
        write_shards(Made(50), "s3://bucket/set", samples_per_shard=20, workers=0)
        assert contents(tmp_path / "s3" / "bucket" / "set") == contents(tmp_path / "local")
        proxy.rule = lambda request: Status(403) if request.method == "PUT" else None
        with pytest.raises(FetchError, match=r"was to be written at s3://bucket/denied; .* credentials"):
            write_shards(Made(5), "s3://bucket/denied", workers=0)
        monkeypatch.setattr(place, "TIMEOUT_S", 0.5)
        proxy.rule = lambda request: Silence() if request.path.endswith("shard-000001.tar") else None
        for workers in (0, 2):
            with pytest.raises(FetchError, match=r"shard-000001\.tar was to be written at s3://bucket/silent"):
                write_shards(Made(50), "s3://bucket/silent", samples_per_shard=20, workers=workers)
        proxy.rule = None
        write_shards(Made(50), "s3://bucket/silent", samples_per_shard=20, workers=0)
        proxy.close()
    assert contents(tmp_path / "s3" / "bucket" / "silent") == contents(tmp_path / "local")


def test_many_shards_cost_no_more_each(tmp_path: Path) -> None:
    one = write_shards([made(1)], tmp_path, workers=0)
    spent = []
    for count in (5_000, 50_000):
        start = time.process_time()
        raw = combine([one] * count).to_bytes()
        assert len(Dataset.from_bytes(raw, "here").parts) == count
        spent.append((time.process_time() - start) / count)
    assert spent[1] < 3 * spent[0] < 1e-3


def test_progress_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards([{"a": 1}], tmp_path / "a", workers=0)
    assert f"writing {tmp_path / 'a'}: 1/1 samples in" in capsys.readouterr().err
    write_shards([{"a": 1}], tmp_path / "b", workers=0, progress=False)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    code = f"from leyden.data import write_shards; write_shards([{{'a': 1}}] * 5, {str(tmp_path / 'a')!r}, workers=0)"
    done = subprocess.run(
        ["script", "-qec", f'{sys.executable} -c "{code}"', "/dev/null"], capture_output=True, text=True, check=False
    )
    if done.returncode == 127:
        pytest.skip("there is no `script`")
    assert "5/5" in done.stdout
