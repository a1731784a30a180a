import numpy as np

from partinr.report.thin import LONG, PIXELS, thin


def curve(psnr, step=None):
    step = np.arange(len(psnr), dtype=float) if step is None else step
    clocks = {"seconds": step / 3, "cpu_seconds": step**1.1}
    return {"step": step, **clocks, "macs": step * 1e9, "psnr": np.asarray(psnr, dtype=float)}


def saturating(count, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    return curve(10 + 20 * (1 - np.exp(-np.arange(count) / count * 6)) + noise * rng.normal(size=count))


def test_curves_of_few_points_stay_as_they_are():
    curves = [saturating(60, seed) for seed in range(10)]
    assert thin(curves) == (curves, 0.0)
    assert thin([]) == ([], 0.0)


def test_no_point_that_was_left_out_is_missed():
    unknown = {"cpu_seconds": np.full(1_200, np.nan)}  # as in older runs
    for axis, further in [("step", {}), ("seconds", unknown), ("cpu_seconds", {}), ("macs", {})]:
        whole = {**saturating(1_200), **further}
        (few,), tolerance = thin([whole])
        assert LONG < 1_200
        assert few["step"].size < 150
        assert 0 < tolerance <= np.ptp(whole["psnr"]) / PIXELS
        for scale in (np.asarray, np.log):
            # 0 is not on a logarithmic axis.
            drawn = np.interp(scale(whole[axis][1:]), scale(few[axis][1:]), few["psnr"][1:])
            assert np.abs(drawn - whole["psnr"][1:]).max() <= tolerance * (1 + 1e-9)


def test_a_column_of_the_screen_keeps_its_highest_and_its_lowest():
    psnr = np.full(20_000, 20.0)
    psnr[7_003], psnr[7_004], psnr[-1] = 35, 5, 21
    (few,), _ = thin([curve(psnr)])
    assert {35.0, 5.0} <= set(few["psnr"])
    assert few["psnr"][-1] == 21
    assert few["step"].size < 40


def test_however_noisy_they_fit(monkeypatch):
    monkeypatch.setattr("partinr.report.thin.POINTS", 1_000)
    curves = [saturating(1_100, seed, noise=1.0) for seed in range(5)]
    few, tolerance = thin(curves)
    assert 900 < sum(each["step"].size for each in few) <= 1_000
    assert tolerance < 3
    for thinned, whole in zip(few, curves, strict=True):
        drawn = np.interp(whole["step"], thinned["step"], thinned["psnr"])
        assert np.abs(drawn - whole["psnr"]).max() <= tolerance * (1 + 1e-9)
    assert all(len({values.size for values in each.values()}) == 1 for each in few)


def test_gaps_stay_gaps():
    psnr = saturating(1_500)["psnr"]
    psnr[700:900] = np.nan
    psnr[1_000] = np.inf
    (few,), _ = thin([curve(psnr)])
    gaps = few["step"][~np.isfinite(few["psnr"])]
    assert gaps.tolist() == [700, 1_000]
    assert {699.0, 900.0, 999.0, 1_001.0} <= set(few["step"])
