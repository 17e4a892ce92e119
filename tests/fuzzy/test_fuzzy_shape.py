import numpy as np
import pytest

from ktrdr.fuzzy.shape import Shape, shape_memberships

GRID = np.linspace(-3, 5, 1601)


@pytest.mark.parametrize(
    ("shape", "corners", "heights"),
    [
        (Shape("triangle", (-1.0, 0.5, 4.0)), [-1, 0.5, 4], [0, 1, 0]),
        (Shape("trapezoid", (-2.0, -1.0, 1.0, 1.5)), [-2, -1, 1, 1.5], [0, 1, 1, 0]),
        (Shape("left_shoulder", (-1.0, 2.0)), [-1, 2], [1, 0]),
        (Shape("right_shoulder", (-1.0, 2.0)), [-1, 2], [0, 1]),
    ],
)
def test_straight_shapes_interpolate_between_their_corners(shape: Shape, corners, heights):
    expected = np.interp(GRID, corners, heights)
    np.testing.assert_allclose(shape_memberships([shape], GRID)[:, 0], expected, rtol=0, atol=1e-15)


def test_a_gaussian_is_the_normal_curve_with_peak_one():
    memberships = shape_memberships([Shape("gaussian", (1.0, 0.5))], GRID)[:, 0]
    np.testing.assert_allclose(memberships, np.exp(-2 * (GRID - 1) ** 2), rtol=1e-12)


def test_equal_points_make_a_step_that_includes_its_edge():
    values = np.array([-0.001, 0.0, 10.0, 25.0, 32.5, 40.0, 40.001])
    oversold = shape_memberships([Shape("trapezoid", (0.0, 0.0, 25.0, 40.0))], values)[:, 0]
    assert oversold.tolist() == [0.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    falling = shape_memberships([Shape("triangle", (0.0, 0.0, 20.0))], values)[:, 0]
    assert falling.tolist() == [0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    rising = shape_memberships([Shape("triangle", (0.0, 40.0, 40.0))], values)[:, 0]
    assert rising.tolist() == [0.0, 0.0, 0.25, 0.625, 0.8125, 1.0, 0.0]


def test_values_without_end_stay_in_their_shoulder_and_nan_stays_nan():
    shapes = [
        Shape("left_shoulder", (0.0, 1.0)),
        Shape("right_shoulder", (0.0, 1.0)),
        Shape("triangle", (0.0, 1.0, 2.0)),
    ]
    memberships = shape_memberships(shapes, np.array([-np.inf, np.inf, np.nan]))
    assert memberships[:2].tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert np.isnan(memberships[2]).all()
    assert np.isnan(shape_memberships([Shape("gaussian", (0.0, 1.0))], np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("kind", "points", "message"),
    [
        ("triangle", (0.0, 1.0), "needs 3 finite points"),
        ("trapezoid", (0.0, 1.0, np.nan, 2.0), "needs 4 finite points"),
        ("triangle", (0.0, 2.0, 1.0), "from low to high"),
        ("left_shoulder", (1.0, 1.0), "from low to high"),
        ("gaussian", (1.0, 0.0), "width above 0"),
        ("sigmoid", (1.0, 0.0), "need a shape of triangle"),
    ],
)
def test_a_shape_that_holds_nothing_is_refused(kind, points, message: str):
    with pytest.raises(ValueError, match=message):
        Shape(kind, points)
