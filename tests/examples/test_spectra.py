from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from hypothesis import given, settings

from supertask.errors import ConfigError, DataIdError
from supertask.ingest.find import find_translator
from supertask.pipelines.pipeline import Pipeline
from supertask.unitmodels import load_unit_model

specutils = pytest.importorskip("specutils", reason="needs the extra 'examples'")

from examples.spectra.continuum import (  # noqa: E402 - only with specutils
    APOGEE_CHIPS,
    chebyshev,
    fit_continuum,
    normalise,
    scalar_continuum,
    sines_cosines,
)
from examples.spectra.products import SDSS_TREE, ProductTree, Template  # noqa: E402
from examples.spectra.rows import combined, is_combined, mean_spectrum, visits  # noqa: E402
from examples.spectra.snr import inverse_variance, signal_to_noise  # noqa: E402
from examples.spectra.tasks import (  # noqa: E402
    EstimateSNRofApVisit,
    EstimateSNRofApVisitConfig,
    NormaliseApVisitTask,
    ScalarTask,
    SinesCosinesTask,
)
from supertask.testing import runQuantum  # noqa: E402

TREE = ProductTree.from_yaml()
WAVELENGTH = np.linspace(15100.0, 17000.0, 800)


def spectrum(flux, ivar, **kwargs):
    return specutils.Spectrum(
        flux=np.asarray(flux, float) * u.Jy,
        spectral_axis=WAVELENGTH[: np.shape(flux)[-1]] * u.AA,
        spectral_axis_index=np.ndim(flux) - 1,
        uncertainty=InverseVariance(np.broadcast_to(ivar, np.shape(flux)).copy()),
        **kwargs,
    )


# -- products ----------------------------------------------------------------------------------------

words = st.text(alphabet="abcdefgh+0123456789", min_size=1, max_size=8).filter(lambda t: t.strip("0"))
numbers = st.integers(1, 9999)


@given(field=words, plate=numbers, mjd=st.integers(50000, 69999), fiber=st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_a_path_gives_back_its_data_id_and_a_data_id_its_path(field, plate, mjd, fiber) -> None:
    product = TREE["apVisit"]
    path = product.path("dr16", telescope="apo25m", field=field, plate=plate, mjd=mjd, fiber=fiber)
    said = product.data_id("dr16", f"/anywhere/dr16/{path}")
    assert said == {
        "release": "dr16",
        "visit": mjd * 10_000 + fiber,
        "visit.plate": str(plate),
        "field": field,
        "telescope": "apo25m",
    }
    assert product.path_of("dr16", said) == path
    assert TREE.identify("dr16", path) is product


def test_paths_are_those_of_sdss() -> None:
    spec = TREE["spec"].path("dr16", plateid=266, mjd=51602, fiberid=13)
    assert spec == "eboss/spectro/redux/v5_13_0/spectra/full/0266/spec-0266-51602-0013.fits"
    star = TREE["apStar"].path("dr13", field="4476", obj="2M00452143+1634446")
    assert star == "apogee/spectro/redux/r6/stars/apo25m/4476/apStar-r6-2M00452143+1634446.fits"


def test_a_word_that_is_given_twice_must_agree() -> None:
    template = Template("{plate}/x-{plate:0>4}")
    assert template.match("266/x-0266") == {"plate": "266"}
    assert template.match("266/x-0267") is None


def test_what_is_missing_or_unknown_in_a_path_is_said() -> None:
    with pytest.raises(DataIdError, match="needs fiber; given are"):
        TREE["apVisit"].path("dr13", plate=1, mjd=2)
    with pytest.raises(DataIdError, match="has no fibre .did you mean 'fiber'"):
        TREE["apVisit"].path("dr13", plate=1, mjd=2, fibre=3)
    with pytest.raises(DataIdError, match="is no path of 'apVisit'"):
        TREE["apVisit"].data_id("dr13", "apVisit.fits")
    with pytest.raises(ConfigError, match="no product 'apVist' .did you mean 'apVisit'"):
        TREE["apVist"]


def test_a_user_adds_products_of_his_own(tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("""
roots: {MINE: my/files}
products:
  myStar: {units: [object], storage: fits_table, says: {object: '{obj}'}, paths: '$MINE/{obj}.fits'}
""")
    tree = TREE.extended(ProductTree.from_yaml(mine))
    assert tree["myStar"].path_of("any", {"object": "x"}) == "my/files/x.fits"
    assert tree["myStar"].dataset_type.storage == "fits_table"
    assert set(tree) == {*TREE, "myStar"}


def test_all_mistakes_in_a_tree_are_named(tmp_path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("""
products:
  a: {unit: [object], paths: '$X/{b!r}'}
  c: {units: [object], paths: 'x', says: {object: '{y}'}}
""")
    with pytest.raises(ConfigError) as raised:
        ProductTree.from_yaml(bad)
    text = str(raised.value)
    for part in ("did you mean 'units'", "'units' is missing", "no root $X", "{word:0>N}", "rests on 'y'"):
        assert part in text
    assert SDSS_TREE.exists()


# -- noise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "power"), [(InverseVariance, -2.0), (VarianceUncertainty, 2.0), (StdDevUncertainty, 1.0)]
)
def test_noise_is_the_same_however_it_is_said(kind, power) -> None:
    noise = np.array([1.0, 2.0, 4.0])
    made = specutils.Spectrum(
        flux=np.ones(3) * u.Jy, spectral_axis=WAVELENGTH[:3] * u.AA, uncertainty=kind(noise**power)
    )
    assert np.allclose(inverse_variance(made), [1, 1 / 4, 1 / 16])


def test_noise_in_another_unit_is_converted() -> None:
    made = specutils.Spectrum(
        flux=np.ones(2) * u.Jy,
        spectral_axis=WAVELENGTH[:2] * u.AA,
        uncertainty=StdDevUncertainty([100.0, 500.0], unit=u.mJy),
    )
    assert np.allclose(inverse_variance(made), [100, 4])


def test_pixels_without_data_do_not_count_and_masked_ones_as_asked() -> None:
    made = spectrum([2.0, 4.0, np.nan, 8.0], [1.0, 1.0, 1.0, 0.0], mask=np.array([True, False, False, False]))
    assert signal_to_noise(made) == 3.0
    assert signal_to_noise(made, masked=True) == 4.0
    rows = spectrum([[1.0, 3.0], [5.0, 5.0]], [[1.0, 1.0], [0.0, 0.0]])
    assert np.array_equal(signal_to_noise(rows, statistic="mean"), [2.0, np.nan], equal_nan=True)


def test_the_fudge_factor_multiplies() -> None:
    made = spectrum([2.0, 4.0], 1.0)
    for factor in (1.0, 1.5):
        task = EstimateSNRofApVisit(config=EstimateSNRofApVisitConfig(fudge_factor=factor))
        found = runQuantum(task, {"spectrum": made}, model="spectra")
        assert found.snr["snr"] == 3.0 * factor


# -- continuum ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", [chebyshev(4), sines_cosines(2, 3000.0)])
def test_a_continuum_of_the_same_functions_is_found_exactly(basis) -> None:
    rng = np.random.default_rng(3)
    functions = basis(WAVELENGTH)
    truth = 10.0 + rng.normal(size=(5, functions.shape[1])) @ functions.T
    ivar = rng.uniform(0.1, 10, truth.shape)
    found = fit_continuum(WAVELENGTH, truth, ivar, basis)
    assert np.allclose(found, truth, rtol=1e-8)
    one = fit_continuum(WAVELENGTH, truth[2], ivar[2], basis)
    assert np.allclose(one, found[2], rtol=1e-12), "many at once are as one by one"


def test_the_fit_is_that_of_weighted_least_squares() -> None:
    rng = np.random.default_rng(4)
    flux, ivar = rng.normal(10, 1, 800), rng.uniform(0, 5, 800)
    x = np.linspace(-1, 1, 800)
    wanted = np.polynomial.Chebyshev.fit(x, flux, 3, w=np.sqrt(ivar), domain=[-1, 1])(x)
    assert np.allclose(fit_continuum(WAVELENGTH, flux, ivar, chebyshev(3)), wanted)
    tiny = fit_continuum(WAVELENGTH, flux * 1e-17, ivar * 1e34, chebyshev(3))
    assert np.allclose(tiny * 1e17, wanted), "units do not matter"


def test_masked_pixels_and_those_without_weight_change_nothing() -> None:
    flux = 5.0 + (WAVELENGTH - 16000) / 1000
    spoiled, ivar, mask = flux.copy(), np.ones(800), np.zeros(800, bool)
    spoiled[100:150], mask[100:150] = 1e6, True
    spoiled[300], ivar[300] = np.nan, 0.0
    spoiled[301] = np.inf
    found = fit_continuum(WAVELENGTH, spoiled, ivar, chebyshev(2), mask=mask)
    assert np.allclose(found, flux)


def test_regions_are_fitted_by_themselves_and_nothing_between() -> None:
    flux = np.where(WAVELENGTH < 15830, 1.0, np.where(WAVELENGTH < 16450, 2.0, 3.0))
    for found in (
        fit_continuum(WAVELENGTH, flux, np.ones(800), chebyshev(3), regions=APOGEE_CHIPS),
        scalar_continuum(WAVELENGTH, flux, np.ones(800), regions=APOGEE_CHIPS),
    ):
        inside = np.isfinite(found)
        assert np.allclose(found[inside], flux[inside])
        between = (WAVELENGTH > 15812) & (WAVELENGTH < 15857)
        assert between.any()
        assert not inside[between].any()


def test_too_few_pixels_give_no_continuum() -> None:
    ivar = np.zeros((2, 800))
    ivar[0, :3] = 1.0
    ivar[1] = 1.0
    found = fit_continuum(WAVELENGTH, np.ones((2, 800)), ivar, chebyshev(4))
    assert np.isnan(found[0]).all()
    assert np.allclose(found[1], 1.0)


def test_normalised_spectra_keep_their_signal_to_noise() -> None:
    made = spectrum(np.full(800, 50.0), 0.04)
    over = normalise(made, np.r_[np.full(700, 25.0), np.full(50, np.nan), np.full(50, -1.0)])
    assert over.flux.unit == u.dimensionless_unscaled
    assert np.allclose(over.flux.value[:700], 2.0)
    assert over.mask.tolist() == [False] * 700 + [True] * 100
    assert np.allclose(signal_to_noise(over), signal_to_noise(made))


def test_the_way_to_fit_is_replaced_in_a_pipeline() -> None:
    line = (WAVELENGTH > 15500) & (WAVELENGTH < 15520)
    flux = np.where(line, 1.0, 7.0)
    made = spectrum(flux, 1.0, mask=np.zeros(800, bool))
    for target, config in (
        (ScalarTask, {}),
        (SinesCosinesTask, {"length": 4000.0, "leave_out": [[15500, 15520]]}),
    ):
        chosen = NormaliseApVisitTask.ConfigClass(continuum={"target": target, "config": config})
        found = runQuantum(NormaliseApVisitTask(config=chosen), {"spectrum": made}, model="spectra")
        assert np.allclose(found.normalised.flux.value[~line], 1.0)


@pytest.mark.parametrize("name", ["pipeline", "spec_pipeline"])
def test_pipelines_load(name) -> None:
    assert Pipeline.load(SDSS_TREE.parent / f"{name}.yaml")


@pytest.mark.parametrize("name", ["apogee_headers", "spec_headers"])
def test_translators_fit_the_unit_model_and_the_products(name) -> None:
    translator = find_translator(SDSS_TREE.parent / f"{name}.yaml")
    translator.check(load_unit_model("spectra"))
    for kind in translator.dataset_types.values():
        assert kind.units == TREE[kind.name].units


# -- rows --------------------------------------------------------------------------------------------


def test_rows_of_a_star_with_one_visit_and_with_more() -> None:
    one = spectrum([[1.0, 2.0]], 1.0, meta={"rows": ["combined"], "bitmask": np.array([[1, 2]])})
    assert combined(one).flux.value.tolist() == [1.0, 2.0]
    assert visits(one).flux.shape == (1, 2)
    more = spectrum(np.arange(8.0).reshape(4, 2), 1.0, meta={"rows": ["c", "d", "visit 1", "visit 2"]})
    assert visits(more).flux.value.tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert visits(more).meta["rows"] == ["visit 1", "visit 2"]
    assert combined(one).meta["bitmask"].tolist() == [1, 2]


def test_the_mean_is_weighted_and_leaves_out_what_is_masked() -> None:
    made = spectrum(
        [[1.0, 1.0, 9.0], [4.0, 3.0, 9.0]],
        [[3.0, 1.0, 0.0], [1.0, 1.0, 0.0]],
        mask=np.array([[False, True, False], [False, False, False]]),
    )
    mean = mean_spectrum(made)
    assert mean.flux.value.tolist() == [1.75, 3.0, 0.0]
    assert mean.uncertainty.array.tolist() == [4.0, 1.0, 0.0]
    assert mean.mask.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("flag", "kept"), [(0, True), (4, True), (2052, True), (8, False), (16, False), (28, False)]
)
def test_visits_with_very_bright_neighbours_or_little_signal_are_not_combined(flag, kept) -> None:
    assert is_combined({"STARFLAG": flag}) is kept
