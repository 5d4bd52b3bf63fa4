"""Conformal quantiles hold what they promise, on average over calibration sets, and the scale model finds a known law."""

import math

import numpy as np
import pytest

from atomfield.finetune.calibration import beta_binomial_p
from atomfield.finetune.conformal import Errors, calibrate, quantile, temperature

COVERAGES = (0.5, 0.8, 0.9, 0.95)


def test_the_quantile_is_the_rank_that_conformal_prediction_says():
    scores, units = np.arange(1.0, 20.0), np.arange(19)
    assert quantile(scores, units, 0.9) == 18.0  # ceil(0.9 * 20)
    assert quantile(scores, units, 0.95) == 19.0
    assert quantile(scores[:9], units[:9], 0.9) == 9.0
    assert quantile(scores[:8], units[:8], 0.9) == math.inf  # 8 records cannot promise 90 %


def test_units_with_many_scores_count_once():
    few = quantile(
        np.r_[np.full(1000, 9.0), np.arange(19)], np.r_[np.zeros(1000, int), 1 + np.arange(19)], 0.9
    )
    assert few == 17.0  # the thousand are one of 20 units


@pytest.mark.parametrize("size", [12, 60])
def test_coverage_holds_on_average_over_calibration_sets(size):
    """Errors whose spread follows the covariate and has heavy tails; nothing here is what the scale model assumes."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(150):
        log_v = rng.normal(0, 1, size + 100)
        z = np.stack([np.ones(size + 100), log_v, np.zeros(size + 100), np.zeros(size + 100)], 1)
        errors = np.abs(np.exp(0.4 * log_v) * rng.standard_t(3, size + 100))
        fit = calibrate(Errors(errors[:size], z[:size], np.arange(size)), False, COVERAGES)
        std = np.exp(z[size:] @ fit.coefficients)
        covered.append(np.mean(errors[size:] <= fit.quantiles[2] * std))
    margin = 3 * np.std(covered) / math.sqrt(len(covered))
    assert 0.9 - margin < np.mean(covered) < 0.9 + 1 / (size + 1) + margin


def test_the_scale_model_finds_the_law_of_the_errors():
    rng = np.random.default_rng(1)
    count = 4000
    z = np.stack([np.ones(count), *rng.normal(0, 1, (2, count)), np.zeros(count)], 1)
    std = np.exp(0.3 + 0.8 * z[:, 1] + 0.5 * z[:, 2])
    fit = calibrate(Errors(np.abs(rng.normal(0, std)), z, np.arange(count)), False, COVERAGES)
    np.testing.assert_allclose(fit.coefficients, [0.3, 0.8, 0.5, 0.0], atol=0.06)
    np.testing.assert_allclose(fit.quantiles, [0.674, 1.282, 1.645, 1.960], atol=0.08)


def test_few_units_keep_the_slopes_of_theory():
    rng = np.random.default_rng(2)
    z = np.stack([np.ones(10), rng.normal(0, 1, 10), rng.normal(0, 1, 10), np.zeros(10)], 1)
    fit = calibrate(Errors(np.ones(10), z, np.arange(10)), True, COVERAGES)
    np.testing.assert_array_equal(fit.coefficients[1:], [0.5, 1.0, 0.0])


def test_the_beta_binomial_test_knows_the_chance_in_the_calibration_set():
    assert beta_binomial_p(90, 100, 19) > 0.3
    assert beta_binomial_p(80, 100, 19) > 0.05  # 19 records may well have been lucky ones
    assert beta_binomial_p(80, 100, 100_000) < 0.01
    assert beta_binomial_p(40, 100, 19) < 1e-4


def test_the_temperature_undoes_what_made_probabilities_too_sure():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, 5000)
    labels = (rng.random(5000) < 1 / (1 + np.exp(-logits))).astype(float)
    assert temperature(logits, labels) == pytest.approx(1.0, abs=0.08)
    assert temperature(3 * logits, labels) == pytest.approx(3.0, abs=0.25)
    many = rng.normal(0, 2, (5000, 4))
    chances = np.exp(many) / np.exp(many).sum(1, keepdims=True)
    drawn = (rng.random(5000)[:, None] > chances.cumsum(1)).sum(1)
    assert temperature(2 * many, drawn) == pytest.approx(2.0, abs=0.15)
    assert 1.0 < temperature(np.array([5.0]), np.array([0.0])) < 5.0  # one label moves little


def test_a_few_spoilt_labels_do_not_fix_the_standard_deviation():
    rng = np.random.default_rng(0)
    absolute = np.abs(rng.normal(size=300))
    covariates = np.tile([1.0, 0.0, 0.0, 0.0], (300, 1))
    plain = calibrate(Errors(absolute, covariates, np.arange(300)), False, (0.5, 0.9))
    spoilt = absolute.copy()
    spoilt[:6] = 99999.0
    found = calibrate(Errors(spoilt, covariates, np.arange(300)), False, (0.5, 0.9))
    std = [float(np.exp(c.coefficients[0])) for c in (plain, found)]
    assert std[0] == pytest.approx(1.0, rel=0.1)
    assert std[1] < 2.5
    widths = [float(np.exp(c.coefficients[0]) * c.quantiles[1]) for c in (plain, found)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2) and widths[1] >= widths[0]
