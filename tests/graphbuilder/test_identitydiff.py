"""Where identities part: followed upstream to what differs of itself."""

from __future__ import annotations

import attrs
import pytest

from executors.inprocess import InProcessFramework
from graphbuilder.builder import GraphBuilder
from graphbuilder.comparing.identitydiff import Maker, Side, identity_diff
from graphbuilder.comparing.planchanges import Change
from graphbuilder.reuse.planning import Reuse
from supertask.quanta import Quantum
from tests.executors.coadds import RAW, IsrTask, add_exposure, make_repository, pipeline, plan


@pytest.fixture
def butler(tmp_path):
    with make_repository(tmp_path / "repo") as made:
        yield made


def side(dag, label, **units):
    index = dag.find_quantum(label, units)
    return Side(f"{label} of {dag.meta.output_run}", dag.identities[index].tobytes(), Maker(dag, index))


PATCH = {"skymap": "sky", "tract": 0, "patch": 1}


def test_equal_identities_part_in_nothing(butler):
    found = identity_diff(
        side(plan(butler, "u/a"), "catalogue", **PATCH), side(plan(butler, "u/b"), "catalogue", **PATCH)
    )
    assert found.is_same
    assert found.roots == ()
    assert "the same identity" in str(found)


def test_a_config_field_upstream_is_found(butler):
    one, other = plan(butler, "u/a"), plan(butler, "u/b", kernel="bilinear")
    found = identity_diff(side(one, "catalogue", **PATCH), side(other, "catalogue", **PATCH))
    change = Change("config kernel", "lanczos3", "bilinear")
    assert found.by_change().keys() == {change}
    roots = found.by_change()[change]
    assert len(roots) == 2  # the warps of two visits
    assert [step.partition(" ")[0] for step in roots[0].path] == ["coadd", "warp"]
    assert "config kernel: lanczos3 → bilinear" in str(found)
    assert found.to_dict()["roots"][0]["change"]["what"] == "config kernel"


def test_meta_fields_are_no_cause(butler):
    one, other = plan(butler, "u/a"), plan(butler, "u/b", kernel="bilinear", empty=[100])
    found = identity_diff(side(one, "catalogue", **PATCH), side(other, "catalogue", **PATCH))
    assert {c.what for c in found.by_change()} == {"config kernel"}


def test_an_input_more_is_found(butler):
    one = plan(butler, "u/a")
    add_exposure(butler, 7, patches=(1,))
    found = identity_diff(
        side(one, "coadd", **PATCH, band="r"), side(plan(butler, "u/b"), "coadd", **PATCH, band="r")
    )
    (root,) = found.roots
    assert root.change.what == "input 'warp'"
    assert "visit=7" in root.change.b


def test_a_frame_ingested_again_is_found(butler):
    one = plan(butler, "u/a")
    frame = RAW(instrument="Cam", exposure=101, detector=0)
    butler.remove([frame], run="raw")
    butler.put({"value": 99}, frame, run="raw")
    found = identity_diff(side(one, "catalogue", **PATCH), side(plan(butler, "u/b"), "catalogue", **PATCH))
    (root,) = found.roots
    assert root.where.startswith("raw {")
    assert root.change.what == "content"


def test_other_data_ids_are_told(butler):
    dag = plan(butler, "u/a")
    found = identity_diff(side(dag, "catalogue", **PATCH), side(dag, "catalogue", **{**PATCH, "patch": 2}))
    assert "data ID" in {c.what for c in found.by_change()}


def test_what_another_plan_made_is_followed_there(butler):
    first = plan(butler, "u/a")
    InProcessFramework().execute(first, butler)
    part = plan(butler, "u/b", reuse=Reuse())
    assert part.n_quanta == 0
    whole = plan(butler, "u/c", kernel="bilinear", reuse=Reuse())

    def find(dataset, identity):
        dataset_type = first.dataset_type(dataset.name)
        row = first.datasets[dataset_type].find(dataset.dataId)
        index = next(i for i, q in enumerate(first.quanta) if any(dataset in ds for ds in q.outputs.values()))
        return Maker(first, index) if row is not None and identity else None

    one, other = (
        side(first, "warp", visit=1, instrument="Cam", **PATCH),
        side(whole, "warp", visit=1, instrument="Cam", **PATCH),
    )
    found = identity_diff(one, Side(other.name, other.identity, other.maker, find))
    assert [r.change.what for r in found.roots] == ["config kernel"]


def test_a_limit_on_what_is_compared_is_told(butler):
    one, other = plan(butler, "u/a"), plan(butler, "u/b", kernel="bilinear")
    found = identity_diff(side(one, "catalogue", **PATCH), side(other, "catalogue", **PATCH), most=2)
    assert not found.whole
    assert "no further than 2 pairs" in str(found)


class NewIsrTask(IsrTask):
    version = "2"
    former_names = (f"{IsrTask.__module__}:{IsrTask.__qualname__}",)


def test_a_version_is_found(butler):
    one, other = plan(butler, "u/a"), plan(butler, "u/b", isr=NewIsrTask)
    found = identity_diff(side(one, "coadd", **PATCH, band="r"), side(other, "coadd", **PATCH, band="r"))
    assert "version" in {c.what for c in found.by_change()}
    assert all(r.where.startswith("isr {") for r in found.roots)


def test_source_code_that_joined_is_found(butler):
    one = plan(butler, "u/a")
    other = GraphBuilder(pipeline(), butler, "u/b", collections=["raw"], identity="source").makeGraph()
    found = identity_diff(side(one, "warp", visit=1, instrument="Cam", **PATCH),
                          side(other, "warp", visit=1, instrument="Cam", **PATCH))  # fmt: skip
    change = Change("source code", "not part of the identity", "part of the identity")
    assert found.by_change().keys() == {change}
    assert found.by_change()[change][0].where.startswith("warp {")  # the nearest first


@attrs.frozen
class Exposed:
    seconds: float


class TimedTask(IsrTask):
    seconds = 1.0

    def defineQuanta(self, repoGraph):
        quanta = super().defineQuanta(repoGraph)
        return [Quantum(q.inputs, q.outputs, parameters=Exposed(self.seconds)) for q in quanta]


class LongerTask(TimedTask):
    seconds = 2.0
    former_names = (f"{__name__}:TimedTask",)


def test_a_parameter_is_found(butler):
    one, other = plan(butler, "u/a", isr=TimedTask), plan(butler, "u/b", isr=LongerTask)
    frame = {"instrument": "Cam", "exposure": 101, "detector": 0}
    found = identity_diff(side(one, "isr", **frame), side(other, "isr", **frame))
    assert Change("parameter seconds", "1.0", "2.0") in found.by_change()
